#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files and the real apt")]

mod dnf;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::super::{Ended, ExecuteSettings, Labels, Output, Policy};
use super::*;
use crate::observe::readings::Readings;

/// A machine of its own below a folder: the real apt and dpkg, told to take that folder for the root, and a repository
/// of plain files.
struct Machine {
    dir: tempfile::TempDir,
}

impl Machine {
    /// Nothing where the distribution has no apt: then there is nothing to be tried.
    fn new() -> Option<Machine> {
        if !["/usr/bin/apt-get", "/usr/bin/dpkg-deb"].iter().all(|program| Path::new(program).exists()) {
            println!("skipped: this machine has no apt");
            return None;
        }
        let machine = Machine { dir: tempfile::tempdir().unwrap() };
        for folder in [
            "var/lib/dpkg/updates",
            "var/lib/dpkg/info",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
            "var/log/apt",
            "etc/apt/apt.conf.d",
            "etc/apt/preferences.d",
            "etc/apt/trusted.gpg.d",
            "etc/apt/sources.list.d",
            "repository",
        ] {
            fs::create_dir_all(machine.at(folder)).unwrap();
        }
        fs::write(machine.at("var/lib/dpkg/status"), "").unwrap();
        let repository = machine.at("repository");
        fs::write(machine.at("etc/apt/sources.list"), format!("deb [trusted=yes] file:{} ./\n", repository.display())).unwrap();
        Some(machine)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path)
    }

    /// Puts a package into the repository, and out what is there of it.
    fn publish(&self, name: &str, version: &str, setting: &str) {
        let build = self.dir.path().join("build").join(name);
        fs::create_dir_all(build.join("DEBIAN")).unwrap();
        fs::create_dir_all(build.join("etc")).unwrap();
        let control =
            format!("Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@example.com>\nDescription: of a test\n");
        fs::write(build.join("DEBIAN/control"), &control).unwrap();
        fs::write(build.join("DEBIAN/conffiles"), format!("/etc/{name}.conf\n")).unwrap();
        fs::write(build.join(format!("etc/{name}.conf")), setting).unwrap();
        let file = format!("{name}_{version}_all.deb");
        let package = self.at("repository").join(&file);
        let built = Command::new("/usr/bin/dpkg-deb").args(["--root-owner-group", "--build"]).arg(&build).arg(&package).output().unwrap();
        assert!(built.status.success(), "{built:?}");
        let content = fs::read(&package).unwrap();
        let mut index = fs::read_to_string(self.at("repository/Packages")).unwrap_or_default();
        let sum: String = Sha256::digest(&content).iter().fold(String::new(), |mut sum, byte| {
            let _ = write!(sum, "{byte:02x}");
            sum
        });
        let _ = writeln!(index, "{control}Filename: ./{file}\nSize: {}\nSHA256: {sum}\n", content.len());
        fs::write(self.at("repository/Packages"), index).unwrap();
    }

    fn tools(&self) -> Tools {
        let mut tools = Tools::of(Manager::Apt);
        let root = self.at("").display().to_string();
        let dpkg = [format!("--root={root}"), "--force-not-root".to_owned()];
        let options = [
            format!("Dir={root}"),
            format!("Dir::State::status={root}var/lib/dpkg/status"),
            format!("DPkg::Options::=--root={root}"),
            "DPkg::Options::=--force-not-root".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
            "DPkg::Post-Invoke::=".to_owned(),
            "Dir::Bin::dpkg=/usr/bin/dpkg".to_owned(),
        ];
        tools.change.extend(options.into_iter().flat_map(|option| ["-o".to_owned(), option]));
        tools.mend.extend(dpkg);
        tools.list.push(format!("--admindir={root}var/lib/dpkg"));
        tools
    }

    async fn run(&self, packages: &[&str], lock_wait: Millis) -> (Result<Report, StepError>, String) {
        let context = Context::new(Arc::default(), Readings::default(), Arc::default(), Arc::new(Policy::default())).unwrap();
        let context = context.for_attempt(Labels::default(), Output::unwatched(), CancellationToken::new());
        let params = Params { manager: Wanted::Apt, packages: packages.iter().map(|name| (*name).to_owned()).collect(), lock_wait: Span(lock_wait) };
        let ended = carry_out(&params, self.tools(), &context).await;
        (ended, context.output.tail())
    }
}

const MINUTE: Millis = Millis::from_secs(60);

fn told(ended: &(Result<Report, StepError>, String)) -> (i64, Vec<String>) {
    let report = ended.0.as_ref().unwrap_or_else(|error| panic!("{error}\n{}", ended.1));
    (report.outputs["changed"].as_i64().unwrap(), report.checks[0].details.clone())
}

#[tokio::test]
async fn packages_are_installed_and_upgraded_once_and_changed_settings_stay() {
    let Some(machine) = Machine::new() else { return };
    machine.publish("greeting", "1.0", "hello\n");
    machine.publish("other", "1.0", "\n");
    let ended = machine.run(&["greeting"], MINUTE).await;
    assert_eq!(told(&ended), (1, vec!["greeting 1.0, which is new".to_owned()]), "{}", ended.1);
    let ended = machine.run(&["greeting"], MINUTE).await;
    assert_eq!((told(&ended), &ended.0.as_ref().unwrap().checks[0].message), ((0, vec![]), &"nothing was to be changed".to_owned()));
    // `dpkg --audit` tells of this package, which has no checksums. It is not half done for that.
    assert_eq!(ended.0.unwrap().outputs["mended"], json!(false));

    // The machine's owner has other settings than both versions of the package: nobody is asked, and theirs stay.
    fs::write(machine.at("etc/greeting.conf"), "moin\n").unwrap();
    machine.publish("greeting", "1.1", "good day\n");
    let ended = machine.run(&[], MINUTE).await;
    assert_eq!(told(&ended), (1, vec!["greeting 1.0 → 1.1".to_owned()]), "all upgrades, and nothing that is not there: {}", ended.1);
    assert_eq!(fs::read_to_string(machine.at("etc/greeting.conf")).unwrap(), "moin\n");

    // What there is not is no pattern of others.
    let (ended, output) = machine.run(&["gree.*"], MINUTE).await;
    assert!(ended.is_err(), "{output}");
    let error = machine.run(&["greetin"], MINUTE).await.0.unwrap_err();
    assert!(error.ended == Ended::Failed && error.message.contains("Unable to locate package greetin"), "{error}");
}

/// Somebody's dpkg was ended between unpacking and configuring.
fn unpack(machine: &Machine, package: &str) {
    let unpacked = Command::new("/usr/bin/dpkg")
        .arg(format!("--root={}", machine.at("").display()))
        .args(["--force-not-root", "--unpack"])
        .arg(machine.at("repository").join(package))
        .output()
        .unwrap();
    assert!(unpacked.status.success(), "{unpacked:?}");
}

#[tokio::test]
async fn what_was_interrupted_is_brought_to_an_end_first() {
    let Some(machine) = Machine::new() else { return };
    machine.publish("greeting", "1.0", "hello\n");
    machine.publish("other", "1.0", "\n");
    unpack(&machine, "other_1.0_all.deb");
    let ended = machine.run(&["greeting"], MINUTE).await;
    let (_, mut details) = told(&ended);
    details.sort();
    assert_eq!(details, ["greeting 1.0, which is new", "other 1.0, which is new"], "{}", ended.1);
    let report = ended.0.unwrap();
    assert_eq!(report.outputs["mended"], json!(true));
    assert!(report.checks[0].message.contains("what was left half done before was configured first"), "{report:?}");
}

#[tokio::test]
async fn another_package_manager_is_waited_for_and_not_for_ever() {
    let Some(machine) = Machine::new() else { return };
    machine.publish("greeting", "1.0", "hello\n");
    // As apt holds it: a lock of a process on the file.
    let file = fs::File::create(machine.at("var/lib/apt/lists/lock")).unwrap();
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let (ended, output) = machine.run(&["greeting"], Millis::from_secs(1)).await;
    let error = ended.unwrap_err();
    assert!(error.message.starts_with("node.packages: another package manager was at work for more than 1s: "), "{error}\n{output}");
    assert!(output.contains("it is waited for"), "{output}");
    drop(file);
    assert_eq!(told(&machine.run(&["greeting"], MINUTE).await).0, 1);
}

#[tokio::test]
async fn what_another_one_is_at_work_on_is_not_taken_for_left_half_done() {
    let Some(machine) = Machine::new() else { return };
    machine.publish("greeting", "1.0", "hello\n");
    machine.publish("other", "1.0", "\n");
    unpack(&machine, "other_1.0_all.deb");
    // As dpkg holds it, between unpacking and configuring.
    let file = fs::File::create(machine.at("var/lib/dpkg/lock-frontend")).unwrap();
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let (ended, output) = machine.run(&["greeting"], Millis::from_secs(1)).await;
    let error = ended.unwrap_err();
    assert!(error.message.starts_with("node.packages: another package manager was at work for more than 1s: "), "{error}\n{output}");
    assert_eq!(error.report.unwrap().outputs["mended"], json!(false));
    drop(file);
    let ended = machine.run(&["greeting"], MINUTE).await;
    assert_eq!((told(&ended).0, &ended.0.unwrap().outputs["mended"]), (2, &json!(true)));
}

#[test]
fn waiting_for_another_one_is_besides_what_the_indexes_may_take() {
    for (wait, seconds) in [(0, 600), (300, 900), (3_600, 4_200)] {
        assert_eq!(refreshed_within(Millis::from_secs(wait)), Duration::from_secs(seconds));
    }
    assert!(refreshed_within(Millis(u64::MAX)) > REFRESHED_WITHIN);
    assert_eq!((since("a\n", "a\nb\n"), since("gone", "b\n"), since("", "b\n")), ("b\n", "b\n", "b\n"));
}

#[test]
fn a_machine_without_the_manager_refuses_it() {
    let dir = tempfile::tempdir().unwrap();
    let host = Arc::new(crate::host::Host::below(dir.path()));
    let context = Context::new(host, Readings::default(), Arc::default(), Arc::new(Policy::default())).unwrap();
    let words = |wanted| present(wanted, &context).map_err(|error| (error.ended, error.message));
    assert_eq!(words(Wanted::Auto), Err((Ended::Refused, "node.packages: this machine has no /usr/bin/apt-get and no /usr/bin/dnf".into())));
    assert_eq!(words(Wanted::Apt), Err((Ended::Refused, "node.packages: this machine has no /usr/bin/apt-get".into())));
    fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
    fs::write(dir.path().join("usr/bin/dnf"), "").unwrap();
    assert_eq!(words(Wanted::Auto), Ok(Manager::Dnf));
    let settings = ExecuteSettings { host_root: Some(dir.path().join("nowhere")), ..Default::default() };
    let context = Context { settings: Arc::new(settings), ..context };
    let error = present(Wanted::Auto, &context).unwrap_err();
    assert!(error.ended == Ended::Failed && error.message.contains("whether the machine has /usr/bin/apt-get cannot be told"), "{error}");
    let refused = |with: Value| allowed(with.as_object().unwrap()).unwrap_err();
    assert!(refused(json!({ "packages": ["-o"] })).message.contains("should have names of packages"));
    assert_eq!(refused(json!({ "manager": "pacman" })).ended, Ended::Refused);
}
