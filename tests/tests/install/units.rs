//! The units, as systemd reads them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mainstay_tests::up::binaries;

use super::page;

fn units() -> PathBuf {
    page::root().join("deploy/systemd")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A directory with the units whose programs are the ones that were built, and the drop-in beside the agent's.
fn placed(with_hands: bool) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for unit in ["mainstay-coordinator.service", "mainstay-agent.service"] {
        let text = fs::read_to_string(units().join(unit)).expect("a unit");
        let text = text.replace("/usr/local/bin", &binaries().display().to_string());
        fs::write(dir.path().join(unit), text).expect("the unit");
    }
    if with_hands {
        let drop_in = dir.path().join("mainstay-agent.service.d");
        fs::create_dir(&drop_in).expect("a directory");
        fs::copy(units().join("mainstay-agent-hands.conf"), drop_in.join("hands.conf")).expect("the drop-in");
    }
    dir
}

fn verify(dir: &Path, unit: &str) -> Output {
    // Documentation is where `init` puts it, which is not here.
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no"]).arg(dir.join(unit)).env("SYSTEMD_LOG_LEVEL", "warning").output().expect("tests/packages installs systemd")
}

#[test]
fn systemd_finds_nothing_wrong_in_the_units() {
    for with_hands in [false, true] {
        let dir = placed(with_hands);
        for unit in ["mainstay-coordinator.service", "mainstay-agent.service"] {
            let output = verify(dir.path(), unit);
            assert!(output.status.success() && said(&output).is_empty(), "{unit}: {}", said(&output));
        }
    }
    // It finds what is wrong.
    let dir = placed(false);
    let unit = dir.path().join("mainstay-agent.service");
    let text = fs::read_to_string(&unit).expect("the unit").replace("ProtectSystem=strict", "ProtectSystem=very\nProtectEverything=yes");
    fs::write(&unit, text).expect("the unit");
    let wrong = said(&verify(dir.path(), "mainstay-agent.service"));
    assert!(wrong.contains("protect system value") && wrong.contains("ProtectEverything"), "{wrong}");
}

#[test]
fn the_coordinators_user_and_directories_are_made_by_systemd_too() {
    let root = tempfile::tempdir().expect("a directory");
    fs::create_dir(root.path().join("etc")).expect("its /etc");
    let at = format!("--root={}", root.path().display());
    let users = Command::new("systemd-sysusers").arg(&at).arg(units().join("mainstay.sysusers")).output().expect("systemd-sysusers runs");
    assert!(users.status.success(), "{}", said(&users));
    let passwd = fs::read_to_string(root.path().join("etc/passwd")).expect("users");
    assert!(passwd.starts_with("mainstay:") && passwd.contains(":/var/lib/mainstay:"), "{passwd}");
}
