//! How each package manager is asked: its programs and their arguments, and what it means by what it says. Pure.

use std::collections::BTreeMap;

use mainstay_core::Millis;
use serde::Deserialize;

use super::lists::{self, DPKG_FORMAT, Listed, RPM_FORMAT};

/// Packages that one step may name.
const NAMED_MAX: usize = 200;
/// Longest name, with a version.
const NAME_BYTES: usize = 200;
/// What apt and dpkg say when another one is at work on the machine.
const APT_LOCKED: [&str; 4] =
    ["Could not get lock", "Unable to acquire the dpkg frontend lock", "Unable to lock directory", "locked by another process"];
/// What dnf says then, in its versions 4 and 5, and rpm through it.
const DNF_LOCKED: [&str; 4] = [
    "already locked by ",
    "Failed to obtain the transaction lock",
    "Failed to obtain rpm transaction lock",
    ".rpm.lock (Resource temporarily unavailable)",
];
/// Status with which dnf 4 ends then, and for nothing else.
const DNF_LOCKED_STATUS: i64 = 200;
/// Last lines among which dnf may have said so: it tells about the other one, and about its own cache, after that.
const SAID_LAST: usize = 10;
/// What dnf is told always: to end where another one is at work, and not to wait as long as that takes.
const DNF_ENDS: &str = "--setopt=exit_on_lock=True";
/// What it says when somebody has ended it in the middle of its work.
const INTERRUPTED: &str = "dpkg was interrupted";

/// A package manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    Apt,
    Dnf,
}

/// The programs of a manager, each with what is to be said to it every time. They are those of the distribution, by
/// their own paths: what is first in a PATH is for nobody to choose here.
#[derive(Debug, Clone)]
pub struct Tools {
    pub manager: Manager,
    /// `apt-get` or `dnf`.
    pub change: Vec<String>,
    /// `dpkg`; nothing with dnf.
    pub mend: Vec<String>,
    /// `dpkg-query` or `rpm`.
    pub list: Vec<String>,
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Manager {
    pub const ALL: [Manager; 2] = [Manager::Apt, Manager::Dnf];

    /// The program that is there where the manager is.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Manager::Apt => "/usr/bin/apt-get",
            Manager::Dnf => "/usr/bin/dnf",
        }
    }

    /// Whether a command has failed because another manager is at work: by the message of the failure, what the command
    /// printed, and the status that it ended with.
    #[must_use]
    pub fn is_locked(self, message: &str, printed: &str, status: Option<i64>) -> bool {
        match self {
            Manager::Apt => APT_LOCKED.iter().any(|words| message.contains(words)),
            Manager::Dnf => {
                let says = |line: &str| DNF_LOCKED.iter().any(|words| line.contains(words));
                status == Some(DNF_LOCKED_STATUS) || printed.lines().rev().take(SAID_LAST).any(says)
            }
        }
    }
}

impl Tools {
    #[must_use]
    pub fn of(manager: Manager) -> Tools {
        let (mend, list) = match manager {
            Manager::Apt => (words(&["/usr/bin/dpkg"]), words(&["/usr/bin/dpkg-query"])),
            Manager::Dnf => (Vec::new(), words(&["/usr/bin/rpm"])),
        };
        Tools { manager, change: words(&[manager.program()]), mend, list }
    }

    fn with(program: &[String], rest: &[&str]) -> Vec<String> {
        program.iter().cloned().chain(words(rest)).collect()
    }

    /// All packages with their versions.
    #[must_use]
    pub fn listing(&self) -> Vec<String> {
        match self.manager {
            Manager::Apt => Tools::with(&self.list, &["-W", DPKG_FORMAT]),
            Manager::Dnf => Tools::with(&self.list, &["-qa", "--qf", RPM_FORMAT]),
        }
    }

    #[must_use]
    pub fn listed(&self, text: &str) -> Listed {
        match self.manager {
            Manager::Apt => lists::dpkg(text),
            Manager::Dnf => Listed { installed: lists::rpm(text), ..Listed::default() },
        }
    }

    /// What the repositories have. An index that cannot be had is an error: what follows would be of yesterday.
    #[must_use]
    pub fn refreshing(&self) -> Vec<String> {
        match self.manager {
            Manager::Apt => Tools::with(
                &self.change,
                &["-q", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30", "-o", "APT::Update::Error-Mode=any", "update"],
            ),
            Manager::Dnf => Tools::with(&self.change, &["-q", "-y", DNF_ENDS, "--refresh", "makecache"]),
        }
    }

    /// Installs and upgrades these, or upgrades all where none is named. Nothing is removed, but what a package of dnf says
    /// that it takes the place of; and of settings that somebody has changed theirs stay.
    #[must_use]
    pub fn changing(&self, packages: &[String], lock_wait: Millis) -> Vec<String> {
        let command = match self.manager {
            Manager::Apt => {
                let lock = format!("DPkg::Lock::Timeout={}", lock_wait.0.div_ceil(1_000));
                let kept = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"];
                // A name is that of a package, and no pattern of many.
                let plain = ["-q", "-y", "--no-remove", "-o", "APT::Cmd::Pattern-Only=true", "-o", "Dpkg::Use-Pty=0", "-o", &lock];
                let verb: &[&str] = if packages.is_empty() { &["--with-new-pkgs", "upgrade"] } else { &["install"] };
                Tools::with(&self.change, &[&plain[..], &kept, verb].concat())
            }
            Manager::Dnf => {
                let verb = if packages.is_empty() { "upgrade" } else { "install" };
                // Neither what nothing needs any more goes, nor the oldest kernel when there is a new one.
                let kept = ["--setopt=clean_requirements_on_remove=False", "--setopt=installonly_limit=0"];
                Tools::with(&self.change, &[&["-y", DNF_ENDS][..], &kept, &[verb]].concat())
            }
        };
        command.into_iter().chain(packages.iter().map(|package| self.named(package))).collect()
    }

    /// A package, perhaps with `=VERSION`, as the manager names it.
    fn named(&self, package: &str) -> String {
        match self.manager {
            Manager::Apt => package.to_owned(),
            Manager::Dnf => package.replacen('=', "-", 1),
        }
    }

    /// What brings to an end what was left half done; nothing where the manager has no such thing.
    #[must_use]
    pub fn mending(&self) -> Option<Vec<String>> {
        (self.manager == Manager::Apt).then(|| Tools::with(&self.mend, &["--force-confdef", "--force-confold", "--configure", "-a"]))
    }
}

/// Nobody is there to be asked, and what it says is to be understood.
#[must_use]
pub fn environment() -> BTreeMap<String, String> {
    let set =
        [("DEBIAN_FRONTEND", "noninteractive"), ("DEBCONF_NONINTERACTIVE_SEEN", "true"), ("APT_LISTCHANGES_FRONTEND", "none"), ("LC_ALL", "C.UTF-8")];
    set.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[must_use]
pub fn is_interrupted(said: &str) -> bool {
    said.contains(INTERRUPTED)
}

/// Whether these are names of packages, each perhaps with `=VERSION`: no option, no pattern, and not a name with a dash
/// after it, by which apt means that the package is to be removed.
///
/// # Errors
/// In words, which one is none.
pub fn check(packages: &[String]) -> Result<(), String> {
    if packages.len() > NAMED_MAX {
        return Err(format!("`packages` has {} names, and may have {NAMED_MAX}", packages.len()));
    }
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !part.ends_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+._:~-".contains(&byte))
    };
    let is_name = |name: &str| {
        let (package, version) = name.split_once('=').map_or((name, None), |(package, version)| (package, Some(version)));
        name.len() <= NAME_BYTES && is_part(package) && version.is_none_or(is_part)
    };
    match packages.iter().find(|name| !is_name(name)) {
        Some(wrong) => Err(format!(
            "`packages` has \"{}\", and should have names of packages such as `openssl` or `openssl=3.0.15-1`",
            wrong.chars().take(64).collect::<String>()
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_of_packages_and_nothing_else() {
        let check = |name: &str| super::check(&[name.to_owned()]);
        for good in
            ["hello", "g++", "libstdc++6:amd64", "python3.11", "openssl=3.0.15-1~deb12u1", "linux-image-6.1.0-28-amd64", "NetworkManager", "x=1:2.3"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in
            ["", "-y", "--force-yes", "hello-", "lib*", "^task", "task^", "a b", "./hello.deb", "@group", "hello=", "hello=-1", "a/stable", "häl"]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(super::check(&vec!["a".to_owned(); NAMED_MAX + 1]).unwrap_err().contains("201 names"));
    }

    #[test]
    fn nothing_is_asked_removed_or_taken_for_an_option() {
        let apt = Tools::of(Manager::Apt);
        let line = apt.changing(&[], Millis::from_secs(90)).join(" ");
        assert!(line.starts_with("/usr/bin/apt-get -q -y --no-remove") && line.ends_with("--with-new-pkgs upgrade"), "{line}");
        assert!(line.contains("DPkg::Lock::Timeout=90") && line.contains("--force-confold"), "{line}");
        let line = apt.changing(&["hello".into(), "g++".into()], Millis::from_secs(1)).join(" ");
        assert!(line.ends_with("install hello g++"), "{line}");
        let dnf = Tools::of(Manager::Dnf);
        assert!(dnf.changing(&["hello".into()], Millis::from_secs(1)).join(" ").ends_with("install hello"));
        assert_eq!(dnf.mending(), None);
        assert_eq!(apt.listing()[1], "-W");
    }

    #[test]
    fn dnf_does_not_wait_by_itself_keeps_kernels_and_has_its_own_way_to_name_a_version() {
        let dnf = Tools::of(Manager::Dnf);
        let kept = "--setopt=exit_on_lock=True --setopt=clean_requirements_on_remove=False --setopt=installonly_limit=0";
        let line = |packages: &[String]| dnf.changing(packages, Millis::from_secs(90)).join(" ");
        assert_eq!(line(&[]), format!("/usr/bin/dnf -y {kept} upgrade"));
        let named = ["openssl=3.0.15-1", "NetworkManager", "bind=32:9.18.28-2.fc40"].map(str::to_owned);
        assert_eq!(line(&named), format!("/usr/bin/dnf -y {kept} install openssl-3.0.15-1 NetworkManager bind-32:9.18.28-2.fc40"));
        assert_eq!(dnf.refreshing().join(" "), "/usr/bin/dnf -q -y --setopt=exit_on_lock=True --refresh makecache");
        let apt = Tools::of(Manager::Apt).changing(&named[..1], Millis::from_secs(1));
        assert_eq!(apt.last().map(String::as_str), Some("openssl=3.0.15-1"));
    }

    #[test]
    fn dnf_is_understood_also_where_it_goes_on_to_talk() {
        let is_locked = |printed: &str, status| Manager::Dnf.is_locked("/usr/bin/dnf ended with a status", printed, Some(status));
        let by_another = "metadata already locked by 3814\nThe application with PID 3814 is: dnf\n    Memory :  90 M RSS (512 MB VSZ)\n    Started: Mon Nov 30 12:00:00 2026 - 00:07 ago\n    State  : Running\n";
        let by_rpm = "RPM: error: can't create transaction lock on /var/lib/rpm/.rpm.lock (Resource temporarily unavailable)\nThe downloaded packages were saved in cache until the next successful transaction.\nYou can remove cached packages by executing 'dnf clean packages'.\nError: Could not run transaction.\n";
        let by_five = "Transaction failed: Failed to obtain rpm transaction lock. Another transaction is in progress.\n";
        for printed in [by_another, by_rpm, by_five, "Failed to obtain the transaction lock (logged in as: root).\n"] {
            assert!(is_locked(printed, 1), "{printed}");
        }
        assert!(is_locked("", 200), "it has a status for it");
        assert!(!is_locked("Error: Unable to find a match: helo\n", 1));
        let long_ago = format!("{by_five}{}", "Installing : hello\n".repeat(SAID_LAST));
        assert!(!is_locked(&long_ago, 1), "something else came after it");
        assert!(!Manager::Apt.is_locked("E: Unable to locate package helo", by_five, Some(200)), "apt has words of its own");
    }

    #[test]
    fn what_it_says_is_understood() {
        let apt =
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (apt-get) ⏎ E: Unable to acquire the dpkg frontend lock";
        let is_locked = |said: &str| Manager::Apt.is_locked(said, "", Some(100));
        assert!(is_locked(apt) && is_locked("dpkg: error: dpkg frontend lock was locked by another process with pid 7"));
        let interrupted = "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.";
        assert!(is_interrupted(interrupted) && !is_locked(interrupted) && !is_interrupted(apt));
    }
}
