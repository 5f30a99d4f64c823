//! The configuration files of both daemons: what is accepted can be run.
#![no_main]

use libfuzzer_sys::fuzz_target;
use raftbank_consensus::{Config as Consensus, NodeId};
use raftbank_fuzz::with_file;

fuzz_target!(|bytes: &[u8]| {
    with_file(bytes, |path| {
        if let Ok(config) = raftbankd::config::Config::load(path) {
            let consensus = Consensus {
                id: NodeId(0),
                members: vec![NodeId(0), NodeId(1), NodeId(2)],
                seed: 0,
                timers: config.timers.ticks(),
                chunk_bytes_max: 1,
                cache_bytes_max: 1,
                rejoining: false,
            };
            assert_eq!(consensus.validate(), Ok(()), "{:?}", config.timers);
            assert!(raftbank_ledger::NodeName::parse(&config.node.id).is_ok());
            assert!(config.relay.address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()));
        }
        if let Ok(config) = raftbank_relayd::config::Config::load(path) {
            let members = &config.relay.members;
            assert!((1..=raftbank_ledger::MEMBERS_MAX).contains(&members.len()));
            // The relay's alphabet is the ledger's.
            assert!(members.iter().all(|member| raftbank_ledger::NodeName::parse(member).is_ok()));
            assert_eq!(config.cluster_id().is_some(), !config.relay.cluster.is_empty());
        }
    });
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_eq!(raftbank_relayd::config::is_node_name(text), raftbank_ledger::NodeName::parse(text).is_ok());
    }
});
