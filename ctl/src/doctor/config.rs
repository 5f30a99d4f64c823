//! The configuration files: the daemons themselves say whether they are valid; whether they agree is looked at here.

use std::path::Path;

use super::{Finding, View};
use crate::local::command::{self, NotRun, Ran};
use crate::local::files::{GenesisFile, Unseen};

/// Most bytes of what a daemon prints about its configuration.
const REPORT_BYTES_MAX: usize = 16 << 10;

/// What was found, and the cluster id that the configured genesis file gives.
#[derive(Debug, Default)]
pub struct Configs {
    /// What was found.
    pub findings: Vec<Finding>,
    /// In hex.
    pub cluster_id: Option<String>,
}

/// Looks at both configurations and at the genesis file.
pub async fn check(view: &View) -> Configs {
    let mut configs = Configs::default();
    // At the same time, so that both have all of it.
    let (of_node, of_relay) = tokio::join!(validated_node(view), validated_relay(view));
    node(view, of_node, &mut configs);
    if let (Ok(file), Some(Ok(genesis))) = (&view.node, &view.genesis) {
        configs.findings.push(salt(genesis, file.genesis.as_deref().unwrap_or(Path::new("genesis.toml"))));
        configs.findings.push(member(genesis, file.id.as_deref().unwrap_or_default()));
    }
    if wants_relay(view) {
        relay(view, of_relay, &mut configs);
    }
    configs
}

fn wants_relay(view: &View) -> bool {
    view.relay_asked || view.relay_diagnosis.is_ok()
}

async fn validated_node(view: &View) -> Option<Result<Ran, NotRun>> {
    let path = view.place.config.as_deref().filter(|_| view.node.is_ok())?;
    Some(run("raftbankd", path, &view.place.environment, view).await)
}

async fn validated_relay(view: &View) -> Option<Result<Ran, NotRun>> {
    if !wants_relay(view) || view.relay.is_err() {
        return None;
    }
    Some(run("raftbank-relayd", &view.relay_config, &[], view).await)
}

fn node(view: &View, ran: Option<Result<Ran, NotRun>>, configs: &mut Configs) {
    let check = "config.node";
    let Some(path) = &view.place.config else {
        let message = format!("which configuration belongs to {} is not known", view.place.socket.display());
        return configs
            .findings
            .push(Finding { remedy: Some("name it: --config FILE".into()), ..Finding::note(check, message) });
    };
    configs.findings.push(match &view.node {
        // Why the node does not answer says more.
        Err(Unseen::Missing(_)) if view.why.is_some() => {
            Finding::note(check, format!("{} is not there", path.display()))
        }
        Err(unseen @ Unseen::Missing(_)) => Finding::note(check, unseen.to_string()),
        Err(unseen @ Unseen::Denied(_)) => Finding::note(check, unseen.to_string()),
        Err(unseen) => Finding::problem(check, unseen.to_string(), view.place.check_command()),
        Ok(_) => match ran.unwrap_or_else(|| Err(NotRun::Missing("raftbankd".to_owned()))) {
            Ok(Ran { code: Some(0), stdout, .. }) => {
                configs.cluster_id = value(&stdout, "cluster id").map(str::to_owned);
                let (node, bank) = (value(&stdout, "node"), value(&stdout, "bank"));
                let (node, bank) = (node.unwrap_or_default(), bank.unwrap_or_default());
                Finding::ok(check, format!("{} is valid: {node} of bank {bank:?}", path.display()))
            }
            // The genesis file alone may be hidden from this user.
            Ok(Ran { stderr, .. }) if !view.caller.root && stderr.contains("Permission denied") => {
                Finding::note(check, format!("not all of it may be read by this user: {}", first(&stderr)))
            }
            Ok(Ran { stderr, .. }) => {
                Finding::problem(check, first(&stderr), format!("correct it, then: {}", view.place.check_command()))
            }
            Err(error) => Finding::note(check, format!("{} was not validated: {error}", path.display())),
        },
    });
}

fn salt(genesis: &GenesisFile, path: &Path) -> Finding {
    let check = "config.salt";
    if genesis.sample_salt {
        let message = format!("{} has the salt of the sample: such a cluster is not told from others", path.display());
        let remedy = "before the first --init, replace it on all members: head -c 16 /dev/urandom | base64";
        return Finding::problem(check, message, remedy);
    }
    Finding::ok(check, "the genesis file has a salt of its own")
}

fn member(genesis: &GenesisFile, id: &str) -> Finding {
    let members = genesis.members.join(", ");
    if genesis.members.iter().any(|member| member == id) {
        return Finding::ok("config.member", format!("{id} is a member of the bank: {members}"));
    }
    let message = format!("node.id = {id:?} is not a member of the bank: {members}");
    Finding::problem("config.member", message, "set node.id to one of them")
}

fn relay(view: &View, ran: Option<Result<Ran, NotRun>>, configs: &mut Configs) {
    let check = "config.relay";
    let path = &view.relay_config;
    let file = match &view.relay {
        Ok(file) => file,
        Err(unseen @ Unseen::Wrong { .. }) => {
            let remedy = format!("raftbank-relayd --config {} --check-config", path.display());
            return configs.findings.push(Finding::problem(check, unseen.to_string(), remedy));
        }
        Err(unseen) => return configs.findings.push(Finding::note(check, unseen.to_string())),
    };
    configs.findings.push(match ran.unwrap_or_else(|| Err(NotRun::Missing("raftbank-relayd".to_owned()))) {
        Ok(Ran { code: Some(0), .. }) => Finding::ok(check, format!("{} is valid", path.display())),
        Ok(Ran { stderr, .. }) => {
            let remedy = format!("correct it, then: raftbank-relayd --config {} --check-config", path.display());
            Finding::problem(check, first(&stderr), remedy)
        }
        Err(error) => Finding::note(check, format!("{} was not validated: {error}", path.display())),
    });
    let check = "config.agree";
    if let Some(Ok(genesis)) = &view.genesis {
        configs.findings.push(if genesis.members == file.members {
            Finding::ok(check, "relay and genesis file name the same members")
        } else {
            let message = format!(
                "the relay carries for {} and the genesis file has {}",
                file.members.join(", "),
                genesis.members.join(", ")
            );
            let remedy = format!("in {}: relay.members as in the genesis file, in the same order", path.display());
            Finding::problem(check, message, remedy)
        });
    }
    if let (Some(of_relay), Some(of_genesis)) = (&file.cluster, &configs.cluster_id)
        && of_relay != of_genesis
    {
        let message = format!("the relay is bound to cluster {of_relay}, the genesis file gives {of_genesis}");
        let remedy = format!("in {}: relay.cluster, or compare the genesis files", path.display());
        configs.findings.push(Finding::problem(check, message, remedy));
    }
}

async fn run(program: &str, config: &Path, environment: &[(String, String)], view: &View) -> Result<Ran, NotRun> {
    let path = command::own(program).ok_or_else(|| NotRun::Missing(program.to_owned()))?;
    let arguments = [Path::new("--config"), config, Path::new("--check-config")];
    command::run(&path, arguments, environment, view.limit, REPORT_BYTES_MAX).await
}

/// A line of a report such as `cluster id    0123…`.
fn value<'a>(report: &'a str, name: &str) -> Option<&'a str> {
    report.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(' ')?.trim()))
}

fn first(text: &str) -> String {
    text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it is not valid").to_owned()
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn a_report_is_read() {
        let report = "bank          test\ncluster id    0a1b\nnode          n1 (member 1 of 3)\n";
        assert_eq!(value(report, "cluster id"), Some("0a1b"));
        assert_eq!(value(report, "node"), Some("n1 (member 1 of 3)"));
        assert_eq!(value(report, "clu"), None);
    }
}
