//! Damages a stopped node's files at random, and says whether each damage was found.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use raftbank_tests::damage::{files, judge, kinds, templates::Templates};

/// Damage a stopped node's files again and again.
#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 100)]
    count: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 0)]
    first: u64,
    #[arg(long)]
    templates: std::path::PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let args = Args::parse();
    Templates::make(&args.templates).await?;
    let begun = std::time::Instant::now();
    let templates = Templates::load(&args.templates)?;
    for template in templates.all.values() {
        println!("{} {:?} {:?}", template.name, template.mark, template.picture.last_index);
        for (name, bytes) in &template.files.files {
            println!("   {name} {}, used {:?}", bytes.len(), bytes.iter().rposition(|b| *b != 0));
        }
    }
    println!("{:?}", begun.elapsed());
    let work = files::workplace()?;
    let begun = std::time::Instant::now();
    for number in args.first..args.first + args.count {
        let damage = kinds::damage(&templates, args.seed, number);
        let (verdict, reason) = judge::judge(&templates, &damage, work.path())?;
        println!("{damage}: {verdict:?}: {reason}");
    }
    println!("{:?}", begun.elapsed());
    Ok(ExitCode::SUCCESS)
}
