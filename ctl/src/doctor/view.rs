//! What the checks look at: the files that are named, and what the daemons answer. Gathered once.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use raftbank_wire::api::{
    ApiReply, ApiRequest, Diagnosis, MemberDiagnosis, RelayConnection, RelayDiagnosis, StatusReply,
};
use raftbank_wire::client::Client;

use super::DoctorArgs;
use crate::local::Place;
use crate::local::absent::{self, Why};
use crate::local::files::{self, GenesisFile, NodeFile, RelayFile, Unseen};
use crate::local::people::Caller;
use crate::verbs::Context;

/// Where the packages have the relay's configuration.
const RELAY_CONFIG: &str = "/etc/raftbank/relayd.toml";

/// Everything that is known before the checks begin.
#[derive(Clone, Debug)]
pub struct View {
    /// For each look.
    pub limit: Duration,
    /// Who looks.
    pub caller: Caller,
    /// Where the node has its things.
    pub place: Place,
    /// What its configuration names.
    pub node: Result<NodeFile, Unseen>,
    /// What the genesis file says.
    pub genesis: Option<Result<GenesisFile, Unseen>>,
    /// What the node says of itself.
    pub diagnosis: Result<Diagnosed, String>,
    /// Why it does not answer.
    pub why: Option<Why>,
    /// The relay's configuration.
    pub relay_config: PathBuf,
    /// The relay's socket.
    pub relay_socket: PathBuf,
    /// The user asked for the relay of this machine to be looked at.
    pub relay_asked: bool,
    /// What the relay's configuration names.
    pub relay: Result<RelayFile, Unseen>,
    /// What the relay of this machine says of itself.
    pub relay_diagnosis: Result<RelayDiagnosis, String>,
}

/// A node's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosed {
    /// What it says.
    pub of: Diagnosis,
    /// It is too old to know of more than `status`.
    pub old: bool,
}

impl View {
    /// Reads the files and asks the daemons: all of it within `total`. Each later look may take `total`, too.
    pub async fn gather(context: &Context, args: &DoctorArgs, total: Duration) -> Self {
        let begun = Instant::now();
        let files = Files::read(args, context.node.path(), context.relay.path(), total / 4).await;
        let place = files.place;
        let limit = total / 2;
        let (diagnosis, relay_diagnosis) =
            tokio::join!(ask_node(&place.socket, limit), ask_relay(&files.relay_socket, limit));
        let why = match &diagnosis {
            Ok(_) => None,
            Err(_) => {
                let left = total.saturating_sub(begun.elapsed());
                Some(absent::look(&place.socket, Path::new("/"), left).await)
            }
        };
        Self {
            limit: total,
            caller: files.caller,
            place,
            node: files.node,
            genesis: files.genesis,
            diagnosis,
            why,
            relay_config: files.relay_config,
            relay_socket: files.relay_socket,
            relay_asked: args.relay_config.is_some(),
            relay: files.relay,
            relay_diagnosis,
        }
    }

    /// The data folder, if the configuration names one.
    pub fn data_dir(&self) -> Option<&Path> {
        self.node.as_ref().ok()?.data_dir.as_deref()
    }

    /// How many members the bank has, if the genesis file may be read.
    pub fn members(&self) -> Option<usize> {
        Some(self.genesis.as_ref()?.as_ref().ok()?.members.len())
    }

    /// What the node says of itself, if it does.
    pub fn diagnosed(&self) -> Option<&Diagnosis> {
        self.diagnosis.as_ref().ok().map(|diagnosed| &diagnosed.of)
    }

    /// The node is run by a unit of the packages.
    pub fn is_packaged(&self) -> bool {
        self.place.unit.is_some()
    }
}

/// What the files say.
struct Files {
    caller: Caller,
    place: Place,
    node: Result<NodeFile, Unseen>,
    genesis: Option<Result<GenesisFile, Unseen>>,
    relay_config: PathBuf,
    relay_socket: PathBuf,
    relay: Result<RelayFile, Unseen>,
}

impl Files {
    /// Reads them on another thread, for a disk may hang.
    async fn read(args: &DoctorArgs, socket: &Path, relay_socket: &Path, limit: Duration) -> Self {
        let (owned, node, relay) = (args.clone(), socket.to_owned(), relay_socket.to_owned());
        let read = tokio::task::spawn_blocking(move || Self::read_now(&owned, &node, &relay));
        if let Ok(Ok(files)) = tokio::time::timeout(limit, read).await {
            return files;
        }
        let what = format!("the file system does not answer within {limit:?}");
        let unseen = |path: &Path| Unseen::Wrong { path: path.to_owned(), what: what.clone() };
        let config = args.config.clone();
        let relay_config = args.relay_config.clone().unwrap_or_else(|| RELAY_CONFIG.into());
        Self {
            caller: Caller {
                name: rustix::process::geteuid().as_raw().to_string(),
                root: rustix::process::geteuid().is_root(),
            },
            node: Err(unseen(config.as_deref().unwrap_or(socket))),
            place: Place { socket: socket.to_owned(), config, ..Place::default() },
            genesis: None,
            relay: Err(unseen(&relay_config)),
            relay_config,
            relay_socket: relay_socket.to_owned(),
        }
    }

    fn read_now(args: &DoctorArgs, socket: &Path, relay_socket: &Path) -> Self {
        let root = Path::new("/");
        let place = match &args.config {
            Some(config) => Place::of_config(config, root),
            None => Place::of_socket(socket, root),
        };
        let relay_config = args.relay_config.clone().unwrap_or_else(|| config_of_relay(relay_socket));
        let relay = files::relay(&relay_config);
        let named = relay.as_ref().ok().and_then(|relay| relay.socket.clone());
        let relay_socket = match (&args.relay_config, named) {
            (Some(_), Some(socket)) => socket,
            _ => relay_socket.to_owned(),
        };
        let node = place.file();
        let genesis = node.as_ref().ok().and_then(|node| node.genesis.as_deref()).map(files::genesis);
        Self { caller: Caller::now(), place, node, genesis, relay_config, relay_socket, relay }
    }
}

/// The configuration that belongs to a relay's socket.
fn config_of_relay(socket: &Path) -> PathBuf {
    // `bankctl dev up` has it beside the socket.
    match socket.parent() {
        Some(dir) if dir.join("relayd.toml").is_file() => dir.join("relayd.toml"),
        _ => RELAY_CONFIG.into(),
    }
}

/// Asks a node for its diagnosis; one that is too old for it is asked for its status.
pub async fn ask_node(socket: &Path, limit: Duration) -> Result<Diagnosed, String> {
    let ask = async {
        let client = Client::connect(socket, limit).await.map_err(|error| error.to_string())?;
        match client.call(ApiRequest::Diagnose, limit).await {
            Ok(ApiReply::Diagnosis(of)) => return Ok(Diagnosed { of: *of, old: false }),
            Ok(ApiReply::Failed { message, .. }) => return Err(message),
            // An older one closes the connection at a request that it cannot read.
            _ => {}
        }
        let client = Client::connect(socket, limit).await.map_err(|error| error.to_string())?;
        match client.call(ApiRequest::Status, limit).await {
            Ok(ApiReply::Status(status)) => Ok(Diagnosed { of: of_status(status), old: true }),
            Ok(ApiReply::Failed { message, .. }) => Err(message),
            Ok(_) => Err("this is not a node's socket".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    tokio::time::timeout(limit, ask).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

/// Asks the relay for its diagnosis; one that is too old for it is asked for its status.
pub async fn ask_relay(socket: &Path, limit: Duration) -> Result<RelayDiagnosis, String> {
    let ask = async {
        let client = Client::connect(socket, limit).await.map_err(|error| error.to_string())?;
        if let Ok(ApiReply::RelayDiagnosis(diagnosis)) = client.call(ApiRequest::Diagnose, limit).await {
            return Ok(diagnosis);
        }
        let client = Client::connect(socket, limit).await.map_err(|error| error.to_string())?;
        match client.call(ApiRequest::Status, limit).await {
            Ok(ApiReply::RelayStatus(status)) => Ok(RelayDiagnosis { status, refused: Vec::new() }),
            Ok(_) => Err("this is not the relay's socket".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    };
    tokio::time::timeout(limit, ask).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")))
}

fn of_status(status: StatusReply) -> Diagnosis {
    let own = status.node.clone();
    let members = status.members.into_iter().map(|member| MemberDiagnosis {
        own: member.id == own,
        id: member.id,
        reachable: member.reachable,
        height: member.height,
        ..MemberDiagnosis::default()
    });
    Diagnosis {
        relay: RelayConnection {
            connected: status.condition.as_deref() != Some("no_relay"),
            ..RelayConnection::default()
        },
        members: members.collect(),
        node: status.node,
        software: status.software,
        cluster_id: status.cluster_id,
        condition: status.condition,
        leader: status.leader,
        uptime_ms: status.uptime_ms,
        ..Diagnosis::default()
    }
}
