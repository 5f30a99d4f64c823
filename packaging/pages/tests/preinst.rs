//! The package's `preinst` refuses to install programs that cannot read the data on the machine, wherever it is.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// What `preinst upgrade` of a package that reads formats up to 1 says of the file system below `root`.
fn preinst(root: &Path) -> (bool, String) {
    let script = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../debian/preinst")).unwrap();
    let path = root.join("preinst");
    fs::write(&path, script.replace("@FORMAT@", "1")).unwrap();
    let output = Command::new("sh").arg(path).args(["upgrade", "9.9"]).env("DPKG_ROOT", root).output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

/// A data folder of this format.
fn folder(root: &Path, path: &str, format: u32) {
    let dir = root.join(path);
    fs::create_dir_all(&dir).unwrap();
    let meta = [b"RAFTBANK".as_slice(), &format.to_be_bytes(), &[0; 40]].concat();
    fs::write(dir.join("meta"), meta).unwrap();
}

fn configured(root: &Path, file: &str, text: &str) {
    fs::create_dir_all(root.join("etc/raftbank")).unwrap();
    fs::write(root.join("etc/raftbank").join(file), text).unwrap();
}

#[test]
fn data_that_the_programs_can_read_is_no_obstacle() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(preinst(root.path()), (true, String::new()), "an empty machine");
    folder(root.path(), "var/lib/raftbank/n1", 1);
    assert_eq!(preinst(root.path()), (true, String::new()));
}

#[test]
fn newer_data_is_refused_wherever_it_is() {
    for path in ["var/lib/raftbank/n1", "var/lib/private/raftbank-n2/n2"] {
        let root = tempfile::tempdir().unwrap();
        folder(root.path(), path, 2);
        let (installs, said) = preinst(root.path());
        assert!(!installs && said.contains(path) && said.contains("has format 2") && said.contains("9.9"), "{said}");
    }
    for (file, text) in [
        ("raftbankd.toml", "[node]\n\tdata_dir\t=  \"/srv/books/n1\" # ours\n"),
        ("raftbankd.toml", "node.data_dir = '/srv/books/n1'\n"),
        ("n1.env", "RAFTBANKD_NODE__DATA_DIR=/srv/books/n1\n"),
        ("n1.env", "RAFTBANKD_NODE__DATA_DIR=\"/srv/books/n1\"\n"),
    ] {
        let root = tempfile::tempdir().unwrap();
        folder(root.path(), "srv/books/n1", 2);
        assert!(preinst(root.path()).0, "a folder that nobody names");
        configured(root.path(), file, text);
        assert!(!preinst(root.path()).0, "{text}");
    }
}

#[test]
fn what_is_no_data_folder_says_nothing() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("var/lib/raftbank/n1");
    fs::create_dir_all(&dir).unwrap();
    for bytes in [b"".as_slice(), b"RAFTBANK", b"RAFTBANK\0\0\0", b"SOMETHING ELSE, LONG"] {
        fs::write(dir.join("meta"), bytes).unwrap();
        assert_eq!(preinst(root.path()), (true, String::new()), "{bytes:?}");
    }
}
