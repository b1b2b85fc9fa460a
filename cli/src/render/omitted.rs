//! Steps that had nothing to do: those with the same reason are told in one line.

use mainstay_proto::v1::{Work, WorkState};

use super::names;

/// Steps that had nothing to do for the same reason.
#[derive(Debug, PartialEq, Eq)]
pub struct Omitted<'a> {
    pub steps: Vec<&'a str>,
    pub why: String,
    /// What to add so that they have something to do; may be empty.
    pub hint: String,
    /// Kinds of connections that nobody has.
    kinds: Vec<&'a str>,
}

const NO_CONNECTION: &str = "no connection of kind ";

/// Whether a step that is done once had nothing to do. Of one on several nodes it matters on which.
#[must_use]
pub fn is_omitted(work: &Work) -> bool {
    work.state() == WorkState::Omitted && names::is_once(&work.target)
}

/// In the order in which the first of each is met.
#[must_use]
pub fn of<'a>(work: impl Iterator<Item = &'a Work>) -> Vec<Omitted<'a>> {
    let mut all: Vec<Omitted<'a>> = Vec::new();
    for work in work.filter(|work| is_omitted(work)) {
        let (why, hint) = reason(&work.detail);
        // One that wants a connection by name is told by itself.
        let kind = why.strip_prefix(NO_CONNECTION).filter(|kind| !kind.contains(' '));
        let same = |other: &&mut Omitted| match kind {
            Some(_) => !other.kinds.is_empty(),
            None => other.why == why && other.hint == hint,
        };
        let Some(other) = all.iter_mut().find(same) else {
            all.push(Omitted { steps: vec![&work.step], why: why.to_owned(), hint: hint.to_owned(), kinds: kind.into_iter().collect() });
            continue;
        };
        if other.steps.last() != Some(&work.step.as_str()) {
            other.steps.push(&work.step);
        }
        if let Some(kind) = kind.filter(|kind| !other.kinds.contains(kind)) {
            other.kinds.push(kind);
            other.why = format!("{NO_CONNECTION}{}", other.kinds.join(", "));
        }
    }
    all
}

/// Why, and what to add where that helps.
pub(super) fn reason(detail: &str) -> (&str, &str) {
    match detail.find(": add ").or_else(|| detail.find(": start ")) {
        Some(at) => (&detail[..at], &detail[at + 2..]),
        None => (detail, ""),
    }
}

impl Omitted<'_> {
    /// `databases, caches: no connection of kind postgres, redis`
    #[must_use]
    pub fn sentence(&self) -> String {
        format!("{}: {}", self.steps.join(", "), self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(step: &str, detail: &str) -> Work {
        Work { step: step.into(), target: "once".into(), detail: detail.into(), state: WorkState::Omitted.into(), ..Work::default() }
    }

    #[test]
    fn the_same_reason_is_told_once() {
        let cluster = "the mesh has no cluster: start an agent that speaks for one (docs/clusters.md)";
        let connection =
            |kind: &str| format!("no connection of kind {kind}: add to an agent's connections.toml:  [connections.NAME]  kind = \"{kind}\"  url = …");
        let named = "no connection of kind redis fits `shop-*`: add to an agent's connections.toml:  …";
        let done = Work { state: WorkState::Succeeded.into(), ..work("resources", "") };
        let all = [
            done,
            work("workloads", cluster),
            work("databases", &connection("postgres")),
            work("services", cluster),
            work("caches", &connection("redis")),
            work("shop", named),
            work("idle", "its `if` is false"),
        ];
        let told: Vec<(String, String)> = of(all.iter()).iter().map(|omitted| (omitted.sentence(), omitted.hint.clone())).collect();
        let expected = [
            ("workloads, services: the mesh has no cluster", "start an agent that speaks for one (docs/clusters.md)"),
            (
                "databases, caches: no connection of kind postgres, redis",
                "add to an agent's connections.toml:  [connections.NAME]  kind = \"postgres\"  url = …",
            ),
            ("shop: no connection of kind redis fits `shop-*`", "add to an agent's connections.toml:  …"),
            ("idle: its `if` is false", ""),
        ];
        assert_eq!(told, expected.map(|(words, hint)| (words.to_owned(), hint.to_owned())));
    }
}
