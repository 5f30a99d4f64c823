//! PostgreSQL: a primary and one synchronous standby, a transfer in one transaction by one call of a function, clients
//! by pgbench over the Unix socket.

use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::time::sleep;

use super::bank::{ACCOUNTS, BALANCE};
use super::figures::{PATIENCE, Sample, WARM_UP};
use super::host;
use super::running::{Running, run};
use crate::process::free_address;

/// Where Debian puts each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The user that servers run as when this runs as root, for they refuse to be root's.
const USER: &str = "postgres";
/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What pgbench gets beside its time: connections, and what is not counted.
const BESIDE: Duration = Duration::from_secs(1);
const SCHEMA: &str = include_str!("../../bench/schema.sql");
const TRANSFER: &str = include_str!("../../bench/transfer.sql");

/// Where the programs are, and their version; or why it cannot be measured.
pub(crate) fn find() -> Result<(PathBuf, String)> {
    let versions = fs::read_dir(VERSIONS).with_context(|| format!("there is no {VERSIONS} (Debian: postgresql)"))?;
    let folders = versions.filter_map(|entry| Some(entry.ok()?.path().join("bin")));
    let usable = |folder: &PathBuf| {
        ["postgres", "initdb", "pg_basebackup", "psql", "pgbench"].iter().all(|program| folder.join(program).is_file())
    };
    let number = |folder: &PathBuf| folder.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    let folder = folders.filter(usable).max_by_key(number);
    let folder = folder.with_context(|| format!("no version in {VERSIONS} has both servers and clients"))?;
    owner()?;
    let version = host::first_line(&folder.join("postgres"), "--version")?;
    Ok((folder, version))
}

/// The user and group to be, if this is root.
fn owner() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let ids = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(USER)).then_some(())?;
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    Ok(Some(ids.with_context(|| format!("root needs the user {USER}, and there is none"))?))
}

/// A primary and its standby.
pub(crate) struct Postgres {
    /// The standby first: it is ended first.
    standby: Running,
    primary: Running,
    place: Place,
    log_number: u32,
}

/// Where everything is. Removed when it is dropped.
struct Place {
    bin: PathBuf,
    owner: Option<(u32, u32)>,
    folder: tempfile::TempDir,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program, as its user, in the folder, without the caller's settings.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").current_dir(self.folder.path());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    async fn run(&self, command: Command) -> Result<()> {
        run(command, &self.path("tools.log"), PATIENCE).await
    }

    fn server(&self, name: &str, address: SocketAddr, settings: &[&str]) -> Result<Running> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.path(name));
        let sockets = format!("unix_socket_directories={}", self.folder.path().display());
        let port = format!("port={}", address.port());
        for setting in [sockets.as_str(), &port, "listen_addresses=127.0.0.1"].iter().chain(settings) {
            command.arg("-c").arg(setting);
        }
        // SIGINT is its fast shutdown.
        Running::start(command, &self.path(&format!("{name}.log")), libc::SIGINT).context("postgres")
    }

    /// A client of a server, over its Unix socket.
    fn client(&self, program: &str, address: SocketAddr) -> Command {
        let mut command = self.command(program);
        command.arg("-h").arg(self.folder.path()).arg("-p").arg(address.port().to_string()).args(["-U", "postgres"]);
        command
    }

    /// What a query prints.
    fn query(&self, address: SocketAddr, query: &str) -> Result<String> {
        let mut command = self.client("psql", address);
        command.args(["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-c", query, "postgres"]);
        // It must not wait for a standby that is not there.
        let output = command.env("PGOPTIONS", "-c statement_timeout=20s").env("PGCONNECT_TIMEOUT", "10").output()?;
        ensure!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Waits until a query prints this.
    async fn wait(&self, server: &mut Running, address: SocketAddr, query: &str, wanted: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.query(address, query);
            if seen.as_ref().is_ok_and(|seen| seen == wanted) {
                return Ok(());
            }
            server.check()?;
            ensure!(Instant::now() < deadline, "{query} tells {seen:?}, not {wanted}:\n{}", server.log());
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Postgres {
    /// Makes and starts both, and all accounts.
    pub(crate) async fn start() -> Result<Self> {
        let (bin, _) = find()?;
        let folder = tempfile::Builder::new().prefix("rbpg").tempdir().context("a temporary folder")?;
        let place = Place { bin, owner: owner()?, folder };
        if let Some((user, group)) = place.owner {
            chown(place.folder.path(), Some(user), Some(group))?;
        }
        let mut command = place.command("initdb");
        command.arg("-D").arg(place.path("primary"));
        command.args(["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"]);
        place.run(command).await?;
        let address = free_address()?;
        let mut primary = place.server("primary", address, &["synchronous_commit=on"])?;
        place.wait(&mut primary, address, "SELECT 1", "1").await?;
        place.query(address, SCHEMA)?;
        let accounts = format!("INSERT INTO accounts SELECT n, {BALANCE} FROM generate_series(1, {ACCOUNTS}) n");
        place.query(address, &accounts)?;

        let mut command = place.client("pg_basebackup", address);
        command.arg("-D").arg(place.path("standby")).args(["-R", "-X", "stream", "--checkpoint=fast", "--no-sync"]);
        place.run(command).await?;
        let source = format!("primary_conninfo=host=127.0.0.1 port={} user=postgres", address.port());
        // Its name in the primary's eyes.
        let settings = [source.as_str(), "cluster_name=standby", "hot_standby=on"];
        let mut standby = place.server("standby", free_address()?, &settings)?;
        // initdb and pg_basebackup did not sync: both begin with everything on disk.
        place.query(address, "ALTER SYSTEM SET synchronous_standby_names = 'standby'")?;
        place.query(address, "SELECT pg_reload_conf()")?;
        let state = "SELECT sync_state FROM pg_stat_replication";
        place.wait(&mut standby, address, state, "sync").await.context("the standby")?;
        place.query(address, "CHECKPOINT")?;
        place.query(address, "VACUUM ANALYZE")?;
        let postgres = Self { standby, primary, place, log_number: 0 };
        fs::write(postgres.place.path("address"), address.to_string())?;
        Ok(postgres)
    }

    fn address(&self) -> Result<SocketAddr> {
        Ok(fs::read_to_string(self.place.path("address"))?.parse()?)
    }

    /// Closed loop: each client of pgbench has one transfer under way.
    pub(crate) async fn load(&mut self, clients: usize, time: Duration) -> Result<Sample> {
        let result = self.try_load(clients, time).await;
        result.with_context(|| {
            format!("PostgreSQL with {clients} clients\n{}\n{}", self.primary.log(), self.standby.log())
        })
    }

    async fn try_load(&mut self, clients: usize, time: Duration) -> Result<Sample> {
        self.log_number += 1;
        let (prefix, script) = (format!("transfers{}", self.log_number), self.place.path("transfer.sql"));
        fs::write(&script, TRANSFER)?;
        let mut command = self.place.client("pgbench", self.address()?);
        command.args(["-n", "-M", "prepared", "-f"]).arg(&script).args(["-c", &clients.to_string()]);
        command.args(["-j", &clients.min(2).to_string(), "-T", &(time + BESIDE).as_secs().to_string()]);
        command.args(["-D", &format!("accounts={ACCOUNTS}")]);
        // Ids that no run before had.
        command.args(["-D", &format!("n={}", u64::from(self.log_number) * 10_000_000)]);
        command.args(["-l", &format!("--log-prefix={prefix}"), "postgres"]);
        let pgbench = Running::start(command, &self.place.path("pgbench.log"), libc::SIGTERM).context("pgbench")?;
        let pid = pgbench.pid();
        sleep(WARM_UP).await;
        let before = host::processor_time(pid).context("pgbench ended early")?;
        sleep(time).await;
        let spent = host::processor_time(pid).map(|after| after.saturating_sub(before));
        pgbench.finish(BESIDE + PATIENCE).await.context("pgbench")?;
        let mut text = String::new();
        for entry in fs::read_dir(self.place.folder.path())? {
            let path = entry?.path();
            if path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(&format!("{prefix}."))) {
                text += &read(&path)?;
            }
        }
        let times = times(&text, time)?;
        let rate = times.len() as f64 / time.as_secs_f64();
        let mut sample = Sample::new(times, rate)?;
        sample.client_cores = spent.ok().map(|spent| spent.as_secs_f64() / time.as_secs_f64());
        Ok(sample)
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// How long each transaction took that began after the warm-up and was done in time. A line of pgbench's log has: client,
/// number, microseconds, script, end in seconds and microseconds since 1970.
fn times(log: &str, time: Duration) -> Result<Vec<Duration>> {
    let mut all = Vec::new();
    for line in log.lines() {
        let mut fields = line.split(' ').map(str::parse::<u64>);
        let mut next =
            || fields.next().and_then(Result::ok).with_context(|| format!("a line of pgbench's log: {line}"));
        let (_client, _number, took, _script) = (next()?, next()?, next()?, next()?);
        let end = next()? * 1_000_000 + next()?;
        all.push((end.saturating_sub(took), end, took));
    }
    let begin = all.iter().map(|(sent, ..)| *sent).min().context("pgbench's log is empty")?;
    let from = begin + u64::try_from(WARM_UP.as_micros())?;
    let until = from + u64::try_from(time.as_micros())?;
    let counted = all.into_iter().filter(|(sent, end, _)| *sent >= from && *end <= until);
    Ok(counted.map(|(.., took)| Duration::from_micros(took)).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_in_the_warm_up_or_known_too_late_is_not_counted() {
        let log =
            "0 1 1000 0 10 1000\n1 1 400 0 10 500300\n1 2 100 0 10 600000\n0 2 100 0 11 500000\n0 3 100 0 11 500001\n";
        let found = times(log, Duration::from_secs(1)).unwrap();
        assert_eq!(found, [100, 100].map(Duration::from_micros));
        assert!(times("", Duration::from_secs(1)).is_err());
        assert!(times("0 1 failed 0 10 1000\n", Duration::from_secs(1)).is_err());
    }

    /// The function moves money and takes each id once; a repeat and an overdraft change nothing.
    #[tokio::test]
    async fn the_function_is_a_transfer() {
        if let Err(why) = find() {
            println!("not run: {why:#}");
            return;
        }
        let postgres = Postgres::start().await.unwrap();
        let address = postgres.address().unwrap();
        let ask = |query: &str| postgres.place.query(address, query);
        ask("SELECT transfer(1, 1, 2, 5)").unwrap();
        assert!(ask("SELECT transfer(1, 3, 4, 5)").unwrap_err().to_string().contains("duplicate key"));
        assert!(ask("SELECT transfer(2, 4, 3, 2000000000)").unwrap_err().to_string().contains("insufficient"));
        assert!(ask("SELECT transfer(3, 3, 4, 2000000000)").unwrap_err().to_string().contains("insufficient"));
        let balances = ask("SELECT string_agg(balance::text, ' ' ORDER BY id) FROM accounts WHERE id < 5").unwrap();
        assert_eq!(balances, "999999995 1000000005 1000000000 1000000000");
        assert_eq!(ask("SELECT string_agg(id::text, ' ') FROM transfers").unwrap(), "1");
        assert_eq!(ask("SHOW synchronous_commit").unwrap(), "on");
    }
}
