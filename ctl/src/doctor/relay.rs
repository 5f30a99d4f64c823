//! The relay: whether it can be reached from here, and what node and relay say of each other.

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Finding, View};

/// Looks at the way to the relay.
pub async fn check(view: &View) -> Vec<Finding> {
    let mut findings = Vec::new();
    let single = view.diagnosed().is_some_and(|diagnosis| diagnosis.members.len() == 1);
    if let Some(address) = view.node.as_ref().ok().and_then(|node| node.relay.as_deref()) {
        findings.push(reachable(address, view).await);
    }
    if let Some(diagnosis) = view.diagnosed().filter(|_| !single) {
        let check = "relay.link";
        // An older node does not say for how long.
        let old = view.diagnosis.as_ref().is_ok_and(|diagnosed| diagnosed.old);
        let time = if old { String::new() } else { format!(", for {} s", diagnosis.relay.since_ms / 1_000) };
        findings.push(match &diagnosis.relay.refused {
            Some(why) => Finding::problem(check, format!("the relay refuses this node: {why}"), remedy(why)),
            None if diagnosis.relay.connected => {
                Finding::ok(check, format!("the node is connected to the relay{time}"))
            }
            None => Finding::problem(
                check,
                format!("the node is not connected to the relay{time}"),
                "on the relay's machine: systemctl status raftbank-relayd",
            ),
        });
    }
    findings.extend(refused(view));
    findings.extend(faults(view));
    findings
}

fn remedy(why: &str) -> &'static str {
    if why.contains("cluster") {
        "compare the genesis.toml of all nodes: raftbankd --check-config prints the cluster id"
    } else if why.contains("connected already") {
        "two processes run as this node: stop one of them, on whichever machine it is"
    } else {
        "compare relay.members in relayd.toml with the genesis file"
    }
}

async fn reachable(address: &str, view: &View) -> Finding {
    let check = "relay.reachable";
    let remedy = "systemctl status raftbank-relayd on its machine; then relay.address, relay.listen and firewalls";
    match timeout(view.limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Finding::ok(check, format!("{address} takes connections")),
        Ok(Err(error)) => Finding::problem(check, format!("{address} cannot be reached: {error}"), remedy),
        Err(_) => Finding::problem(check, format!("{address} does not answer within {:?}", view.limit), remedy),
    }
}

/// Nodes that the relay of this machine does not let in.
fn refused(view: &View) -> Vec<Finding> {
    let Ok(diagnosis) = &view.relay_diagnosis else { return Vec::new() };
    let node = |node: &raftbank_wire::api::RefusedNode| {
        let check = if node.refused.code == "other_cluster" { "cluster.genesis" } else { "relay.refused" };
        let ago = node.refused.ago_ms / 1_000;
        let message = format!("the relay does not let {} in, {ago} s ago: {}", node.node, node.refused.message);
        Finding::problem(check, message, remedy(&node.refused.message))
    };
    let connected = |id: &str| diagnosis.status.members.iter().any(|member| member.id == id && member.connected);
    let absent = diagnosis.refused.iter().filter(|node| !connected(&node.node));
    absent.map(node).collect()
}

/// Faults that were set on purpose, and forgotten.
fn faults(view: &View) -> Option<Finding> {
    let check = "relay.faults";
    let status = &view.relay_diagnosis.as_ref().ok()?.status;
    let connected = status.members.iter().filter(|member| member.connected).count();
    Some(match status.faults {
        true => Finding::warning(
            check,
            "a partition, a cut, a delay or a loss is set in the relay",
            "bankctl partition heal; bankctl link clear",
        ),
        false => {
            Finding::ok(check, format!("{connected} of {} members connected, no faults set", status.members.len()))
        }
    })
}
