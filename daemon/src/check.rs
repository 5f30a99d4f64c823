//! `--check-config`: what the configuration and the genesis file say, and what the proof-of-work will cost here.

use std::fmt::Write;
use std::time::{Duration, Instant};

use raftbank_ledger::{Header, pow};

use crate::config::Config;
use crate::error::Failure;
use crate::genesis::Bank;

/// How long this machine's hash rate is measured.
const MEASURE: Duration = Duration::from_millis(200);

/// The report, ready to be printed.
pub fn report(config: &Config, bank: &Bank) -> Result<String, Failure> {
    let position = bank.position(&config.node.id)?;
    let timers = config.timers;
    let rate = hashes_per_second(&bank.block.header);
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<14}{value}");
    };
    line("bank", bank.name.clone());
    line("cluster id", bank.cluster_id.to_string());
    line("node", format!("{} (member {} of {})", config.node.id, position.0 + 1, bank.members.len()));
    line("members", bank.names());
    line("quorum", (bank.members.len() / 2 + 1).to_string());
    line("data folder", config.node.data_dir.display().to_string());
    line("socket", config.node.socket.display().to_string());
    line("relay", config.relay.address.clone());
    line(
        "timers",
        format!(
            "tick {} ms, heartbeat {} ms, election {}..{} ms",
            timers.tick_ms, timers.heartbeat_ms, timers.election_min_ms, timers.election_max_ms
        ),
    );
    line(
        "proof-of-work",
        format!(
            "difficulty {} bits: {} per block on average at {rate:.0} hashes a second on this machine",
            bank.difficulty,
            duration((1_u64 << bank.difficulty) as f64 / rate),
        ),
    );
    Ok(text)
}

/// Measures how many headers this machine hashes in a second, on one core.
fn hashes_per_second(header: &Header) -> f64 {
    const CHUNK: u64 = 1_000;
    // A difficulty that is not met, so that each chunk is searched to its end.
    let header = Header { difficulty: 64, ..header.clone() };
    let started = Instant::now();
    let mut hashes = 0;
    while started.elapsed() < MEASURE {
        if pow::mine(&header, hashes, CHUNK).is_some() {
            // Once in 2^64 hashes; the chunk counts all the same.
        }
        hashes += CHUNK;
    }
    hashes as f64 / started.elapsed().as_secs_f64()
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_have_a_unit_that_fits() {
        assert_eq!(duration(0.000_05), "50 µs");
        assert_eq!(duration(0.012), "12.0 ms");
        assert_eq!(duration(8.04), "8.0 s");
    }
}
