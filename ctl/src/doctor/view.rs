//! What the checks look at: the files that are named, and what the daemons answer. Gathered once.

use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// Reads the files and asks the daemons.
    pub async fn gather(context: &Context, args: &DoctorArgs, limit: Duration) -> Self {
        let root = Path::new("/");
        let place = match &args.config {
            Some(config) => Place::of_config(config, root),
            None => Place::of_socket(context.node.path(), root),
        };
        let relay_config = args.relay_config.clone().unwrap_or_else(|| config_of_relay(context.relay.path()));
        let relay = files::relay(&relay_config);
        let named = relay.as_ref().ok().and_then(|relay| relay.socket.clone());
        let relay_socket = match (&args.relay_config, named) {
            (Some(_), Some(socket)) => socket,
            _ => context.relay.path().to_owned(),
        };
        let (diagnosis, relay_diagnosis) =
            tokio::join!(ask_node(&place.socket, limit), ask_relay(&relay_socket, limit));
        let why = match &diagnosis {
            Ok(_) => None,
            Err(_) => Some(absent::look(&place.socket, root, limit).await),
        };
        let node = place.file();
        let genesis = node.as_ref().ok().and_then(|node| node.genesis.as_deref()).map(files::genesis);
        Self {
            limit,
            caller: Caller::now(),
            place,
            node,
            genesis,
            diagnosis,
            why,
            relay_config,
            relay_socket,
            relay_asked: args.relay_config.is_some(),
            relay,
            relay_diagnosis,
        }
    }

    /// The data folder, if the configuration names one.
    pub fn data_dir(&self) -> Option<&Path> {
        self.node.as_ref().ok()?.data_dir.as_deref()
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

/// The configuration that belongs to a relay's socket.
fn config_of_relay(socket: &Path) -> PathBuf {
    // `bankctl dev up` has it beside the socket.
    match socket.parent() {
        Some(dir) if dir.join("relayd.toml").is_file() => dir.join("relayd.toml"),
        _ => PathBuf::from("/etc/raftbank/relayd.toml"),
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
