//! `debug bundle`: one file with what a bug report needs, and without what is nobody else's business.
//!
//! Left out by construction: keys, the salt, accounts, balances, memos, and values of environment variables. What is
//! taken from logs goes through `sift`; and at last every part is searched for the secrets that are known here. A part
//! that cannot be had leaves its reason in `MANIFEST.txt`.

mod parts;
mod sift;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args as ClapArgs, Subcommand};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::doctor::{DoctorArgs, View};
use crate::failure::Failure;
use crate::output::{SCHEMA, note};
use crate::verbs::Context;

use self::sift::Secrets;

/// A longer part is cut, in bytes.
const PART_BYTES_MAX: usize = 4 << 20;

/// What to do for a bug report.
#[derive(Clone, Debug, Subcommand)]
pub enum DebugAction {
    /// Collect versions, findings, states, configuration without secrets and logs into one file
    #[command(after_help = "\
Example:
  bankctl debug bundle                          # as root, or in the groups raftbank and systemd-journal
  tar -xzf raftbank-debug-….tar.gz              # read it before you send it

Neither keys nor the salt, accounts, balances, amounts or memos are in it.")]
    Bundle(BundleArgs),
}

/// `debug bundle`.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct BundleArgs {
    /// The file to be made; raftbank-debug-TIME.tar.gz if not given.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The node's configuration; if not given, the one that belongs to the socket.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The relay's configuration; if not given, the one that belongs to the relay's socket.
    #[arg(long, value_name = "FILE")]
    pub relay_config: Option<PathBuf>,
}

/// A file of the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its path in the bundle.
    pub name: String,
    /// Its text, or why it cannot be had.
    pub text: Result<String, String>,
}

impl Part {
    fn new(name: impl Into<String>, text: Result<String, String>) -> Self {
        Self { name: name.into(), text }
    }
}

/// `debug bundle`.
///
/// # Errors
/// The file cannot be made.
pub async fn bundle(context: &mut Context, args: &BundleArgs) -> Result<(), Failure> {
    let path = args.out.clone().unwrap_or_else(default_name);
    // Before the work: whoever may not write here learns it at once. Never an existing file, never through a link.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(|error| {
        let failure = Failure::usage("unwritable", format!("{} cannot be made: {error}", path.display()));
        failure.hint("give another file: --out FILE")
    })?;
    let doctor = DoctorArgs { config: args.config.clone(), relay_config: args.relay_config.clone() };
    let view = View::gather(context, &doctor, context.timeout / 4).await;
    let secrets = Secrets::gather(&view, context.timeout / 4).await;
    let mut parts = parts::gather(view, context.timeout / 2).await;
    for part in &mut parts {
        // Searched before it is cut: half a secret is not found any more.
        part.text = std::mem::replace(&mut part.text, Ok(String::new())).map(|text| cut(secrets.remove(&text)));
    }
    parts.insert(0, Part::new("MANIFEST.txt", Ok(manifest(&parts))));
    if let Err(error) = pack(file, &path, &parts) {
        // Half a bundle helps nobody.
        let _ = std::fs::remove_file(&path);
        return Err(Failure::internal(format!("{} cannot be written: {error}", path.display())));
    }
    let rows: Vec<_> = parts
        .iter()
        .map(|Part { name, text }| {
            json!({
                "name": name, "bytes": text.as_ref().map_or(0, String::len),
                "missing": text.as_ref().err(),
            })
        })
        .collect();
    let object = json!({ "schema": SCHEMA, "file": path, "parts": rows });
    context.out.result(&object, || format!("{}\n{}", path.display(), told(&parts)));
    note(
        "read it before you send it: names of the bank, machines, members, users and folders are in it; no keys, salt, \
         accounts or memos",
    );
    Ok(())
}

fn default_name() -> PathBuf {
    let time = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    PathBuf::from(format!("raftbank-debug-{}.tar.gz", time.replace([':', '-'], "")))
}

fn cut(mut text: String) -> String {
    if text.len() > PART_BYTES_MAX {
        let end = (0..=PART_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("\n(cut here)\n");
    }
    text
}

fn told(parts: &[Part]) -> String {
    let width = parts.iter().map(|part| part.name.len()).max().unwrap_or(0);
    let line = |Part { name, text }: &Part| match text {
        Ok(text) => format!("  {name:<width$}  {} bytes", text.len()),
        Err(why) => format!("  {name:<width$}  missing: {}", why.replace('\n', " ")),
    };
    parts.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn manifest(parts: &[Part]) -> String {
    format!(
        "What bankctl {} has collected for a bug report at {}.\n\
         Left out on purpose: private keys, the salt, accounts, balances, amounts, memos, values of environment\n\
         variables, log lines of the levels debug and trace, and those that may name an account. The bank's name is told.\n\
         Account names of one or two characters, or of up to five digits, look like other words: they are removed in\n\
         quotes only.\n\n{}\n",
        env!("CARGO_PKG_VERSION"),
        humantime::format_rfc3339_seconds(SystemTime::now()),
        told(parts)
    )
}

/// Writes the archive; all files lie in one folder, and are their owner's alone.
fn pack(file: File, path: &Path, parts: &[Part]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = name.strip_suffix(".tar.gz").filter(|name| !name.is_empty()).unwrap_or("raftbank-debug");
    let mtime = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut archive = tar::Builder::new(GzEncoder::new(file, Compression::default()));
    for Part { name, text } in parts {
        let Ok(text) = text else { continue };
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(mtime);
        archive.append_data(&mut header, format!("{folder}/{name}"), text.as_bytes())?;
    }
    let mut file = archive.into_inner()?.finish()?;
    file.flush()?;
    file.sync_all()
}
