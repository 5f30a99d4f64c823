//! What must be true of everything that people type or hand in as a file: nothing breaks the reader, and what is read
//! is what was meant.

use proptest::collection::vec;
use proptest::prelude::*;
use raftbank_ledger::Operation;

use crate::fuzzing;

/// One row as a file may spell it, and what it says.
fn good_row() -> impl Strategy<Value = (String, (String, String, u64, String))> {
    ("[a-z]{1,5}", "[A-Z._:-]{1,5}", 1_u64..1 << 63, "[a-z ,'\"\n]{0,9}").prop_map(|(from, to, amount, memo)| {
        let text = format!("{from},\"{to}\",{amount},,\"{}\"", memo.replace('"', "\"\""));
        (text, (from, to, amount, memo))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_good_file_is_read_as_it_was_meant(
        rows in vec(good_row(), 0..6),
        end in prop::sample::select(&["\n", "\r\n", "\r", "\n\n"][..]),
        header in any::<bool>(),
    ) {
        let mut file = if header { format!("from,to,amount{end}") } else { String::new() };
        for (text, _) in &rows {
            file += text;
            file += end;
        }
        let requests = fuzzing::batch(file.as_bytes(), Some("p")).expect("a good file");
        let read: Vec<_> = requests
            .into_iter()
            .map(|request| match request.operation {
                Operation::Transfer { from, to, amount, memo } => (from.to_string(), to.to_string(), amount.get(), memo),
                other => panic!("{other:?}"),
            })
            .collect();
        let meant: Vec<_> = rows.into_iter().map(|(_, meant)| meant).collect();
        prop_assert_eq!(read, meant);
    }

    #[test]
    fn any_file_is_refused_or_makes_requests(
        file in vec(prop::sample::select(&b"ab,,12\n\r\"0 :\xff\0from"[..]), 0..60),
        prefix in prop::option::of("[a-z]{0,3}"),
    ) {
        fuzzing::batch(&file, prefix.as_deref());
    }

    #[test]
    fn any_line_of_the_shell_is_words_or_refused(
        text in "\\PC{0,40}|[a-z0-9 '\"-]{0,40}|(transfer|put|link|partition|use) [a-z0-9 '\".=/-]{0,30}",
    ) {
        fuzzing::shell_line(&text);
    }

    #[test]
    fn words_come_back_from_their_quotes(words in vec("[a-z '-]{0,6}", 0..5)) {
        let line = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(" ");
        prop_assert_eq!(crate::shell::split(&line), Ok(words));
    }

    #[test]
    fn any_number_is_in_its_range_or_refused(
        text in "\\PC{0,20}|[0-9.%eE+-]{0,24}|[0-9]{0,6}(ms|s|m|h|us|ns)?(\\.\\.[0-9]{0,6}(ms|s|m|h|d|y)?)?|-?inf|NaN",
    ) {
        fuzzing::numbers(&text);
    }

    #[test]
    fn a_delay_in_milliseconds_is_those(min in 0_u32..700_000, more in 0_u32..700_000) {
        let max = min + more;
        for text in [format!("{min}..{max}"), format!("{min}ms..{max}ms")] {
            prop_assert_eq!(crate::verbs::admin::delay(&text).ok(), Some((min, max)), "{}", text);
        }
    }
}
