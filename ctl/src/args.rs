//! The command line of `bankctl`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::bench::BenchArgs;
use crate::debug::DebugAction;
use crate::doctor::DoctorArgs;
use crate::verbs::checkpoint::CheckpointArgs;
use crate::verbs::consistency::ConsistencyArgs;
use crate::verbs::history::HistoryArgs;
use crate::verbs::import::ImportArgs;
use crate::verbs::keys::KeysArgs;
use crate::verbs::pending::timeout;
use crate::verbs::receipt::ReceiptArgs;
use crate::verbs::show::ShowArgs;
use crate::verbs::statement::StatementArgs;
use crate::verbs::verify::VerifyArgs;
use crate::verbs::verify_consistency::VerifyConsistencyArgs;
use crate::verbs::verify_receipt::VerifyReceiptArgs;
use crate::verbs::witness::WitnessArgs;

const EXAMPLES: &str = "\
Examples:
  bankctl dev up                                a whole cluster on this machine, until Ctrl-C
  bankctl --socket raftbank-dev/n1.sock open alice
  bankctl credit alice 100
  bankctl transfer alice bob 40 --memo rent
  bankctl balance bob
  bankctl transfer --batch payments.csv --id-prefix 2026-11
  bankctl -o json status
  bankctl demo                                  a tour: transfers, a partition, a killed leader, verification

Exit codes:
  0 done   1 internal error   2 wrong usage   3 the bank refused   4 not executed
  5 outcome unknown: ask again with the same --id   6 corruption found";

/// Talk to a raftbank: move money, read balances and blocks, verify the books.
#[derive(Clone, Debug, Parser)]
#[command(name = "bankctl", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Args {
    /// The node's Unix socket. `bench` takes several, each with a --socket of its own.
    #[arg(
        long = "socket",
        global = true,
        env = "BANKCTL_SOCKET",
        value_name = "PATH",
        default_value = "/run/raftbank/raftbankd.sock"
    )]
    pub sockets: Vec<PathBuf>,

    /// The relay's Unix socket, for `partition` and `link`.
    #[arg(
        long,
        global = true,
        env = "BANKCTL_RELAY_SOCKET",
        value_name = "PATH",
        default_value = "/run/raftbank/relayd.sock"
    )]
    pub relay_socket: PathBuf,

    /// How results are printed.
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value = "table")]
    pub output: Format,

    /// How long a command waits, such as 5s or 500ms.
    #[arg(long, global = true, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub timeout: Duration,

    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

impl Args {
    /// The node's socket; the first of several.
    pub fn socket(&self) -> &Path {
        self.sockets.first().map_or(Path::new(""), PathBuf::as_path)
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON object.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// The id of a write.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct IdArg {
    /// Unique for ever: the same id with the same content executes once and is answered alike each time. Random if not
    /// given, and printed before it is sent.
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub id: Option<String>,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Open an account
    #[command(after_help = "Example:\n  bankctl open alice")]
    Open {
        /// 1–64 of a-z A-Z 0-9 . _ : -
        #[arg(allow_hyphen_values = true)]
        account: String,
        /// The write's id.
        #[command(flatten)]
        id: IdArg,
    },
    /// Show an account's balance, what it holds for pending transfers, and what is under way
    #[command(after_help = "\
Examples:
  bankctl balance alice
  bankctl balance alice --local                 # this node's state, however old
  bankctl balance alice --at 12                 # after block 12
  bankctl balance alice --at 12 --proof > a.txt # for: bankctl verify-receipt a.txt --keys keys.txt
  bankctl balance mallory --proof               # that there is no such account")]
    Balance {
        /// The account.
        #[arg(allow_hyphen_values = true)]
        account: String,
        /// Answer from this node and say at which height, instead of asking a majority.
        #[arg(long, conflicts_with_all = ["at", "proof"])]
        local: bool,
        /// The balance after the block with this height.
        #[arg(long, value_name = "HEIGHT")]
        at: Option<u64>,
        /// Print a proof of the balance, or that there is no such account, which anyone can check.
        #[arg(long)]
        proof: bool,
        /// Lead to this checkpoint, such as one that a witness has cosigned, instead of to the node's newest.
        #[arg(long, value_name = "FILE", requires = "proof")]
        checkpoint: Option<PathBuf>,
    },
    /// Show all accounts; the sum is always 0
    #[command(after_help = "Example:\n  bankctl accounts")]
    Accounts {
        /// Answer from this node instead of asking a majority.
        #[arg(long)]
        local: bool,
    },
    /// Move money between accounts, one transfer or a file of them
    #[command(after_help = "\
Examples:
  bankctl transfer alice bob 40 --memo rent
  bankctl transfer alice bob 40 --id inv-17     # exactly once, however often it is run
  bankctl transfer alice bob 40 --pending 24h --id hold-7   # reserve it; then: post hold-7, or void hold-7
  bankctl transfer --batch payments.csv         # rows: from,to,amount,id,memo
  bankctl transfer --batch - --id-prefix may < payments.csv   # ids may:1, may:2, ...")]
    Transfer {
        /// Who pays.
        #[arg(required_unless_present = "batch", allow_hyphen_values = true)]
        from: Option<String>,
        /// Who is paid.
        #[arg(required_unless_present = "batch", allow_hyphen_values = true)]
        to: Option<String>,
        /// A whole number of the smallest unit, 1 to 9223372036854775807.
        #[arg(required_unless_present = "batch", allow_hyphen_values = true)]
        amount: Option<String>,
        /// Up to 256 bytes that are kept with the transfer.
        #[arg(long, conflicts_with = "batch", allow_hyphen_values = true)]
        memo: Option<String>,
        /// Only reserve the money, for so long: `post` moves it, `void` frees it. 1ms to 366d, in the chain's time.
        #[arg(long, value_name = "DURATION", conflicts_with = "batch", value_parser = timeout)]
        pending: Option<u64>,
        /// The write's id.
        #[command(flatten)]
        id: IdArg,
        /// A CSV file of `from,to,amount[,id[,memo]]` (`-`: standard input); at most 1,000,000 rows.
        #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "to", "amount", "id"])]
        batch: Option<PathBuf>,
        /// Rows without an id get PREFIX:LINE.
        #[arg(long, value_name = "PREFIX", requires = "batch")]
        id_prefix: Option<String>,
    },
    /// Move the money of a pending transfer, all of it or less; the rest is free again
    #[command(after_help = "Examples:\n  bankctl post hold-7\n  bankctl post hold-7 --amount 25")]
    Post {
        /// The id of the pending transfer.
        #[arg(value_name = "PENDING-ID", allow_hyphen_values = true)]
        pending: String,
        /// How much; all of it if not given.
        #[arg(long, allow_hyphen_values = true)]
        amount: Option<String>,
        /// The write's id.
        #[command(flatten)]
        id: IdArg,
    },
    /// Free the money of a pending transfer
    #[command(after_help = "Example:\n  bankctl void hold-7")]
    Void {
        /// The id of the pending transfer.
        #[arg(value_name = "PENDING-ID", allow_hyphen_values = true)]
        pending: String,
        /// The write's id.
        #[command(flatten)]
        id: IdArg,
    },
    /// List the pending transfers that are open, as this node has them
    #[command(after_help = "Examples:\n  bankctl pending\n  bankctl pending alice\n  bankctl -o json pending")]
    Pending {
        /// Only those from or to this account.
        #[arg(allow_hyphen_values = true)]
        account: Option<String>,
    },
    /// Do several transfers together, all of them or none, each on what those before it left
    #[command(after_help = "\
Examples:
  bankctl linked wages.csv --id wages-may       # rows: from,to,amount[,memo]; 2 to 128
  printf 'alice,bob,40\\nbob,carol,15\\n' | bankctl linked -")]
    Linked {
        /// A CSV file of `from,to,amount[,memo]` (`-`: standard input).
        file: PathBuf,
        /// The write's id.
        #[command(flatten)]
        id: IdArg,
    },
    /// Cash in: from `world` to an account
    #[command(after_help = "Example:\n  bankctl credit alice 100")]
    Credit {
        /// The account.
        #[arg(allow_hyphen_values = true)]
        account: String,
        /// How much.
        #[arg(allow_hyphen_values = true)]
        amount: String,
        /// The write's id.
        #[command(flatten)]
        id: IdArg,
    },
    /// Cash out: from an account to `world`
    #[command(after_help = "Example:\n  bankctl debit alice 100")]
    Debit {
        /// The account.
        #[arg(allow_hyphen_values = true)]
        account: String,
        /// How much.
        #[arg(allow_hyphen_values = true)]
        amount: String,
        /// The write's id.
        #[command(flatten)]
        id: IdArg,
    },
    /// Set a key of the key-value store
    #[command(after_help = "Examples:\n  bankctl put motd hello\n  bankctl put logo - < logo.png")]
    Put {
        /// 1–256 bytes.
        #[arg(allow_hyphen_values = true)]
        key: String,
        /// Up to 64 KiB; `-` reads it from standard input.
        #[arg(allow_hyphen_values = true)]
        value: String,
        /// The write's id.
        #[command(flatten)]
        id: IdArg,
    },
    /// Show the value of a key
    #[command(after_help = "Example:\n  bankctl get motd")]
    Get {
        /// The key.
        #[arg(allow_hyphen_values = true)]
        key: String,
        /// Answer from this node instead of asking a majority.
        #[arg(long)]
        local: bool,
    },
    /// Talk to the bank interactively, with history and completion
    #[command(after_help = "Example:\n  bankctl shell\n  > use alice\n  > credit 10\n  > query")]
    Shell,
    /// Show this node and the cluster as it sees it
    #[command(after_help = "Example:\n  bankctl -o json status")]
    Status,
    /// Check this installation: what is wrong, and what helps
    Doctor(DoctorArgs),
    /// Collect what a bug report needs
    #[command(after_help = "Example:\n  bankctl debug bundle")]
    Debug {
        /// What to do.
        #[command(subcommand)]
        action: DebugAction,
    },
    /// Show role changes, blocks and balances as they change, until Ctrl-C
    #[command(after_help = "Example:\n  bankctl watch")]
    Watch,
    /// Show, set or heal the relay's partition
    #[command(
        after_help = "Examples:\n  bankctl partition\n  bankctl partition set n1/n2,n3 --for 10s\n  bankctl partition heal"
    )]
    Partition {
        /// Show it if nothing is given.
        #[command(subcommand)]
        action: Option<PartitionAction>,
    },
    /// Show or set the relay's link faults
    #[command(
        after_help = "Examples:\n  bankctl link\n  bankctl link cut n1 n2 --one-way\n  bankctl link delay 1s..5s\n  bankctl link loss 10\n  bankctl link clear"
    )]
    Link {
        /// Show them if nothing is given.
        #[command(subcommand)]
        action: Option<LinkAction>,
    },
    /// Show a block
    #[command(after_help = "Example:\n  bankctl block 12")]
    Block {
        /// Its height.
        height: u64,
    },
    /// List blocks
    #[command(after_help = "Example:\n  bankctl blocks --from 10 --to 20")]
    Blocks {
        /// First height.
        #[arg(long, value_name = "HEIGHT", default_value_t = 0)]
        from: u64,
        /// Last height; the head if not given.
        #[arg(long, value_name = "HEIGHT")]
        to: Option<u64>,
    },
    /// Re-execute every block from genesis and compare everything
    Verify(VerifyArgs),
    /// Print the chain as JSON lines, one block each
    #[command(after_help = "Example:\n  bankctl export > chain.jsonl")]
    Export {
        /// First height.
        #[arg(long, value_name = "HEIGHT", default_value_t = 0)]
        from: u64,
    },
    /// Make a node's data folder from a complete export
    Import(ImportArgs),
    /// Say in which block and which account two nodes differ
    #[command(
        after_help = "Examples:\n  bankctl diff raftbank-dev/n1.sock raftbank-dev/n2.sock\n  bankctl diff /run/raftbank/raftbankd.sock /var/lib/raftbank.damaged"
    )]
    Diff {
        /// A running node's socket, or a stopped node's data folder.
        a: String,
        /// The other one.
        b: String,
    },
    /// Remember the newest signed head, cosign what extends it, and fail if the bank was rolled back or rewritten
    Witness(WitnessArgs),
    /// Print the public keys of all members: what is needed to check receipts and proofs
    Keys(KeysArgs),
    /// Print the newest head of the chain that a majority has signed
    Checkpoint(CheckpointArgs),
    /// Print the receipt of a request: that it is in the chain, with which outcome
    Receipt(ReceiptArgs),
    /// Check a receipt, a balance proof or a checkpoint, without any server
    VerifyReceipt(VerifyReceiptArgs),
    /// Check that a newer checkpoint extends an older one, without any server
    VerifyConsistency(VerifyConsistencyArgs),
    /// Print the proof that the chain still begins with what an older checkpoint says
    Consistency(ConsistencyArgs),
    /// Show a request with its outcome and its place
    Show(ShowArgs),
    /// List all requests that name an account, with the balance after each
    History(HistoryArgs),
    /// Print what an account held, what came and went, and what it held then
    Statement(StatementArgs),
    /// Run a whole cluster on this machine, without root
    Dev {
        /// What to do with it.
        #[command(subcommand)]
        action: DevAction,
    },
    /// Measure how fast a running bank is; writes to it
    Bench(BenchArgs),
    /// A narrated tour: transfers, a partition, a killed leader, recovery, verification
    #[command(after_help = "Example:\n  bankctl demo")]
    Demo {
        /// Keep the cluster's folder.
        #[arg(long)]
        keep: bool,
    },
}

/// What to do about the partition.
#[derive(Clone, Debug, Subcommand)]
pub enum PartitionAction {
    /// Show the groups
    Show,
    /// Nodes of different groups no longer reach each other
    Set {
        /// Groups separated by a slash, nodes by a comma: n1,n2/n3. Every node exactly once.
        #[arg(allow_hyphen_values = true)]
        groups: String,
        /// Heal by itself after this time.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        for_: Option<Duration>,
    },
    /// Back to one group
    Heal,
}

/// What to do about links.
#[derive(Clone, Debug, Subcommand)]
pub enum LinkAction {
    /// Show cuts, delay and loss
    Show,
    /// Drop everything between two nodes
    Cut {
        /// A node.
        a: String,
        /// Another node.
        b: String,
        /// Only from the first to the second.
        #[arg(long)]
        one_way: bool,
        /// Restore by itself after this time.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        for_: Option<Duration>,
    },
    /// Undo a cut, in both directions
    Restore {
        /// A node.
        a: String,
        /// Another node.
        b: String,
    },
    /// Hold each message back for a random time of its own
    Delay {
        /// MIN..MAX, such as 1s..5s or 10ms..200ms; one value for both; 0 for none.
        range: String,
        /// End by itself after this time.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        for_: Option<Duration>,
    },
    /// Drop messages at random
    Loss {
        /// 0 to 100.
        #[arg(allow_hyphen_values = true)]
        percent: String,
        /// End by itself after this time.
        #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
        for_: Option<Duration>,
    },
    /// No cuts, no delay, no loss
    Clear,
}

/// What to do with a development cluster.
#[derive(Clone, Debug, Subcommand)]
pub enum DevAction {
    /// Start relay and nodes, and keep them running until Ctrl-C
    #[command(after_help = "Example:\n  bankctl dev up -n 5 --dir bank\n  bankctl --socket bank/n1.sock status")]
    Up {
        /// How many nodes, 1 to 7; 3 if the folder is new.
        #[arg(short, long, value_parser = clap::value_parser!(u8).range(1..=7))]
        nodes: Option<u8>,
        /// Where everything is kept; `dev up` on it again resumes.
        #[arg(long, value_name = "DIR", default_value = "raftbank-dev")]
        dir: PathBuf,
        /// Leave a process down that dies.
        #[arg(long)]
        no_restart: bool,
        /// Timers for message delays of seconds.
        #[arg(long)]
        slow: bool,
    },
    /// Start a node that is down
    #[command(after_help = "Example:\n  bankctl dev start n2 --dir bank")]
    Start {
        /// The node, or `relay`.
        node: String,
        /// The folder of the running `dev up`.
        #[arg(long, value_name = "DIR", default_value = "raftbank-dev")]
        dir: PathBuf,
    },
}

/// Reads a duration that is longer than zero and not longer than a day.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration; write it like 5s, 500ms or 2m"))?;
    if duration.is_zero() {
        return Err("a duration must be longer than zero".to_owned());
    }
    if duration > Duration::from_secs(24 * 3600) {
        return Err("a duration of more than a day is not supported".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests;
