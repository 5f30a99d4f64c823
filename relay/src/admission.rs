//! Who may connect: the members of one bank, by the list of the configuration.
//!
//! Whether the same member is connected already is not decided here: that takes a look at its connection.

use std::fmt::Write;

use raftbank_wire::hello::Hello;

/// Why a node has to stay out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: &'static str,
    /// For people: what is wrong and what to do.
    pub message: String,
}

/// The bank that this relay serves.
#[derive(Clone, Debug)]
pub struct Admission {
    members: Vec<String>,
    /// From the configuration.
    bound: Option<[u8; 32]>,
    /// Of the nodes that are connected.
    adopted: Option<[u8; 32]>,
}

impl Admission {
    /// For these members; of the cluster `bound`, or of that of the first node that connects.
    pub fn new(members: Vec<String>, bound: Option<[u8; 32]>) -> Self {
        Self { members, bound, adopted: None }
    }

    /// The cluster that is served at the moment.
    pub fn cluster(&self) -> Option<[u8; 32]> {
        self.bound.or(self.adopted)
    }

    /// The node's place among the members.
    ///
    /// # Errors
    /// It belongs to another bank, knows other members, or is none of them.
    pub fn check(&self, hello: &Hello) -> Result<u8, Refusal> {
        if let Some(served) = self.cluster()
            && served != hello.cluster_id
        {
            let why = if self.bound.is_some() { "by its configuration" } else { "since its first node connected" };
            let message = format!(
                "this relay serves cluster {} {why} and this node belongs to cluster {}: compare the genesis.toml \
                 of all nodes, and check the relay's address",
                hex(&served),
                hex(&hello.cluster_id)
            );
            return Err(Refusal { code: "other_cluster", message });
        }
        if self.members != hello.members {
            // Debug: the names are a stranger's and are shown with their control characters escaped.
            let message = format!(
                "this relay carries for {:?} and this node's bank has the members {:?}: relay.members must name the \
                 members of the genesis file in the same order",
                self.members, hello.members
            );
            return Err(Refusal { code: "other_members", message });
        }
        let place = self.members.iter().position(|member| *member == hello.node);
        place.and_then(|place| u8::try_from(place).ok()).ok_or_else(|| {
            let message = format!(
                "there is no member {:?}: the members are {}. Check node.id",
                hello.node,
                self.members.join(", ")
            );
            Refusal { code: "not_a_member", message }
        })
    }

    /// A node of this cluster has connected.
    pub fn adopt(&mut self, cluster_id: [u8; 32]) {
        self.adopted = Some(cluster_id);
    }

    /// No node is connected any more: the next one may be of another cluster, unless the configuration names one.
    pub fn release(&mut self) {
        self.adopted = None;
    }
}

/// Lowercase hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use raftbank_wire::hello::Hello;

    use super::Admission;

    fn members() -> Vec<String> {
        ["n1", "n2", "n3"].map(String::from).to_vec()
    }

    fn hello(node: &str, cluster: u8) -> Hello {
        Hello {
            cluster_id: [cluster; 32],
            node: node.into(),
            members: members(),
            incarnation: 1,
            software: "test/1".into(),
        }
    }

    #[test]
    fn the_first_node_brings_the_cluster_and_the_last_takes_it_away() {
        let mut admission = Admission::new(members(), None);
        assert_eq!(admission.check(&hello("n2", 1)).unwrap(), 1);
        admission.adopt([1; 32]);
        assert_eq!(admission.check(&hello("n3", 1)).unwrap(), 2);
        let refusal = admission.check(&hello("n3", 2)).unwrap_err();
        assert_eq!(refusal.code, "other_cluster");
        assert!(refusal.message.contains(&"01".repeat(32)) && refusal.message.contains(&"02".repeat(32)));
        admission.release();
        assert_eq!(admission.check(&hello("n3", 2)).unwrap(), 2);
    }

    #[test]
    fn a_bound_relay_serves_one_cluster_for_ever() {
        let mut admission = Admission::new(members(), Some([1; 32]));
        assert_eq!(admission.check(&hello("n1", 2)).unwrap_err().code, "other_cluster");
        admission.adopt([1; 32]);
        admission.release();
        assert_eq!(admission.check(&hello("n1", 2)).unwrap_err().code, "other_cluster");
        assert_eq!(admission.check(&hello("n1", 1)).unwrap(), 0);
    }

    #[test]
    fn members_are_the_same_in_the_same_order() {
        let admission = Admission::new(members(), None);
        let mut swapped = hello("n1", 1);
        swapped.members.swap(0, 1);
        let mut fewer = hello("n1", 1);
        fewer.members.pop();
        for other in [swapped, fewer] {
            assert_eq!(admission.check(&other).unwrap_err().code, "other_members");
        }
        let refusal = admission.check(&hello("n4\n", 1)).unwrap_err();
        assert_eq!(refusal.code, "not_a_member");
        assert!(refusal.message.contains("n1, n2, n3") && !refusal.message.contains('\n'), "{}", refusal.message);
    }
}
