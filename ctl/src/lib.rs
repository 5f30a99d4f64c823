//! The command line of a raftbank, as a library: `main` parses, calls [`run`] and exits.

pub mod args;
pub mod batch;
pub mod bench;
pub mod debug;
pub mod demo;
pub mod describe;
pub mod dev;
pub mod doctor;
pub mod failure;
pub mod files;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod local;
pub mod output;
#[cfg(test)]
mod properties;
pub mod proving;
pub mod session;
pub mod shell;
pub mod stream;
pub mod verbs;

use clap::Parser;
use clap::error::ErrorKind;
use raftbank_ledger::Operation;

use crate::args::{Args, DevAction, Format, Verb};
use crate::debug::DebugAction;
use crate::failure::Failure;
use crate::output::Out;
use crate::verbs::{
    Context, admin, balance_at, blocks, checkpoint, consistency, diff, history, import, keys, pending, reads, receipt,
    show, statement, verify, verify_consistency, verify_receipt, witness, writes,
};

/// Parses the command line, does what it says, and returns the exit code.
pub fn run() -> u8 {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Out::new(args.output).failure(&Failure::internal(format!("no runtime: {error}")));
            return 1;
        }
    };
    if let Err(failure) = sockets(&args) {
        Out::new(args.output).failure(&failure);
        return 2;
    }
    let mut context = Context::new(&args);
    let done = runtime.block_on(dispatch(&mut context, &args));
    // Does not wait for a look at a disk that hangs.
    runtime.shutdown_background();
    match done {
        Ok(code) => code,
        Err(failure) => {
            // A verb that has printed its own object leaves the code empty.
            if !failure.code.is_empty() {
                context.out.failure(&failure);
            }
            failure.exit_code()
        }
    }
}

/// Several sockets make sense to `bench` alone.
fn sockets(args: &Args) -> Result<(), Failure> {
    if !matches!(args.verb, Verb::Bench(_)) {
        return match args.sockets.get(1) {
            None => Ok(()),
            Some(second) => {
                let message = format!("a second --socket, {}: only `bench` asks several nodes", second.display());
                Err(Failure::usage("usage", message))
            }
        };
    }
    // Those behind a verb take the place of those before it, which must not happen to anyone in silence.
    let is_one = |word: &std::ffi::OsString| word == "--socket" || word.as_encoded_bytes().starts_with(b"--socket=");
    if std::env::args_os().filter(is_one).count() > args.sockets.len() {
        return Err(Failure::usage("usage", "give all --socket before `bench`, or all behind it"));
    }
    Ok(())
}

/// What clap refuses is wrong usage, in JSON too if that was asked for.
fn usage(error: &clap::Error) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print(); // nobody may be there to read it
        return 0;
    }
    let arguments: Vec<String> = std::env::args().collect();
    let json = arguments.iter().zip(arguments.iter().skip(1).chain([&String::new()])).any(|(flag, value)| {
        (["-o", "--output"].contains(&flag.as_str()) && value.starts_with("json"))
            || flag.starts_with("-ojson")
            || flag.starts_with("--output=json")
    });
    if json && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let text = error.to_string();
        // The first paragraph: what is missing stands in its further lines.
        let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let message = lines.join(" ");
        Out::new(Format::Json).failure(&Failure::usage("usage", message.trim_start_matches("error: ")));
    } else {
        let _ = error.print();
    }
    2
}

/// Runs one verb and returns the exit code.
///
/// # Errors
/// As the verb says.
pub async fn dispatch(context: &mut Context, args: &Args) -> Result<u8, Failure> {
    match args.verb.clone() {
        Verb::Open { account, id } => {
            let operation = Operation::Open { account: writes::account(&account)? };
            writes::run(context, id.id.as_deref(), operation).await?;
        }
        Verb::Balance { account, at: height, proof: true, checkpoint, .. } => {
            balance_at::proof(context, &account, height, checkpoint.as_deref()).await?;
        }
        Verb::Balance { account, at: Some(height), .. } => balance_at::at(context, &account, height).await?,
        Verb::Balance { account, local, .. } => reads::balance(context, &account, local).await?,
        Verb::Accounts { local } => reads::accounts(context, local).await?,
        Verb::Transfer { batch: Some(file), id_prefix, .. } => {
            return batch::run(context, &file, id_prefix.as_deref()).await;
        }
        Verb::Transfer { from, to, amount, memo, id, pending: timeout, .. } => {
            let (from, to, amount) = (from.unwrap_or_default(), to.unwrap_or_default(), amount.unwrap_or_default());
            let memo = memo.unwrap_or_default();
            let operation = match timeout {
                Some(timeout_ms) => pending::transfer(&from, &to, &amount, &memo, timeout_ms)?,
                None => writes::transfer(&from, &to, &amount, &memo)?,
            };
            writes::run(context, id.id.as_deref(), operation).await?;
        }
        Verb::Post { pending, amount, id } => {
            pending::post(context, id.id.as_deref(), &pending, amount.as_deref()).await?;
        }
        Verb::Void { pending, id } => pending::void(context, id.id.as_deref(), &pending).await?,
        Verb::Pending { account } => pending::list(context, account.as_deref()).await?,
        Verb::Linked { file, id } => pending::linked(context, id.id.as_deref(), &file).await?,
        Verb::Credit { account, amount, id } => {
            let (account, amount) = (writes::account(&account)?, writes::amount(&amount)?);
            writes::run(context, id.id.as_deref(), Operation::Credit { account, amount }).await?;
        }
        Verb::Debit { account, amount, id } => {
            let (account, amount) = (writes::account(&account)?, writes::amount(&amount)?);
            writes::run(context, id.id.as_deref(), Operation::Debit { account, amount }).await?;
        }
        Verb::Put { key, value, id } => {
            let operation = Operation::Put { key: key.into_bytes(), value: writes::value(value)? };
            writes::run(context, id.id.as_deref(), operation).await?;
        }
        Verb::Get { key, local } => reads::get(context, &key, local).await?,
        Verb::Shell => shell::run(context, args).await?,
        Verb::Status => reads::status(context).await?,
        Verb::Doctor(args) => return Ok(doctor::run(context, &args).await),
        Verb::Debug { action: DebugAction::Bundle(args) } => debug::bundle(context, &args).await?,
        Verb::Watch => reads::watch(context).await?,
        Verb::Partition { action } => admin::partition(context, action).await?,
        Verb::Link { action } => admin::link(context, action).await?,
        Verb::Block { height } => blocks::block(context, height).await?,
        Verb::Blocks { from, to } => blocks::blocks(context, from, to, false).await?,
        Verb::Export { from } => blocks::blocks(context, from, None, true).await?,
        Verb::Diff { a, b } => return diff::run(context, &a, &b).await,
        Verb::Witness(args) => witness::run(context, &args).await?,
        Verb::Verify(args) => return verify::run(context, &args).await,
        Verb::Import(args) => return import::run(context, &args),
        Verb::Keys(args) => keys::run(context, &args).await?,
        Verb::Checkpoint(args) => checkpoint::run(context, &args).await?,
        Verb::Receipt(args) => receipt::run(context, &args).await?,
        Verb::VerifyReceipt(args) => verify_receipt::run(context, &args)?,
        Verb::VerifyConsistency(args) => verify_consistency::run(context, &args)?,
        Verb::Consistency(args) => consistency::run(context, &args).await?,
        Verb::Show(args) => show::run(context, &args).await?,
        Verb::History(args) => history::run(context, &args).await?,
        Verb::Statement(args) => statement::run(context, &args).await?,
        Verb::Dev { action: DevAction::Up { nodes, dir, no_restart, slow } } => {
            dev::up(&dir, dev::Options { nodes, restart: !no_restart, slow }).await?;
        }
        Verb::Dev { action: DevAction::Start { node, dir } } => dev::start(&dir, &node, context.timeout).await?,
        Verb::Bench(bench) => return bench::run(context, &args.sockets, &bench).await,
        Verb::Demo { keep } => demo::run(context.out, keep).await?,
    }
    Ok(0)
}
