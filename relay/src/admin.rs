//! What operators ask on the Unix socket, and the answers.

use std::sync::Arc;

use raftbank_wire::api::{ApiReply, ApiRequest, FailKind};
use raftbank_wire::server::Incoming;
use tokio::sync::mpsc;

use crate::hub::Hub;

/// Answers requests until there are no more.
pub async fn serve(hub: Arc<Hub>, mut requests: mpsc::Receiver<Incoming>) {
    while let Some(Incoming { request, responder }) = requests.recv().await {
        // False: whoever asked has gone.
        responder.finish(&answer(&hub, &request));
    }
}

fn answer(hub: &Hub, request: &ApiRequest) -> ApiReply {
    let done = match request {
        ApiRequest::Status => return ApiReply::RelayStatus(hub.status()),
        ApiRequest::Diagnose => return ApiReply::RelayDiagnosis(hub.diagnosis()),
        ApiRequest::Partition(command) => hub.partition(command).map_err(|error| ("bad_partition", error)),
        ApiRequest::Link(command) => hub.link(command).map_err(|error| ("bad_link", error)),
        ApiRequest::Write { .. }
        | ApiRequest::WriteMany { .. }
        | ApiRequest::Balance { .. }
        | ApiRequest::Funds { .. }
        | ApiRequest::Held { .. }
        | ApiRequest::HeldById { .. }
        | ApiRequest::Accounts { .. }
        | ApiRequest::Get { .. }
        | ApiRequest::Watch
        | ApiRequest::Block { .. }
        | ApiRequest::Blocks { .. }
        | ApiRequest::Verify
        | ApiRequest::VerifyAgainst { .. }
        | ApiRequest::Find { .. }
        | ApiRequest::Checkpoint { .. }
        | ApiRequest::Keys
        | ApiRequest::Inclusion { .. }
        | ApiRequest::Consistency { .. }
        | ApiRequest::BalanceAt { .. }
        | ApiRequest::Rows => {
            return failed("wrong_socket", "this is the relay's socket: ask a node's");
        }
    };
    done.unwrap_or_else(|(code, error)| failed(code, &error.to_string()))
}

fn failed(code: &str, message: &str) -> ApiReply {
    ApiReply::Failed { kind: FailKind::Usage, code: code.to_owned(), message: message.to_owned() }
}
