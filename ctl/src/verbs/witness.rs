//! `witness`: remembers the newest head it has cosigned of a bank, asks for the proof that a newer one extends it, and
//! cosigns that. The rules are those of C2SP tlog-witness; what is asked and answered travels over the node's socket.

mod state;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use raftbank_proofs::{Checkpoint, Keys};
use raftbank_wire::api::FailKind;
use serde_json::json;

use self::state::State;
use super::verify_receipt::keys_needed;
use super::{Context, checkpoint, consistency};
use crate::args::duration;
use crate::failure::Failure;
use crate::files::{self, not_valid};
use crate::output::{SCHEMA, bytes, line, note};

/// The command line of `witness`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
A witness signs only what extends everything it has signed before. Run it where the bank's operator has no hand.
Exit code 6: the bank was rolled back or rewritten; nothing is cosigned, and both heads are printed as evidence.

Examples:
  bankctl witness --state witness.state --keys keys.txt --every 1m --out cosigned.txt
  bankctl witness --state witness.state --print-key >> keys.txt   # from now on no head counts without it")]
pub struct WitnessArgs {
    /// Its private key and the newest head it has cosigned; made if it is not there. Guard it, and never put back an older
    /// copy.
    #[arg(long, value_name = "FILE")]
    pub state: PathBuf,
    /// The bank's keys file: who must have signed.
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Its name in signatures, when the state file is made; one with random digits if not given.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Look again and again, until Ctrl-C; once if not given.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub every: Option<Duration>,
    /// Where the cosigned head goes, instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print its public key, a line for a keys file, and nothing else.
    #[arg(long)]
    pub print_key: bool,
}

/// `witness`.
///
/// # Errors
/// The bank was rolled back or rewritten, no answer, or files that cannot be used.
pub async fn run(context: &mut Context, args: &WitnessArgs) -> Result<(), Failure> {
    if args.print_key {
        let (_lock, state) = State::open(&args.state, args.name.as_deref())?;
        line(&state.key.verifier().to_string());
        return Ok(());
    }
    // Before a state file is made.
    let keys = files::keys(keys_needed(args.keys.as_deref())?)?.without_witnesses();
    let (_lock, mut state) = State::open(&args.state, args.name.as_deref())?;
    let Some(every) = args.every else {
        let cosigned = look(context, &mut state, &keys).await?;
        return tell(context, args, &cosigned);
    };
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        // A look that is given up has signed nothing: from the signature to its printing nobody waits for anything.
        let looked = tokio::select! {
            looked = look(context, &mut state, &keys) => looked,
            _ = &mut interrupted => return Ok(()),
        };
        match looked {
            Ok(cosigned) => tell(context, args, &cosigned)?,
            // A bank that is down for a while is no lie.
            Err(failure) if failure.kind == FailKind::NotExecuted => {
                note(&format!("not cosigned: {}", failure.message));
            }
            Err(failure) => return Err(failure),
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            _ = &mut interrupted => return Ok(()),
        }
    }
}

/// One look at the bank: its newest head, cosigned, if it extends the one that is remembered.
async fn look(context: &mut Context, state: &mut State, keys: &Keys) -> Result<Checkpoint, Failure> {
    if let Some(old) = state.newest.as_ref().filter(|old| old.head.cluster_id != keys.cluster_id()) {
        let (old, keys) = (raftbank_proofs::origin(&old.head.cluster_id), keys.origin());
        let message = format!("this witness has cosigned {old}, but the keys file is of {keys}");
        return Err(Failure::usage("other_bank", message).hint("use a state file for each bank"));
    }
    let node = &mut context.node;
    let asked = match &state.newest {
        Some(old) => consistency::newest_after(node, &old.head).await,
        None => checkpoint::newest(node, 0).await,
    };
    let mut new = asked.map_err(|failure| with_evidence(failure, state, None))?;
    new.check(keys).map_err(|error| {
        let failure = not_valid("not_signed", format!("the node's checkpoint does not count: {error}"));
        with_evidence(failure, state, Some(&new))
    })?;
    if let Some(old) = &state.newest {
        let extends = consistency::extends(node, &old.head, new.clone()).await;
        extends.map_err(|failure| with_evidence(failure, state, Some(&new)))?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    new.sign(&state.key, now);
    // Remembered before anybody sees the signature.
    state.remember(new.clone())?;
    Ok(new)
}

/// What the bank said before and what it says now, word for word, if it contradicts itself.
fn with_evidence(failure: Failure, state: &State, new: Option<&Checkpoint>) -> Failure {
    if failure.kind == FailKind::Corruption {
        if let Some(old) = &state.newest {
            note(&format!("this witness has cosigned:\n\n{old}"));
        }
        if let Some(new) = new {
            note(&format!("the bank says now:\n\n{new}"));
        }
    }
    failure
}

fn tell(context: &Context, args: &WitnessArgs, cosigned: &Checkpoint) -> Result<(), Failure> {
    let text = cosigned.to_string();
    if let Some(path) = &args.out {
        state::replace(path, text.as_bytes(), 0o644)?;
    }
    if context.out.is_json() {
        let head = &cosigned.head;
        line(&json!({
            "schema": SCHEMA, "size": head.size, "height": head.size - 1, "root": head.root.to_string(), "note": text,
        })
        .to_string());
    } else if args.out.is_none() {
        bytes(text.as_bytes());
    }
    Ok(())
}
