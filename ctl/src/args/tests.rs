//! What is accepted, what contradicts itself, and that every verb has an example.

use clap::{CommandFactory, Parser};

use super::{Args, Verb};

fn parse(line: &str) -> Result<Verb, String> {
    let words = std::iter::once("bankctl").chain(line.split_whitespace());
    Args::try_parse_from(words).map(|args| args.verb).map_err(|error| {
        assert_eq!(error.exit_code(), 2, "{line}");
        error.to_string()
    })
}

#[test]
fn the_command_line_is_consistent() {
    Args::command().debug_assert();
}

#[test]
fn every_verb_has_an_example() {
    for verb in Args::command().get_subcommands().filter(|verb| !["dev", "help"].contains(&verb.get_name())) {
        let help = verb.clone().render_long_help().to_string();
        assert!(help.contains("Example"), "{}: {help}", verb.get_name());
        assert!(verb.get_about().is_some(), "{}", verb.get_name());
    }
}

#[test]
fn a_balance_is_of_one_kind() {
    assert!(matches!(parse("balance a --at 3"), Ok(Verb::Balance { at: Some(3), proof: false, .. })));
    assert!(matches!(parse("balance a --proof"), Ok(Verb::Balance { at: None, proof: true, .. })));
    assert!(matches!(parse("balance a --at 3 --proof --checkpoint c"), Ok(Verb::Balance { checkpoint: Some(_), .. })));
    for line in ["balance a --local --at 3", "balance a --local --proof", "balance a --at -1", "balance a --at x"] {
        parse(line).expect_err(line);
    }
    parse("balance a --checkpoint c").expect_err("a checkpoint belongs to a proof");
}

#[test]
fn files_and_heights_are_where_they_belong() {
    for line in [
        "keys --out k",
        "checkpoint --min-height 4",
        "receipt -1 --request-out f",
        "verify-receipt - --keys k --request r",
        "verify-consistency a b --keys k",
        "consistency a",
        "consistency a b --keys k",
        "show x",
        "history a --from 1 --to 2 --limit 3",
        "statement a --from 1 --to 2",
        "verify --checkpoint c --keys k",
        "verify --data-dir d --checkpoint c",
        "verify --export - --keys k",
        "import f --config c",
        "diff a b",
        "witness --state s --keys k --every 1m --out o --name n",
        "witness --state s --print-key",
    ] {
        parse(line).expect(line);
    }
    for line in [
        "verify-receipt",
        "verify-consistency a",
        "consistency",
        "show",
        "history a --limit 0",
        "history",
        "statement",
        "verify --export e --data-dir d",
        "import f",
        "import --config c",
        "diff a",
        "witness --keys k",
        "witness --state s --every 0s",
    ] {
        parse(line).expect_err(line);
    }
}

#[test]
fn a_measurement_has_bounds() {
    for line in [
        "bench",
        "bench --mode batch --clients 10000 --batch 100000 --accounts 10000000 --seconds 86400 --skew hot --yes",
        "bench --mode single --clients 1 --batch 1 --accounts 2 --seconds 1 --skew zipf --rate 1000000",
        "bench --mode read --rate 0.01 --skew uniform",
        "--socket a --socket b bench",
        "bench --socket a --socket b",
    ] {
        parse(line).expect(line);
    }
    for (flag, values) in [
        ("--clients", ["0", "10001", "-1", "x"]),
        ("--batch", ["0", "100001", "1.5", ""]),
        ("--accounts", ["1", "10000001", "-2", "4294967298"]),
        ("--seconds", ["0", "86401", "1s", "-1"]),
        ("--rate", ["0", "1000001", "nan", "inf"]),
        ("--skew", ["cold", "", "0", "HOT "]),
        ("--mode", ["write", "", "all", "single,read"]),
    ] {
        for value in values {
            let error = Args::try_parse_from(["bankctl", "bench", flag, value]).expect_err(value);
            assert_eq!(error.exit_code(), 2, "{flag} {value}");
            assert!(error.to_string().contains(flag), "{error}");
        }
    }
}
