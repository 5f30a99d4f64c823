//! Folders as installations leave them, one step after the other.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::absent::{OTHER_NODES, Why, look};
use super::{Place, files};

const LIMIT: Duration = Duration::from_secs(60);

/// A system below a temporary folder.
struct System(tempfile::TempDir);

impl System {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("etc/raftbank")).unwrap();
        Self(dir)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap();
    }

    fn config(&self, id: &str) {
        let (data, genesis) = (self.path("data"), self.path("etc/raftbank/genesis.toml"));
        self.write("etc/raftbank/raftbankd.toml", &format!(
            "[node]\nid = \"{id}\"\ndata_dir = {data:?}\ngenesis = {genesis:?}\n\n[relay]\naddress = \"127.0.0.1:7400\"\n"
        ));
    }

    fn genesis(&self, salt: &str) {
        let text = format!("name = \"x\"\nsalt = \"{salt}\"\nmembers = [\"n1\", \"n2\"]\ndifficulty = 8\n");
        self.write("etc/raftbank/genesis.toml", &text);
    }

    async fn why(&self) -> Why {
        let why = look(&self.path("run/raftbank/raftbankd.sock"), self.0.path(), LIMIT).await;
        assert!(!why.message.is_empty() && !why.next.is_empty() && why.next.iter().all(|next| !next.is_empty()));
        why
    }

    async fn code(&self) -> &'static str {
        self.why().await.code
    }
}

#[tokio::test]
async fn each_step_of_an_installation_is_told_from_the_next() {
    let system = System::new();
    assert_eq!(system.code().await, "not_configured");
    system.write("etc/raftbank/raftbankd.toml", "[node\n");
    assert_eq!(system.code().await, "bad_config");
    system.config("n9");
    assert_eq!(system.code().await, "no_genesis");
    system.genesis("replace me with something random");
    assert_eq!(system.code().await, "not_configured");
    system.genesis("Zm9v");
    assert_eq!(system.code().await, "not_a_member");
    system.config("n2");
    assert_eq!(system.code().await, "not_initialised");
    fs::create_dir(system.path("data")).unwrap();
    assert_eq!(system.code().await, "not_initialised");
    system.write("data/meta", "");
    assert_eq!(system.code().await, "not_started");
    system.write("data/corrupt", "block 7.\n");
    assert_eq!(system.code().await, "corrupt");
}

#[tokio::test]
async fn a_socket_of_nobody_is_not_taken_for_the_installed_node() {
    let system = System::new();
    system.config("n1");
    let why = look(&system.path("elsewhere/n1.sock"), system.0.path(), LIMIT).await;
    assert_eq!(why.code, "no_socket");
}

#[test]
fn sockets_tell_configurations_and_units() {
    let root = Path::new("/");
    let place = |socket: &str| Place::of_socket(Path::new(socket), root);
    let node = place("/run/raftbank/raftbankd.sock");
    assert_eq!(node.config.as_deref(), Some(Path::new("/etc/raftbank/raftbankd.toml")));
    assert_eq!(node.unit.as_deref(), Some("raftbankd.service"));
    let named = place("/run/raftbank/blue/raftbankd.sock");
    assert_eq!(named.config.as_deref(), Some(Path::new("/etc/raftbank/raftbankd.toml")));
    assert_eq!(named.init_command(), "systemctl start raftbankd-init@blue");
    assert_eq!(named.unit.as_deref(), Some("raftbankd@blue.service"));
    assert_eq!(place("/run/raftbank/blue/other.sock").unit, None);
    assert_eq!(Place::of_config(Path::new("/etc/raftbank/raftbankd.toml"), root), node);
    assert_eq!(Place::of_config(Path::new("/tmp/n1.toml"), root).unit, None);
}

#[test]
fn what_a_unit_sets_takes_the_place_of_what_the_file_says() {
    let system = System::new();
    system.config("n1");
    system.write("etc/raftbank/n2.env", "# more\nRAFTBANKD_RELAY__ADDRESS=\"relay:1\"\n");
    let place = Place::of_socket(&system.path("run/raftbank/n2/raftbankd.sock"), system.0.path());
    let file = place.file().unwrap();
    assert_eq!((file.id.as_deref(), file.relay.as_deref()), (Some("n2"), Some("relay:1")));
    assert_eq!(file.data_dir, Some(system.path("var/lib/raftbank-n2/n2")));
}

#[test]
fn the_shipped_samples_are_understood() {
    let etc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc");
    let node = files::node(&etc.join("raftbankd.toml")).unwrap();
    assert_eq!((node.id.as_deref(), node.relay.as_deref()), (Some("n1"), Some("127.0.0.1:7400")));
    let genesis = files::genesis(&etc.join("genesis.toml")).unwrap();
    assert!(genesis.sample_salt && genesis.members.len() == 3);
    assert_eq!(files::relay(&etc.join("relayd.toml")).unwrap().cluster, None);
}

#[test]
fn a_long_file_is_refused_and_a_salt_is_not_quoted() {
    let system = System::new();
    system.write("long", &"#".repeat((1 << 20) + 1));
    assert!(files::table(&system.path("long")).is_err());
    system.write("bad", "salt = \"c2VjcmV0\" twice\n");
    assert!(!files::table(&system.path("bad")).unwrap_err().to_string().contains("c2VjcmV0"));
}

#[tokio::test]
async fn a_lost_disk_is_not_begun_anew() {
    let system = System::new();
    system.config("n2");
    let init = |why: &Why| why.next.iter().position(|next| next.ends_with(" --init"));
    for members in ["\"n2\"", "\"n1\", \"n2\"", "\"n1\", \"n2\", \"n3\""] {
        let text = format!("name = \"x\"\nsalt = \"Zm9v\"\nmembers = [{members}]\n");
        system.write("etc/raftbank/genesis.toml", &text);
        // Not there, and then there but empty.
        for _ in 0..2 {
            let why = system.why().await;
            assert!(why.code == "not_initialised" && why.next[0].contains("mounted"), "{why:?}");
            assert_eq!(why.next[1].contains("--init --rejoin"), members.contains("n3"), "{why:?}");
            assert_eq!(why.next[1].contains("export"), !members.contains("n3"), "{why:?}");
            assert_eq!(init(&why), Some(2), "{why:?}");
            fs::create_dir_all(system.path("data")).unwrap();
        }
        system.write("data/corrupt", "");
        let why = system.why().await;
        assert_eq!(why.next[1].contains("--rejoin"), members.contains("n3"), "{why:?}");
        fs::remove_dir_all(system.path("data")).unwrap();
    }
}

#[tokio::test]
async fn where_instances_run_none_is_made_beside_them() {
    for path in [
        "run/raftbank/n2/raftbankd.sock",
        "var/lib/raftbank-n2/n2",
        "etc/systemd/system/multi-user.target.wants/raftbankd@n2.service",
    ] {
        let system = System::new();
        system.config("n1");
        system.genesis("Zm9v");
        fs::create_dir_all(system.path("var/lib/raftbank-old/sled")).unwrap();
        assert_eq!(system.code().await, "not_initialised");
        fs::create_dir_all(system.path(path)).unwrap();
        let why = system.why().await;
        assert_eq!(why.code, OTHER_NODES, "{why:?}");
        assert!(why.next.len() == 1 && why.next[0].ends_with("run/raftbank/n2/raftbankd.sock"), "{why:?}");
        assert!(why.next[0].starts_with("--socket ") && !why.next.concat().contains("--init"), "{why:?}");
        // One that was made is meant.
        fs::create_dir(system.path("data")).unwrap();
        system.write("data/meta", "");
        assert_eq!(system.code().await, "not_started");
    }
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_holds_nothing_up() {
    let system = System::new();
    let pipe = system.path("etc/raftbank/raftbankd.toml");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()));
    let read = std::thread::spawn(move || files::text(&pipe).is_err());
    let deadline = std::time::Instant::now() + LIMIT;
    while !read.is_finished() && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(read.is_finished() && read.join().unwrap(), "it waits for a writer");
    assert_eq!(system.code().await, "bad_config");
}
