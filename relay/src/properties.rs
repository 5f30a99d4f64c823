//! Whatever members and operators do in whatever order, the relay keeps its rules; and no text breaks its configuration.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::config::Config;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_program_of_members_and_operators_keeps_the_rules(program in vec(any::<u8>(), 0..600)) {
        crate::fuzzing::run(&program);
    }

    #[test]
    fn a_configuration_is_valid_or_names_what_is_wrong(
        listen in "127.0.0.1:[0-9]{1,6}|\\PC{0,12}",
        members in vec("n[1-4]|\\PC{0,6}", 0..9),
        cluster in "[0-9a-f]{64}|\\PC{0,9}",
        line in "\\PC{0,20}|level = \"[a-z]{1,5}\"|\\[log\\]",
    ) {
        let text = format!("[relay]\nlisten = {listen:?}\nmembers = {members:?}\ncluster = {cluster:?}\n{line}\n");
        match Config::parse(Path::new("relayd.toml"), &text, []) {
            Ok(config) => {
                prop_assert_eq!(&config.relay.members, &members);
                prop_assert!((1..=7).contains(&members.len()));
                prop_assert_eq!(config.cluster_id().is_some(), !cluster.is_empty());
            }
            Err(error) => {
                let error = error.to_string();
                prop_assert!(error.contains("relayd.toml") && !error.contains('\n'), "{}", error);
            }
        }
    }
}
