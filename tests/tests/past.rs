//! The past, as real nodes tell it by `bankctl`: it is what a judge remembers who saw every write; a node that only lags
//! behind is no alarm for a witness; and a bank is made again from its export, but not from one with another digit.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use raftbank_tests::cluster::{Cluster, Plan};
use raftbank_tests::ctl::Ctl;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

fn seed() -> u64 {
    std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random)
}

/// A cluster with a leader, and `bankctl` for its first node.
async fn start(plan: Plan) -> Result<(Cluster, Ctl)> {
    let mut cluster = Cluster::start(plan).await?;
    cluster.leader().await?;
    let ctl = ctl(&cluster, 0)?;
    Ok((cluster, ctl))
}

fn ctl(cluster: &Cluster, node: usize) -> Result<Ctl> {
    Ctl::new(&cluster.socket(node), &cluster.file(""))
}

/// What a judge knows: all balances after each block.
#[derive(Default)]
struct Judge {
    after: Vec<BTreeMap<String, i128>>,
}

impl Judge {
    /// Keeps what a write that was committed at this height did.
    fn enter(&mut self, height: usize, changes: &[(&str, i128)]) {
        while self.after.len() <= height {
            let last = self.after.last().cloned().unwrap_or_default();
            self.after.push(last);
        }
        for (name, change) in changes {
            *self.after[height].entry((*name).to_owned()).or_insert(0) += change;
        }
    }

    fn balance(&self, name: &str, height: usize) -> Option<i128> {
        self.after.get(height)?.get(name).copied()
    }
}

fn number(value: &Value) -> i128 {
    value.as_str().and_then(|text| text.parse().ok()).expect("a number in a string")
}

#[tokio::test]
async fn the_past_is_what_a_judge_remembers() -> Result<()> {
    let seed = seed();
    println!("SEED={seed}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut plan = Plan::new(3)?;
    (plan.accounts, plan.balance) = (3, 50);
    let (_cluster, ctl) = start(plan).await?;
    let mut judge = Judge::default();
    judge.enter(0, &[("a0", 50), ("a1", 50), ("a2", 50), ("world", -150)]);
    let at = |value: &Value| usize::try_from(value["height"].as_u64().expect("a height")).expect("small");
    let opened = ctl.json(&["open", "late"])?;
    judge.enter(at(&opened), &[("late", 0)]);
    let names = ["a0", "a1", "a2", "late"];
    let (mut refused, mut requests) = (0, 0);
    for number in 0..25 {
        let (from, to) = (names[rng.random_range(0..4)], names[rng.random_range(0..4)]);
        let amount = rng.random_range(1..60_i128);
        let id = format!("t{number}");
        let output = ctl.run(&["-o", "json", "transfer", from, to, &amount.to_string(), "--id", &id])?;
        let value: Value = serde_json::from_slice(&output.stdout)?;
        requests += 1;
        match output.status.code() {
            Some(0) => judge.enter(at(&value), &[(from, -amount), (to, amount)]),
            Some(3) => {
                refused += 1;
                judge.enter(at(&value), &[]);
            }
            other => anyhow::bail!("{other:?}: {output:?}"),
        }
    }
    println!("{requests} transfers, {refused} refused");
    let head = judge.after.len() - 1;
    for height in 0..=head {
        let text = height.to_string();
        for name in names.iter().chain(&["world"]) {
            match judge.balance(name, height) {
                Some(balance) => {
                    let said = ctl.json(&["balance", name, "--at", &text])?;
                    ensure!(number(&said["balance"]) == balance, "{name} at {height}: {said}, not {balance}");
                }
                None => ensure!(ctl.fails(3, &["balance", name, "--at", &text])? == "unknown_account"),
            }
        }
    }
    ensure!(ctl.fails(3, &["balance", "a0", "--at", &(head + 1).to_string()])? == "unknown_block");
    ensure!(ctl.fails(2, &["balance", "a0", "--at", "1", "--local"])? == "usage");

    for name in names {
        let history = ctl.json(&["history", name])?;
        let postings = history["postings"].as_array().context("postings")?;
        for (place, posting) in postings.iter().enumerate() {
            let height = at(posting);
            // The last one of its block leaves what the judge knows.
            if postings.get(place + 1).is_none_or(|next| at(next) > height) {
                ensure!(Some(number(&posting["balance"])) == judge.balance(name, height), "{posting}");
            }
            if posting["outcome"] != "committed" {
                ensure!(number(&posting["change"]) == 0, "{posting}");
            }
        }
        let sum: i128 = postings.iter().map(|posting| number(&posting["change"])).sum();
        ensure!(Some(sum) == judge.balance(name, head), "{name}: {sum}");
        let lines = ctl.text(&["-o", "jsonl", "history", name])?;
        ensure!(lines.lines().count() == postings.len());
        let newest = ctl.json(&["history", name, "--limit", "2"])?;
        let newest = newest["postings"].as_array().context("postings")?;
        ensure!(newest.as_slice() == &postings[postings.len().saturating_sub(2)..]);

        let (from, to) = (rng.random_range(1..=head), head);
        let statement = ctl.json(&["statement", name, "--from", &from.to_string(), "--to", &to.to_string()])?;
        let [opening, closing, came, went] = ["opening", "closing", "in", "out"].map(|key| number(&statement[key]));
        ensure!(opening == judge.balance(name, from - 1).unwrap_or(0), "{name} from {from}: {statement}");
        ensure!(Some(closing) == judge.balance(name, to), "{name} to {to}: {statement}");
        ensure!(opening + came - went == closing, "{statement}");
    }
    ensure!(ctl.fails(3, &["history", "nobody"])? == "unknown_account");
    ensure!(ctl.fails(3, &["statement", "nobody"])? == "unknown_account");
    Ok(())
}

#[tokio::test]
async fn a_bank_is_made_again_from_its_export() -> Result<()> {
    let (mut cluster, ctl) = start(Plan::new(1)?).await?;
    for number in 1..=12 {
        ctl.text(&["transfer", "a0", "a1", &number.to_string(), "--id", &format!("t{number}")])?;
    }
    ctl.save("chain", &["export"])?;
    let verified = ctl.json(&["verify", "--export", "chain"])?;
    let status = cluster.status(0).await.context("a status")?;
    ensure!(verified["height"] == status.height, "{verified}");
    let config = cluster.config(0).display().to_string();
    ensure!(ctl.fails(2, &["import", "chain", "--config", &config])? == "not_imported");
    cluster.stop_node(0).await?;
    std::fs::rename(cluster.data(0), cluster.file("lost"))?;

    // One digit of an amount: refused, and nothing is left behind.
    let chain = std::fs::read_to_string(ctl.file("chain"))?;
    std::fs::write(ctl.file("altered"), chain.replacen("\"amount\":\"7\"", "\"amount\":\"9\"", 1))?;
    ensure!(ctl.fails(6, &["import", "altered", "--config", &config])? == "not_imported");
    ensure!(!cluster.data(0).exists());
    let imported = ctl.run_with(&["-o", "json", "import", "-", "--config", &config], chain.as_bytes())?;
    ensure!(imported.status.success(), "{imported:?}");
    let imported: Value = serde_json::from_slice(&imported.stdout)?;
    ensure!(imported["head"] == verified["head"] && imported["log_root"] == verified["log_root"], "{imported}");

    let (new, old) = (cluster.data(0).display().to_string(), cluster.file("lost").display().to_string());
    let of_folder = ctl.json(&["verify", "--data-dir", &new])?;
    ensure!(of_folder["ok"] == true && of_folder["head"] == verified["head"], "{of_folder}");
    let diff = ctl.json(&["diff", &new, &old])?;
    ensure!(diff["same"] == true, "{diff}");

    cluster.start_node(0)?;
    cluster.leader().await?;
    let again = cluster.status(0).await.context("a status")?;
    ensure!(again.head == status.head && again.height == status.height);
    let repeated = ctl.json(&["transfer", "a0", "a1", "5", "--id", "t5"])?;
    ensure!(repeated["duplicate"] == true && repeated["height"] == 5, "{repeated}");
    ctl.text(&["transfer", "a0", "a1", "1", "--id", "new"])?;
    ensure!(ctl.json(&["verify"])?["ok"] == true);
    Ok(())
}

#[tokio::test]
async fn a_node_that_lags_behind_is_no_alarm() -> Result<()> {
    let (mut cluster, _) = start(Plan::new(3)?).await?;
    let leader = cluster.leader().await?;
    let (behind, ctl) = ((leader + 1) % 3, ctl(&cluster, leader)?);
    ctl.text(&["transfer", "a0", "a1", "1", "--id", "before"])?;
    ctl.save("keys", &["keys"])?;
    let others: Vec<usize> = (0..3).filter(|node| *node != behind).collect();
    raftbank_tests::ask::partition(&cluster, &[&[behind], &others]).await?;
    ctl.text(&["transfer", "a0", "a1", "1", "--id", "after"])?;
    let witness = ["witness", "--state", "w.state", "--keys", "keys"];
    let size_min = ["checkpoint", "--min-height", "2"];
    ctl.text(&size_min)?;
    ctl.text(&witness)?;
    ctl.save("newest", &["checkpoint"])?;
    let lagging = Ctl::new(&cluster.socket(behind), &cluster.file(""))?;
    let impatient = lagging.impatient();
    impatient.fails(4, &witness)?;
    impatient.fails(4, &["consistency", "newest"])?;
    // Once it hears the others it is as good as they are.
    raftbank_tests::ask::heal(&cluster).await?;
    lagging.text(&witness)?;
    lagging.text(&["consistency", "newest"])?;
    Ok(())
}

#[tokio::test]
async fn a_bank_of_three_is_imported_as_a_whole_or_not_at_all() -> Result<()> {
    let (mut cluster, ctl) = start(Plan::new(3)?).await?;
    for number in 1..=6 {
        ctl.text(&["transfer", "a0", "a1", &number.to_string(), "--id", &format!("t{number}")])?;
    }
    ctl.save("chain", &["export"])?;
    ctl.save("monday", &["checkpoint", "--min-height", "6"])?;
    let head = cluster.converged().await?.head;
    let import = |cluster: &mut Cluster, node: usize| -> Result<()> {
        std::fs::rename(cluster.data(node), cluster.file(&format!("old{node}")))?;
        ctl.text(&["import", "chain", "--config", &cluster.config(node).display().to_string()])?;
        cluster.start_node(node)
    };
    // One of three: the others do not know it any more, and go on without it.
    cluster.stop_node(2).await?;
    import(&mut cluster, 2)?;
    cluster.leader_among(&[0, 1]).await?;
    ctl.text(&["transfer", "a0", "a1", "7", "--id", "t7"])?;
    let stranger = Ctl::new(&cluster.socket(2), &cluster.file(""))?;
    stranger.impatient().fails(4, &["balance", "a1"])?;
    // All are stopped before the first is started: none gets to know another's older folder.
    for node in 0..3 {
        cluster.stop_node(node).await?;
    }
    std::fs::remove_dir_all(cluster.file("old2"))?;
    for node in 0..3 {
        import(&mut cluster, node)?;
    }
    cluster.leader().await?;
    ensure!(cluster.converged().await?.head == head, "the seventh transfer came after the export");
    ctl.text(&["transfer", "a0", "a1", "7", "--id", "t7"])?;
    for node in 0..3 {
        let ctl = Ctl::new(&cluster.socket(node), &cluster.file(""))?;
        ensure!(ctl.json(&["verify", "--checkpoint", "monday"])?["ok"] == true);
    }
    Ok(())
}
