//! Which packages a machine has, by what its package manager lists, and what has changed between two such lists. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Packages with their versions: some, such as kernels, are there in several.
pub type Installed = BTreeMap<String, BTreeSet<String>>;

/// What a manager's list says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    pub installed: Installed,
    /// Names of packages that are neither installed nor removed: unpacked and not configured, or with triggers still to be
    /// run. What has merely no checksums or no architecture is not among them.
    pub half_done: BTreeSet<String>,
}

/// What `dpkg-query` is asked for.
pub const DPKG_FORMAT: &str = "-f=${binary:Package}\\t${Version}\\t${db:Status-Abbrev}\\n";
/// What `rpm` is asked for.
pub const RPM_FORMAT: &str = "%{NAME}.%{ARCH}\\t%{VERSION}-%{RELEASE}\\n";

/// A package that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub name: String,
    /// Versions that have gone; none where it is new.
    pub from: Vec<String>,
    /// Versions that have come; none where it was removed.
    pub to: Vec<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, from, to) = (&self.name, self.from.join(", "), self.to.join(", "));
        match (self.from.is_empty(), self.to.is_empty()) {
            (false, false) => write!(f, "{name} {from} → {to}"),
            (true, _) => write!(f, "{name} {to}, which is new"),
            (false, true) => write!(f, "{name} {from} was removed"),
        }
    }
}

/// From lines of [`DPKG_FORMAT`]. Only what is installed counts as that, also where a trigger of it is still to be run: not
/// what was removed and has left its settings, or was unpacked and not configured.
#[must_use]
pub fn dpkg(text: &str) -> Listed {
    let packages = || {
        text.lines().filter_map(|line| {
            let mut fields = line.split('\t');
            let (name, version, status) = (fields.next()?, fields.next()?, fields.next()?);
            Some((name, version, *status.as_bytes().get(1)?))
        })
    };
    let installed = packages().filter(|(_, _, status)| matches!(status, b'i' | b'W' | b't'));
    let half_done = packages().filter(|(name, _, status)| !name.is_empty() && matches!(status, b'U' | b'F' | b'H' | b'W' | b't'));
    Listed {
        installed: collect(installed.map(|(name, version, _)| (name, version))),
        half_done: half_done.map(|(name, _, _)| name.to_owned()).collect(),
    }
}

/// From lines of [`RPM_FORMAT`].
#[must_use]
pub fn rpm(text: &str) -> Installed {
    collect(text.lines().filter_map(|line| line.split_once('\t')))
}

fn collect<'t>(lines: impl Iterator<Item = (&'t str, &'t str)>) -> Installed {
    let mut all = Installed::new();
    for (name, version) in lines.filter(|(name, _)| !name.is_empty()) {
        all.entry(name.to_owned()).or_default().insert(version.trim().to_owned());
    }
    all
}

/// What has changed, by name.
#[must_use]
pub fn changes(before: &Installed, after: &Installed) -> Vec<Change> {
    let none = BTreeSet::new();
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| {
        let (was, is) = (before.get(name).unwrap_or(&none), after.get(name).unwrap_or(&none));
        let only = |of: &BTreeSet<String>, other: &BTreeSet<String>| of.difference(other).cloned().collect::<Vec<_>>();
        (was != is).then(|| Change { name: name.clone(), from: only(was, is), to: only(is, was) })
    };
    names.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_counts_and_nothing_else() {
        let text = "bash\t5.2.15-2+b7\tii \nlibc6:amd64\t2.36-9\tii \nold\t1.0\trc \nhalf\t2\tiU \nman-db\t2.11\tit \nodd line\n\t1\tii \n";
        let Listed { installed: found, half_done } = dpkg(text);
        assert_eq!(half_done.iter().collect::<Vec<_>>(), ["half", "man-db"]);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["bash", "libc6:amd64", "man-db"]);
        assert!(found["libc6:amd64"].contains("2.36-9"));
        let kernels = rpm("kernel.x86_64\t6.1-1\nkernel.x86_64\t6.2-1\nbash.x86_64\t5.2-3.fc40\n");
        assert_eq!((kernels.len(), kernels["kernel.x86_64"].len()), (2, 2));
        assert_eq!(dpkg(""), Listed::default());
    }

    #[test]
    fn what_is_half_done_is_told_by_its_status_alone() {
        for (status, is_half_done) in [
            ("ii ", false),
            ("hi ", false),
            ("rc ", false),
            ("un ", false),
            ("pn ", false),
            ("iU ", true),
            ("iF ", true),
            ("iHR", true),
            ("iW ", true),
            ("it ", true),
            ("rH ", true),
        ] {
            assert_eq!(!dpkg(&format!("name\t1.0\t{status}\n")).half_done.is_empty(), is_half_done, "{status}");
        }
    }

    #[test]
    fn changes_name_what_came_and_what_went() {
        let list = |text: &str| rpm(&text.replace(' ', "\t"));
        let (before, after) = (list("a 1\nb 1\nk 1\nk 2\nsame 7\n"), list("a 2\nc 1\nk 2\nk 3\nsame 7\n"));
        let told: Vec<String> = changes(&before, &after).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["a 1 → 2", "b 1 was removed", "c 1, which is new", "k 1 → 3"]);
        assert_eq!(changes(&after, &after), []);
        let another = list("k 1\n");
        assert_eq!(changes(&another, &list("k 1\nk 2\n"))[0].to_string(), "k 2, which is new", "beside the one that was there");
    }
}
