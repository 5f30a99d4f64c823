//! `vectors`: writes the published test vectors. They are made without chance, and a test compares them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use raftbank_tests::vectors;

/// Writes the published test vectors.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder.
    #[arg(default_value = "tests/vectors")]
    dir: PathBuf,
}

fn main() -> Result<()> {
    let Arguments { dir } = Arguments::parse();
    std::fs::create_dir_all(&dir)?;
    let files = vectors::files()?;
    for file in &files {
        std::fs::write(dir.join(&file.name), &file.text).with_context(|| file.name.clone())?;
    }
    std::fs::write(dir.join("manifest.json"), vectors::manifest()?)?;
    println!("{} files in {}", files.len() + 1, dir.display());
    Ok(())
}
