//! `import`: makes a node's data folder from an export. `raftbankd` knows the store, so it does the work.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use clap::Args;
use raftbank_wire::api::FailKind;

use super::Context;
use crate::dev::binary;
use crate::failure::Failure;
use crate::files;
use crate::output::{bytes, note};

/// The command line of `import`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Every block is executed again on the way in; block 0 must be that of the genesis file, and the data folder must not be there.
A bank of one member simply runs from it. In a bank of several, all members are imported from the same export, or none:
the peers of an imported node refuse it.

Examples:
  bankctl import chain.jsonl --config /etc/raftbank/raftbankd.toml
  zcat chain.jsonl.gz | bankctl import - --config n1.toml")]
pub struct ImportArgs {
    /// A complete export, as `export` prints it; `-`: standard input.
    pub file: PathBuf,
    /// The node's configuration.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// `import`; the exit code.
///
/// # Errors
/// `raftbankd` cannot be started; with JSON, also what it says is wrong.
pub fn run(context: &Context, args: &ImportArgs) -> Result<u8, Failure> {
    let file = if files::is_stdin(&args.file) { Path::new("/dev/stdin") } else { args.file.as_path() };
    let program = binary("raftbankd")?;
    let mut command = Command::new(&program);
    command.arg("--config").arg(&args.config).arg("--import").arg(file);
    let trouble =
        |error: std::io::Error| Failure::internal(format!("{} cannot be started: {error}", program.display()));
    if !context.out.is_json() {
        let code = code(command.status().map_err(trouble)?);
        if code == 0 {
            note(
                "a bank of one member runs from it; in a bank of several all members must be imported from this export",
            );
        }
        return Ok(code);
    }
    let output = command.args(["--output", "json"]).stdin(Stdio::inherit()).output().map_err(trouble)?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let kind = match code(output.status) {
            2 => FailKind::Usage,
            6 => FailKind::Corruption,
            _ => FailKind::Internal,
        };
        return Err(Failure::new(kind, "not_imported", text.trim().trim_start_matches("raftbankd: ")));
    }
    bytes(&output.stdout);
    Ok(0)
}

/// As the contract has it: what a failed disk is to a daemon is an internal error here.
fn code(status: ExitStatus) -> u8 {
    match status.code() {
        Some(code @ (0 | 2 | 6)) => u8::try_from(code).unwrap_or(1),
        _ => 1,
    }
}
