//! `bankctl` as people and scripts run it.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::binaries::program;

/// The program, and the node that it asks.
#[derive(Clone, Debug)]
pub struct Ctl {
    program: PathBuf,
    socket: PathBuf,
    /// Where it runs, and its files are.
    folder: PathBuf,
    timeout: &'static str,
}

impl Ctl {
    /// Nobody is asked yet.
    ///
    /// # Errors
    /// The program cannot be built.
    pub fn new(socket: &Path, folder: &Path) -> Result<Self> {
        Ok(Self { program: program("bankctl")?, socket: socket.to_owned(), folder: folder.to_owned(), timeout: "20s" })
    }

    /// The same, for an answer that does not come.
    #[must_use]
    pub fn impatient(&self) -> Self {
        Self { timeout: "2s", ..self.clone() }
    }

    /// A file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs it with something on standard input.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run_with<S: AsRef<OsStr>>(&self, arguments: &[S], input: &[u8]) -> Result<Output> {
        let mut child = Command::new(&self.program)
            .arg("--socket")
            .arg(&self.socket)
            .args(["--timeout", self.timeout])
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("bankctl")?;
        let mut stdin = child.stdin.take().context("standard input")?;
        let input = input.to_vec();
        // It may answer before it has read all, and need not read at all.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output()?;
        let _ = writer.join();
        Ok(output)
    }

    /// Runs it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, arguments: &[&str]) -> Result<Output> {
        self.run_with(arguments, b"")
    }

    /// Its standard output, if it succeeds.
    ///
    /// # Errors
    /// It fails.
    pub fn text(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        ensure!(output.status.success(), "bankctl {arguments:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Its JSON object, if it succeeds.
    ///
    /// # Errors
    /// It fails.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.text(&[&["-o", "json"], arguments].concat())?;
        let value: Value = serde_json::from_str(&text)?;
        ensure!(value["schema"] == 1, "bankctl {arguments:?}: {value}");
        Ok(value)
    }

    /// Writes its standard output into a file of its folder.
    ///
    /// # Errors
    /// It fails.
    pub fn save(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let text = self.text(arguments)?;
        std::fs::write(self.file(name), &text)?;
        Ok(text)
    }

    /// Its error's code, if it fails with this exit code.
    ///
    /// # Errors
    /// It ends otherwise.
    pub fn fails(&self, exit_code: i32, arguments: &[&str]) -> Result<String> {
        let output = self.run(&[&["-o", "json"], arguments].concat())?;
        ensure!(output.status.code() == Some(exit_code), "bankctl {arguments:?}: {output:?}");
        let value: Value = serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
        ensure!(value["schema"] == 1, "bankctl {arguments:?}: {value}");
        Ok(value["error"]["code"].as_str().context("an error's code")?.to_owned())
    }
}
