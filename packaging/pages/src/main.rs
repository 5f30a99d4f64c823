//! Writes manual pages and shell completions, from the same definitions as `--help`: `pages DIR` makes the files
//! `DIR/man/NAME.1` or `.8`, `DIR/bash/NAME`, `DIR/zsh/_NAME` and `DIR/fish/NAME.fish`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Command, CommandFactory, Parser};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// Write the manual pages and shell completions of all programs.
#[derive(Debug, Parser)]
#[command(name = "pages")]
struct Args {
    /// Where to write; made if it is not there.
    dir: PathBuf,
}

/// What a page's foot says.
const SOURCE: &str = concat!("raftbank ", env!("CARGO_PKG_VERSION"));

fn main() -> Result<()> {
    let args = Args::parse();
    for (section, command) in programs() {
        completions(&args.dir, &command)?;
        manual(&args.dir, section, &command)?;
    }
    Ok(())
}

/// The programs with the section of the manual that they belong to.
fn programs() -> [(&'static str, Command); 3] {
    [
        ("1", bankctl::args::Args::command()),
        ("8", raftbankd::args::Args::command()),
        ("8", raftbank_relayd::args::Args::command()),
    ]
}

/// One file for each shell, under the name by which that shell finds it.
fn completions(dir: &Path, command: &Command) -> Result<()> {
    let name = command.get_name().to_owned();
    for (shell, file) in [
        (Shell::Bash, format!("bash/{name}")),
        (Shell::Zsh, format!("zsh/_{name}")),
        (Shell::Fish, format!("fish/{name}.fish")),
    ] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command.clone(), &name, &mut script);
        write(&dir.join(file), &script)?;
    }
    Ok(())
}

/// A page for the program, and one for each of its verbs, such as `bankctl-transfer(1)`.
fn manual(dir: &Path, section: &str, command: &Command) -> Result<()> {
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    pages(&dir.join("man"), section, &command)
}

fn pages(dir: &Path, section: &str, command: &Command) -> Result<()> {
    // After `build`, a verb's display name holds the whole path: bankctl-dev-up.
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    write(&dir.join(format!("{name}.{section}")), &page(section, command)?)?;
    command.get_subcommands().filter(|verb| !verb.is_hide_set()).try_for_each(|verb| pages(dir, section, verb))
}

/// One page. The text after the help becomes sections of their own, with its lines as they are.
fn page(section: &str, command: &Command) -> Result<Vec<u8>> {
    let man = Man::new(command.clone()).section(section).source(SOURCE).manual("raftbank");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.get_subcommands().any(|verb| !verb.is_hide_set()) {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(text) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        sections(&text.to_string()).to_writer(&mut page)?;
    }
    Ok(page)
}

/// `Examples:` and the like begin a section, whose indented lines are kept; other paragraphs are notes.
fn sections(text: &str) -> Roff {
    let mut roff = Roff::new();
    for paragraph in text.split("\n\n") {
        let (first, rest) = paragraph.split_once('\n').unwrap_or((paragraph, ""));
        let heading = first.strip_suffix(':');
        roff.control("SH", [heading.unwrap_or("Notes").to_uppercase().as_str()]);
        roff.control("nf", []);
        if heading.is_none() {
            roff.text([roman(first)]);
        }
        for line in rest.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let dir = path.parent().context("a file in a folder")?;
    fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    fs::write(path, bytes).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::{completions, manual, programs};

    #[test]
    fn every_program_and_verb_has_its_page_and_every_shell_its_completions() {
        let dir = tempfile::tempdir().unwrap();
        for (section, command) in programs() {
            completions(dir.path(), &command).unwrap();
            manual(dir.path(), section, &command).unwrap();
        }
        let read =
            |file: &str| fs::read_to_string(dir.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        for page in ["man/bankctl.1", "man/bankctl-transfer.1", "man/bankctl-dev-up.1", "man/raftbankd.8"] {
            assert!(read(page).starts_with(".ie"), "{page}: {}", read(page));
        }
        assert!(read("man/raftbank-relayd.8").contains("check\\-config"));
        let page = read("man/bankctl-transfer.1");
        assert!(page.contains(".SH EXAMPLES\n.nf\n") && page.contains("\\-\\-batch payments.csv"), "{page}");
        for file in ["bash/bankctl", "zsh/_bankctl", "fish/bankctl.fish"] {
            assert!(read(file).contains("transfer") && read(file).contains("memo"), "{file}");
        }
        assert!(read("bash/raftbankd").contains("--rejoin"));
    }
}
