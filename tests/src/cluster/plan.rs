//! What a cluster is made of.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;

use crate::binaries::Binaries;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The programs.
    pub binaries: Binaries,
    /// 1 to 7.
    pub nodes: usize,
    /// Leading zero bits of a block's hash.
    pub difficulty: u8,
    /// Accounts `a0`, `a1`, … of the genesis file, each with [`Plan::balance`].
    pub accounts: usize,
    /// What each account begins with.
    pub balance: u64,
    /// Heartbeat, shortest and longest election timeout in milliseconds, if not the defaults.
    pub timers: Option<[u64; 3]>,
    /// Makes the cluster unlike any other.
    pub salt: String,
    /// A folder that holds one for each node (`n1`, `n2`, …) for its data, instead of the cluster's own.
    pub data: Option<PathBuf>,
    /// Further environment of the nodes.
    pub environment: Vec<(String, String)>,
    /// What runs each node, such as `strace …`.
    pub wrapper: Vec<String>,
}

impl Plan {
    /// So many nodes, with four accounts of 1,000,000 each.
    ///
    /// # Errors
    /// The programs cannot be built.
    pub fn new(nodes: usize) -> Result<Self> {
        Ok(Self {
            binaries: Binaries::get()?,
            nodes,
            difficulty: 8,
            accounts: 4,
            balance: 1_000_000,
            timers: None,
            salt: "a test".to_owned(),
            data: None,
            environment: Vec::new(),
            wrapper: Vec::new(),
        })
    }

    /// The genesis file.
    pub fn genesis(&self) -> String {
        let members: Vec<String> = (1..=self.nodes).map(|node| format!("\"n{node}\"")).collect();
        let mut text = format!(
            "name = \"test\"\nsalt = \"{}\"\nmembers = [{}]\ndifficulty = {}\ntime_ms = 1\n",
            self.salt,
            members.join(", "),
            self.difficulty
        );
        for account in 0..self.accounts {
            let _ = write!(text, "\n[[accounts]]\nname = \"a{account}\"\nbalance = {}\n", self.balance);
        }
        text
    }
}
