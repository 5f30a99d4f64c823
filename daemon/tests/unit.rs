//! Paths that a unit may not write, as under `ProtectSystem=strict`: the node sees them through mounts of its own that are
//! read-only, and says which setting of the unit is to be changed instead of waiting for a disk to be mended.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::{Bank, text};

/// The node as its unit sees the machine: `closed` is read-only for it and for nobody else. It must end by itself.
fn output_without(bank: &Bank, closed: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("unshare");
    // Root of a user namespace of its own where this is not root.
    command.args(["--map-root-user", "--mount", "sh", "-ec"]);
    command.arg("mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"; shift; exec timeout 60 \"$@\"");
    command.arg("sh").arg(closed).arg(env!("CARGO_BIN_EXE_raftbankd")).arg("--config").arg(bank.config(1));
    command.args(arguments).output().expect("run")
}

/// True if this machine lets no such mount be made.
fn skipped() -> bool {
    let probe = "mount --bind /tmp /tmp && mount -o remount,bind,ro /tmp";
    let made = Command::new("unshare").args(["--map-root-user", "--mount", "sh", "-c", probe]).output();
    let skipped = !made.is_ok_and(|output| output.status.success());
    if skipped {
        println!("SKIPPED: no mount namespace can be made here");
    }
    skipped
}

fn refused(output: &Output, words: &[&str]) {
    let text = text(output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for word in words {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[tokio::test]
async fn a_path_outside_of_what_the_unit_may_write_is_wrong_configuration_and_no_disk_fault() {
    if skipped() {
        return;
    }
    let bank = Bank::new(1);
    let data = bank.data_dir(1);
    let names = |path: &Path| format!("ReadWritePaths={}", path.display());
    refused(&output_without(&bank, &data, &[]), &["node.data_dir", &names(&data)]);

    // A folder that is still to be made, in one that is closed.
    let outside = bank.dir.path().join("outside");
    fs::create_dir(&outside).expect("made");
    let configured = fs::read_to_string(bank.config(1)).expect("readable");
    let moved = |from: &Path, to: &Path| configured.replace(&format!("{from:?}"), &format!("{to:?}"));
    fs::write(bank.config(1), moved(&data, &outside.join("n1"))).expect("written");
    refused(&output_without(&bank, &outside, &["--init"]), &["node.data_dir", &names(&outside)]);

    fs::write(bank.config(1), moved(&bank.socket(1), &outside.join("n1.sock"))).expect("written");
    refused(&output_without(&bank, &outside, &[]), &["node.socket", &names(&outside)]);

    fs::write(bank.config(1), format!("{configured}[log]\ndir = {outside:?}\n")).expect("written");
    refused(&output_without(&bank, &outside, &[]), &["log.dir", &names(&outside)]);
}
