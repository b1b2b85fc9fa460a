//! Targets as people name them: a node without its cluster where there is only one, a connection by its name.

use std::collections::BTreeSet;

use mainstay_core::catalogue::{self, Scope};

use super::units;

/// What stands before the name of a connection.
const CONNECTION: &str = "connection:";
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
        if let Some(name) = target.strip_prefix(CONNECTION) {
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
        target if target.contains('/') => Some(("node", "nodes")),
        _ => None,
    }
}

fn cluster(target: &str) -> Option<&str> {
    if target.starts_with(CONNECTION) { None } else { target.split_once('/').map(|(cluster, _)| cluster) }
}

/// Where a work item is done, in a table: `local/a1`, `orders-db`, `the mesh` for what no agent does.
#[must_use]
pub fn place<'a>(kind: &str, target: &'a str) -> &'a str {
    match target.strip_prefix(CONNECTION) {
        Some(name) => name,
        None if is_by_mesh(kind) => "the mesh",
        None => target,
    }
}

/// Whether the mesh carries a kind out itself.
#[must_use]
pub fn is_by_mesh(kind: &str) -> bool {
    catalogue::kind(kind).is_some_and(|kind| kind.scope == Scope::Mesh)
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
    }

    #[test]
    fn a_table_says_who_does_it() {
        assert_eq!([place("node.exec", "p/a1"), place("node.exec", "once"), place("approval", "once")], ["p/a1", "once", "the mesh"]);
        assert_eq!(place("postgres.check", "connection:db"), "db");
    }
}
