//! Instructions, counted by valgrind's callgrind. It pretends a processor without SHA instructions, so hashing counts for
//! more than it takes on most machines, and for the same on all.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use super::execution::Execution;

/// True if valgrind can be run.
pub fn available() -> bool {
    let tried = Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// Instructions per transfer of a load of the ledger alone. `program` is this program, which runs it with `--only`.
///
/// # Errors
/// It fails, or callgrind says nothing.
pub fn instructions(program: &Path, execution: Execution) -> Result<f64> {
    let name = execution.to_possible_value().context("a load's name")?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg("--toggle-collect=*measured_execution*")
        .arg(program)
        .args(["--only", name.get_name()])
        .stdin(Stdio::null())
        .output()
        .context("valgrind")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind: {told}");
    let collected = collected(&told).with_context(|| format!("callgrind counted nothing: {told}"))?;
    ensure!(collected > 0, "callgrind never saw the load run");
    Ok(collected as f64 / execution.transfers() as f64)
}

/// The number behind `Collected :`.
fn collected(told: &str) -> Option<u64> {
    let line = told.lines().find_map(|line| line.split_once("Collected :"))?.1;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::collected;

    #[test]
    fn the_number_is_found_in_what_callgrind_says() {
        let told = "==7== Events    : Ir\n==7== Collected : 123456\n==7== \n";
        assert_eq!(collected(told), Some(123_456));
        assert_eq!(collected("==7== Events    : Ir\n"), None);
    }
}
