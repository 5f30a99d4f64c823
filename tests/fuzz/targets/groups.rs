//! Partitions as they are typed: what is accepted names every member once, and is read again from its own spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raftbank_wire::groups::{GROUPS_BYTES_MAX, parse};

fuzz_target!(|bytes: &[u8]| {
    let Some((count, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let members: Vec<String> = (1..=1 + count % 7).map(|n| format!("n{n}")).collect();
    match parse(text, &members) {
        Ok(groups) => {
            let mut named = groups.concat();
            named.sort();
            assert_eq!(named, members);
            let spelled = groups.iter().map(|group| group.join(",")).collect::<Vec<_>>().join("/");
            assert_eq!(parse(&spelled, &members), Ok(groups));
            assert!(text.len() <= GROUPS_BYTES_MAX);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
