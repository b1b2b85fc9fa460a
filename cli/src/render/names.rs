//! Targets as people name them: a node without its cluster where there is only one, a connection by its name.

use std::collections::BTreeSet;

use mainstay_core::catalogue::{self, Scope};

use super::units;

/// What stands before the name of a connection.
const CONNECTION: &str = "connection:";
/// What stands before the name of a cluster.
const CLUSTER: &str = "cluster:";
/// What is done once has no name.
const ONCE: &str = "once";
/// So many of several are named; more are counted.
const NAMED: usize = 3;

/// How the targets that belong together are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    several_clusters: bool,
}

impl Names {
    #[must_use]
    pub fn of<'a>(targets: impl Iterator<Item = &'a str>) -> Names {
        let clusters: BTreeSet<&str> = targets.filter_map(cluster).take(2_000).collect();
        Names { several_clusters: clusters.len() > 1 }
    }

    /// The name in as few words as tell it apart; empty for what is done once.
    #[must_use]
    pub fn short<'a>(&self, target: &'a str) -> &'a str {
        if let Some(name) = target.strip_prefix(CONNECTION).or(target.strip_prefix(CLUSTER)) {
            return name;
        }
        match target.split_once('/') {
            Some((_, node)) if !self.several_clusters => node,
            Some(_) => target,
            None if target == ONCE => "",
            None => target,
        }
    }

    /// `a1, a2, a3 and 37 more`
    #[must_use]
    pub fn list<'a>(&self, targets: impl IntoIterator<Item = &'a str>, all: usize) -> String {
        let mut names: Vec<&str> = targets.into_iter().map(|target| self.short(target)).filter(|name| !name.is_empty()).collect();
        if all > NAMED + 1 {
            names.truncate(NAMED);
        }
        let more = all.saturating_sub(names.len());
        let named = names.join(", ");
        if more > 0 && !names.is_empty() { format!("{named} and {more} more") } else { named }
    }

    /// `40 nodes: a1, a2, a3 and 37 more`, `node a1`, `connection orders-db`, `once`
    #[must_use]
    pub fn counted<'a>(&self, targets: impl IntoIterator<Item = &'a str> + Clone, all: usize) -> String {
        let first = targets.clone().into_iter().next().unwrap_or(ONCE);
        let (one, many) = match noun(first) {
            Some(nouns) => nouns,
            None => return ONCE.to_owned(),
        };
        let names = self.list(targets, all);
        if all == 1 { format!("{one} {names}") } else { format!("{}: {names}", units::count(all as u64, one, many)) }
    }
}

/// What kind of thing a target is, one and many; nothing for what is done once.
fn noun(target: &str) -> Option<(&'static str, &'static str)> {
    match target {
        target if target.starts_with(CONNECTION) => Some(("connection", "connections")),
        target if target.starts_with(CLUSTER) => Some(("cluster", "clusters")),
        target if target.contains('/') => Some(("node", "nodes")),
        _ => None,
    }
}

fn cluster(target: &str) -> Option<&str> {
    if target.starts_with(CONNECTION) { None } else { target.split_once('/').map(|(cluster, _)| cluster) }
}

/// Where a work item is done, in a table: `local/a1`, `orders-db`, `cluster:prod`, `the mesh` for what no agent does.
#[must_use]
pub fn place<'a>(kind: &str, target: &'a str) -> &'a str {
    match target.strip_prefix(CONNECTION) {
        Some(name) => name,
        None if is_by_mesh(kind) => "the mesh",
        None => target,
    }
}

/// Whether it is the target of a step that is done once, by any agent.
#[must_use]
pub fn is_once(target: &str) -> bool {
    target == ONCE
}

/// Whether the mesh carries a kind out itself.
#[must_use]
pub fn is_by_mesh(kind: &str) -> bool {
    catalogue::kind(kind).is_some_and(|kind| kind.scope == Scope::Mesh)
}

/// A sentence about one target as one about each of several: its agent, and it.
#[must_use]
pub fn about_each(text: &str, target: &str) -> String {
    replaced(&replaced(text, &format!("agent {target}"), "its agent"), target, "it")
}

/// A text with a target's name replaced where it stands alone: `prod/n1` is also in `prod/n10`.
#[must_use]
pub fn replaced(text: &str, name: &str, by: &str) -> String {
    if name.is_empty() || name == ONCE {
        return text.to_owned();
    }
    let is_of_name = |c: char| c.is_alphanumeric() || "-_/".contains(c);
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        let goes_on = after.starts_with(is_of_name) || after.strip_prefix('.').is_some_and(|after| after.starts_with(is_of_name));
        let is_whole = !before.ends_with(|c| is_of_name(c) || c == '.') && !goes_on;
        out += before;
        out += if is_whole { by } else { name };
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_is_named_where_there_are_several() {
        let one = Names::of(["prod/a1", "prod/a2", "connection:db", "once"].into_iter());
        assert_eq!([one.short("prod/a1"), one.short("connection:db"), one.short("once")], ["a1", "db", ""]);
        let several = Names::of(["prod/a1", "lab/a1"].into_iter());
        assert_eq!(several.short("lab/a1"), "lab/a1");
    }

    #[test]
    fn few_are_named_and_many_are_counted() {
        let targets = ["p/a1", "p/a2", "p/a3", "p/a4", "p/a5"];
        let names = Names::of(targets.into_iter());
        assert_eq!(names.list(targets, 5), "a1, a2, a3 and 2 more");
        assert_eq!(names.list(targets.into_iter().take(4), 4), "a1, a2, a3, a4");
        assert_eq!(names.counted(targets, 40), "40 nodes: a1, a2, a3 and 37 more");
        assert_eq!(names.counted(["p/a1"], 1), "node a1");
        assert_eq!(names.counted(["connection:orders-db"], 1), "connection orders-db");
        assert_eq!(names.counted(["once"], 1), "once");
        assert_eq!(names.counted(["cluster:prod"], 1), "cluster prod");
        assert_eq!(names.counted(["cluster:prod", "cluster:test"], 2), "2 clusters: prod, test");
    }

    #[test]
    fn a_table_says_who_does_it() {
        assert_eq!([place("node.exec", "p/a1"), place("node.exec", "once"), place("approval", "once")], ["p/a1", "once", "the mesh"]);
        assert_eq!(place("postgres.check", "connection:db"), "db");
    }

    #[test]
    fn only_a_whole_name_is_replaced() {
        assert_eq!(about_each("agent c/n1 does not do node.exec", "c/n1"), "its agent does not do node.exec");
        assert_eq!(about_each("agent c/n10 began it on c/n1.", "c/n1"), "agent c/n10 began it on it.");
        assert_eq!(about_each("c/n1.local and xc/n1 are others", "c/n1"), "c/n1.local and xc/n1 are others");
        assert_eq!(about_each("it is done once", "once"), "it is done once");
    }
}
