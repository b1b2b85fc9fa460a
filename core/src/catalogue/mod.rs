//! The catalogue of step kinds: each declared once. Validation, help and the reference page come from here.

pub mod changed;
mod kinds;
mod param;
pub mod schema;
mod together;

pub use kinds::KINDS;
use param::Stage;
pub use param::{Param, ParamType};
pub use together::Together;

use std::collections::BTreeMap;

use crate::id::{ClusterName, Target};
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

/// What a step kind does to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Looks.
    Read,
    /// Changes something that Mainstay knows how to describe.
    Write,
    /// Runs something that Mainstay cannot look into.
    Exec,
}

/// How what was done is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undo {
    /// There is nothing to take back.
    Nothing,
    /// To exactly the earlier state.
    Reversible,
    /// By the step that the plan names under `undo`.
    Compensated,
    /// Not at all.
    Irreversible,
}

/// Which targets a kind can be done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Each machine, once, by the agent that speaks for it.
    Host,
    /// Something that looks the same from every agent of a machine: once anywhere, or once on each machine.
    View,
    /// Anywhere; `runOn` decides.
    Any,
    /// Each cluster, by the one of its cluster agents that acts.
    Cluster,
    /// Each node of a cluster, as the cluster knows it: by the one of its cluster agents that acts.
    Node,
    /// Nowhere: the mesh carries it out itself, and no agent sees it.
    Mesh,
}

/// The kind by which a plan waits for a person.
pub const APPROVAL: &str = "approval";
/// The kind that holds a lease for a while.
pub const LEASE_HOLD: &str = "lease.hold";
/// The kind that lets time pass, and nothing else.
pub const WAIT: &str = "wait";
/// The kinds that make and end silences of Alertmanager.
pub const ALERTMANAGER_SILENCE: &str = "alertmanager.silence";
pub const ALERTMANAGER_EXPIRE: &str = "alertmanager.expire";
/// The kinds that are about backups.
pub const BACKUP_RUN: &str = "backup.run";
pub const BACKUP_CHECK: &str = "backup.check";
pub const BACKUP_PRUNE: &str = "backup.prune";
pub const BACKUP_RESTORE: &str = "backup.restore";
pub const RECOVERY_DRILL: &str = "recovery.drill";
/// The kind that reboots a node.
pub const REBOOT: &str = "node.reboot";
/// The kind that installs and upgrades packages of a node.
pub const PACKAGES: &str = "node.packages";
/// The kind that leads traffic elsewhere.
pub const SWITCH: &str = "kube.switch";
/// The kind that watches what a step before it has done.
pub const WATCH: &str = "kube.watch";
/// The kinds that take a node out of use, and put it back.
pub const CORDON: &str = "kube.cordon";
pub const DRAIN: &str = "kube.drain";
pub const UNCORDON: &str = "kube.uncordon";
/// The kind that says beforehand whether nodes could be drained.
pub const DRAINABLE: &str = "kube.drainable";
/// The kinds that the helm program carries out.
pub const HELM_UPGRADE: &str = "helm.upgrade";
pub const HELM_ROLLBACK: &str = "helm.rollback";
pub const HELM_UNINSTALL: &str = "helm.uninstall";
/// The kinds by which a plan replaces the mesh's root.
pub const ROOT_ADD: &str = "root.add";
pub const ROOT_ADOPT: &str = "root.adopt";
pub const ROOT_LEAVE: &str = "root.leave";
pub const ROOT_RETIRE: &str = "root.retire";
/// Their parameter.
pub const CERTIFICATE_PARAM: &str = "certificate";

/// Which outside systems a kind works through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    None,
    /// Always through one of these kinds. Its parameter `connection` names it; without one, all of them are targets.
    Always(&'static [&'static str]),
    /// Through one of these kinds where the step gives `connection`; else by what its other parameters name.
    WhenNamed(&'static [&'static str]),
}

impl Connections {
    /// The pattern of the connections that are the targets of a step with these parameters; nothing where its
    /// targets are not connections.
    #[must_use]
    pub fn pattern<'a>(&self, with: &'a serde_json::Map<String, serde_json::Value>) -> Option<&'a str> {
        let named = with.get(CONNECTION_PARAM).and_then(serde_json::Value::as_str);
        match self {
            Connections::None => None,
            Connections::Always(_) => Some(named.unwrap_or("*")),
            Connections::WhenNamed(_) => named,
        }
    }

    /// In words, for the reference.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Connections::None => "none".to_owned(),
            Connections::Always(kinds) => format!("always through one of kind {}; `connection` says which, else each of them", kinds.join(" or ")),
            Connections::WhenNamed(kinds) => format!("through one of kind {} where `connection` names it", kinds.join(" or ")),
        }
    }

    #[must_use]
    pub fn kinds(&self) -> &'static [&'static str] {
        match self {
            Connections::None => &[],
            Connections::Always(kinds) | Connections::WhenNamed(kinds) => kinds,
        }
    }
}

/// The parameter by which a step names its connection, or a pattern of several.
pub const CONNECTION_PARAM: &str = "connection";

/// Whether a name fits a pattern, in which `*` stands for any text.
#[must_use]
pub fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

/// One step kind.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub summary: &'static str,
    pub scope: Scope,
    pub effect: Effect,
    /// Whether doing it twice comes to the same as doing it once. What is not is not tried again
    /// when nobody knows how far it came.
    pub idempotent: bool,
    /// Least role of whoever applies, starts, repeats or takes back a plan with it.
    pub started_by: OperatorRole,
    pub undo: Undo,
    /// What keeps two from doing it at once, or a late one from doing harm.
    pub protection: &'static str,
    pub connection: Connections,
    /// What must be there for it: rights, programs, settings of the agent. Empty where nothing is needed.
    pub needs: &'static str,
    pub params: &'static [Param],
    /// What they have to be together.
    pub together: &'static [Together],
    /// Name, type and meaning of what later steps can read.
    pub outputs: &'static [(&'static str, &'static str, &'static str)],
    pub default_timeout: Millis,
    /// A `with` block that works, as YAML.
    pub example: &'static str,
}

/// Whether it is the helm program that carries out a kind: an agent that has none does not offer it.
#[must_use]
pub fn is_by_helm(kind: &str) -> bool {
    [HELM_UPGRADE, HELM_ROLLBACK, HELM_UNINSTALL].contains(&kind)
}

/// Whether a kind is done under the lease of its connection: it writes to what the connection's backups are in, or puts one
/// where the connection leads.
#[must_use]
pub fn is_fenced_backup(kind: &str) -> bool {
    [BACKUP_RUN, BACKUP_PRUNE, BACKUP_RESTORE].contains(&kind)
}

/// Whether what a kind finds is of use before the run begins: it only looks, and a preview has it look.
#[must_use]
pub fn looks_ahead(kind: &str) -> bool {
    kind == DRAINABLE
}

/// The kind of a connection that leads to the mesh itself, as far as an agent may back it up.
pub const MESH: &str = "mesh";
/// The parameter by which a step says that it backs up the mesh itself.
pub const MESH_PARAM: &str = "mesh";

/// Whether a step backs up the mesh itself. It says so in the plan, and not by an expression.
#[must_use]
pub fn backs_up_mesh(kind: &str, with: &serde_json::Map<String, serde_json::Value>) -> bool {
    kind == BACKUP_RUN && with.get(MESH_PARAM) == Some(&serde_json::Value::Bool(true))
}

/// Whether a kind has to do with what a target's backups are in, and tells the mesh's catalogue of them.
#[must_use]
pub fn is_about_backups(kind: &str) -> bool {
    [BACKUP_RUN, BACKUP_CHECK, BACKUP_PRUNE, RECOVERY_DRILL].contains(&kind)
}

/// What to write where an agent does not do a kind that is not allowed by itself.
#[must_use]
pub fn how_to_allow(kind: &str) -> String {
    let helm = if is_by_helm(kind) { "; and, in its settings, where helm is:  helm = \"/usr/bin/helm\"" } else { "" };
    let is_exec = self::kind(kind).is_some_and(|kind| kind.effect == Effect::Exec);
    let rule = if is_exec { "; and, for each command,  [[policy.exec]]  command = [\"/path/of/program\", …]" } else { "" };
    format!(
        "allow it in the agent's policy file (of `mainstay up`: agent-policy.toml in its folder), and start the agent anew:  \
         [policy]  allow = [\"{kind}\"]{rule}{helm}"
    )
}

/// Why a connected agent does not do a kind, and what helps.
#[must_use]
pub fn why_not(name: &str) -> String {
    if self::kind(name).is_some_and(|kind| kind.effect == Effect::Read) {
        "it is of an older version, or of one that was started without what the kind needs".to_owned()
    } else {
        let helm = if is_by_helm(name) { "it has no helm, or " } else { "" };
        format!("{helm}its own policy does not allow it, or it is of an older version; {}", how_to_allow(name))
    }
}

/// The kind of that name.
#[must_use]
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

/// The name among `known` that somebody who wrote `word` most likely meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&word.to_ascii_lowercase(), &name.to_ascii_lowercase()), name))
        .min()
        // Of words as short as `yes` and `wed`, two letters are nearly all; any letter is one letter away from any other.
        .filter(|(distance, name)| match name.len().min(word.len()) {
            0..=1 => *distance == 0,
            2..=3 => *distance <= 1,
            shorter => *distance <= 1 + shorter / 3,
        })
        .map(|(_, name)| name)
}

impl Effect {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Effect::Read => "read",
            Effect::Write => "write",
            Effect::Exec => "exec",
        }
    }

    /// What it means, for the reference.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Effect::Read => "it looks, and changes nothing",
            Effect::Write => "it changes something that Mainstay knows how to describe",
            Effect::Exec => "it runs something that Mainstay cannot look into",
        }
    }
}

impl Undo {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Undo::Nothing => "nothing to undo",
            Undo::Reversible => "reversible",
            Undo::Compensated => "by the step under `undo`",
            Undo::Irreversible => "irreversible",
        }
    }
}

impl Scope {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Host => "host",
            Scope::View => "view",
            Scope::Any => "any",
            Scope::Cluster => "cluster",
            Scope::Node => "node",
            Scope::Mesh => "mesh",
        }
    }

    /// What it means, for the reference.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Scope::Host => "done to each node, by its own agent",
            Scope::View => "done once by any agent, or on each node with `runOn: node`",
            Scope::Any => "done once by any agent, or to each node with `runOn: node`",
            Scope::Cluster => "done in each cluster, by the one of its cluster agents that acts",
            Scope::Node => "done to each node of a cluster, by the one of the cluster's agents that acts",
            Scope::Mesh => "done by the mesh itself, once; no agent sees it",
        }
    }
}

impl Kind {
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'static Param> {
        self.params.iter().find(|param| param.name == name)
    }

    /// What there is to know of it besides its parameters, by name: for its page, wherever that is shown.
    #[must_use]
    pub fn facts(&self) -> [(&'static str, String); 9] {
        [
            ("effect", format!("{}: {}", self.effect.as_str(), self.effect.describe())),
            ("scope", format!("{}: {}", self.scope.as_str(), self.scope.describe())),
            (
                "repeatable",
                if self.idempotent {
                    "yes: doing it twice is doing it once, so `retry` also tries it again when it took too long or was lost"
                } else {
                    "no: `retry` tries it again when it has failed, and never when nobody knows how far it came"
                }
                .to_owned(),
            ),
            ("undo", self.undo.as_str().to_owned()),
            ("started by", format!("an {}", self.started_by)),
            ("protected by", self.protection.to_owned()),
            ("connections", self.connection.describe()),
            ("needs", if self.needs.is_empty() { "nothing" } else { self.needs }.to_owned()),
            ("timeout", format!("{}, unless the step says otherwise", self.default_timeout)),
        ]
    }

    /// The cluster whose agent that acts does it to a target; nothing where somebody else does.
    #[must_use]
    pub fn acted_in<'t>(&self, target: &'t Target) -> Option<&'t ClusterName> {
        match target {
            Target::Cluster(cluster) => Some(cluster),
            Target::Node(node) => (self.scope == Scope::Node).then_some(&node.cluster),
            Target::Once | Target::Connection(_) => None,
        }
    }

    /// Whether it takes a node out of use.
    #[must_use]
    pub fn takes_out(&self) -> bool {
        [CORDON, DRAIN, REBOOT].contains(&self.name)
    }

    /// Whether it changes the node that it is done to, and so is for the hands of a node that has some: it runs what
    /// Mainstay cannot look into, or it writes to the host itself.
    #[must_use]
    pub fn is_by_hands(&self) -> bool {
        match (self.effect, self.scope) {
            (Effect::Exec, Scope::Host | Scope::View | Scope::Any) | (Effect::Write, Scope::Host) => true,
            (Effect::Exec | Effect::Write, _) | (Effect::Read, _) => false,
        }
    }

    /// How a step with these parameters is taken back: a release whose history is not kept cannot be, and neither can the
    /// end of a pod that nothing makes again, or of what was in it. An expression may come to that.
    #[must_use]
    pub fn undo_of(&self, with: &serde_json::Map<String, serde_json::Value>) -> Undo {
        let is_purged = self.name == HELM_UNINSTALL && with.get("keepHistory") == Some(&serde_json::Value::Bool(false));
        let may_evict = |param: &str| with.get(param).is_some_and(|value| value != "refuse");
        let is_lost = self.name == DRAIN && ["barePods", "emptyDir"].into_iter().any(may_evict);
        if is_purged || is_lost { Undo::Irreversible } else { self.undo }
    }

    /// How long a step with these parameters takes when all goes well, where they say so. An expression may come to more.
    #[must_use]
    pub fn lasts(&self, with: &serde_json::Map<String, serde_json::Value>) -> Option<Millis> {
        let time = |name: &str| with.get(name)?.as_str()?.parse::<Millis>().ok();
        match self.name {
            WAIT | LEASE_HOLD => time("for"),
            WATCH => {
                if with.contains_key("for") {
                    time("for")
                } else {
                    Some(Millis::from_secs(300))
                }
            }
            SWITCH => {
                let shares = with.get("shares")?.as_array()?.len() as u64;
                let each = if with.contains_key("each") { time("each")? } else { Millis::from_secs(60) };
                Some(Millis(each.0.saturating_mul(shares)))
            }
            _ => None,
        }
    }

    /// Whether a step has to say something under `with`.
    #[must_use]
    pub fn needs_parameters(&self) -> bool {
        self.params.iter().any(|param| param.required) || self.together.iter().any(|rule| matches!(rule, Together::AnyOf(_)))
    }

    /// The outputs that are declared and are of their type. What a node says is held against this before an
    /// expression reads it, so that a node cannot put something else in a number's place.
    #[must_use]
    pub fn sound_outputs(&self, outputs: &BTreeMap<String, serde_json::Value>) -> serde_json::Map<String, serde_json::Value> {
        let sound = |name: &str, value: &serde_json::Value| match self.outputs.iter().find(|(known, ..)| *known == name)?.1 {
            "number" => value.as_f64().filter(|number| number.is_finite()).map(|_| ()),
            "text" => value.as_str().map(|_| ()),
            "boolean" => value.as_bool().map(|_| ()),
            _ => None,
        };
        outputs.iter().filter(|(name, value)| sound(name, value).is_some()).map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Checks a `with` block: every problem with the path of its key, in the order of the block. At
    /// [`Stage::Written`] a text with `${{ }}` in it is taken where what comes of it can be right.
    #[must_use]
    pub fn check(&self, with: &serde_json::Map<String, serde_json::Value>) -> Vec<(String, String)> {
        self.check_at(with, Stage::Filled)
    }

    /// The same of a block in which `${{ }}` is still to be filled in: such text is taken where what comes of
    /// it can be right.
    #[must_use]
    pub fn check_written(&self, with: &serde_json::Map<String, serde_json::Value>) -> Vec<(String, String)> {
        self.check_at(with, Stage::Written)
    }

    fn check_at(&self, with: &serde_json::Map<String, serde_json::Value>, stage: Stage) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        for (name, value) in with {
            match self.param(name) {
                Some(param) => problems.extend(param.ty.check(name, value, stage)),
                None => {
                    let meant = nearest(name, self.params.iter().map(|param| param.name));
                    let hint = meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
                    problems.push((name.clone(), format!("{} has no parameter `{name}`{hint}", self.name)));
                }
            }
        }
        for param in self.params.iter().filter(|param| param.required && !with.contains_key(param.name)) {
            problems.push((String::new(), format!("{} needs `{}`: {}", self.name, param.name, param.doc)));
        }
        problems.extend(self.together.iter().filter_map(|rule| rule.problem(self.name, with)));
        problems
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(name: &str, with: serde_json::Value) -> Vec<String> {
        let with = with.as_object().cloned().unwrap();
        kind(name).unwrap().check(&with).into_iter().map(|(_, problem)| problem).collect()
    }

    #[test]
    fn a_good_block_has_no_problems() {
        assert_eq!(problems("http.check", json!({"url": "https://example.com/health", "latency": {"warning": "300ms"}})), Vec::<String>::new());
        assert_eq!(problems("node.resources", json!({"disk": {"warning": "80%", "critical": 95}})), Vec::<String>::new());
    }

    #[test]
    fn a_wrong_word_is_met_with_the_right_one() {
        assert_eq!(problems("http.check", json!({"urll": "https://example.com"}))[0], "http.check has no parameter `urll`; did you mean `url`?");
        assert_eq!(nearest("node.resourcs", KINDS.iter().map(|kind| kind.name)), Some("node.resources"));
        assert_eq!(nearest("zzzzzzzz", KINDS.iter().map(|kind| kind.name)), None);
        assert_eq!((nearest("b", ["a", "ab"]), nearest("A", ["a"]), nearest("no", ["on"])), (None, Some("a"), Some("on")));
    }

    #[test]
    fn wrong_types_and_missing_ones_are_named() {
        assert_eq!(problems("wait", json!({"for": 5})), ["`for` is 5, and should be a duration such as 90s"]);
        assert_eq!(problems("wait", json!({})), ["wait needs `for`: How long to wait"]);
        assert_eq!(problems("node.exec", json!({"command": "rm -rf /"})), ["`command` is \"rm -rf /\", and should be a list of text"]);
    }

    #[test]
    fn an_output_of_another_type_is_none() {
        let said = [("cpuPercent", json!("12; rm -rf /")), ("memoryPercent", json!(12.5)), ("unheard", json!(1))];
        let said = said.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        assert_eq!(serde_json::Value::Object(kind("node.resources").unwrap().sound_outputs(&said)), json!({ "memoryPercent": 12.5 }));
    }

    #[test]
    fn a_pattern_stands_for_any_text_where_it_has_a_star() {
        for (pattern, name, fit) in [
            ("*", "a", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("a*", "ab", true),
            ("*b", "ab", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("a*b*c", "axbxc", true),
            ("a*b*c", "axcxb", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(fits(pattern, name), fit, "{pattern} {name}");
        }
    }

    #[test]
    fn what_changes_a_node_is_for_its_hands() {
        let by_hands: Vec<&str> = KINDS.iter().filter(|kind| kind.is_by_hands()).map(|kind| kind.name).collect();
        assert_eq!(by_hands, ["node.exec", "node.reboot", "node.packages"]);
    }

    #[test]
    fn what_takes_its_time_says_how_long() {
        let lasts = |name: &str, with: serde_json::Value| kind(name).unwrap().lasts(with.as_object().unwrap()).map(|lasts| lasts.0);
        assert_eq!(lasts("wait", json!({"for": "2h"})), Some(7_200_000));
        assert_eq!(lasts("wait", json!({"for": "${{ inputs.rest }}"})), None);
        assert_eq!(lasts("kube.watch", json!({})), Some(300_000));
        assert_eq!(lasts("kube.switch", json!({"shares": [5, 25, 50], "each": "5m"})), Some(900_000));
        assert_eq!(lasts("kube.switch", json!({"shares": [5, 25]})), Some(120_000));
        assert_eq!((lasts("kube.switch", json!({})), lasts("kube.live", json!({}))), (None, None));
    }

    #[test]
    fn the_catalogue_keeps_its_own_rules() {
        for kind in KINDS {
            assert!(!kind.protection.is_empty(), "{} says what protects it", kind.name);
            assert!(kind.default_timeout.0 > 0, "{} has a default timeout", kind.name);
            assert!(kind.effect != Effect::Read || kind.idempotent, "{}: looking twice is looking once", kind.name);
            assert!(kind.effect != Effect::Read || kind.undo == Undo::Nothing, "{}: looking leaves nothing to undo", kind.name);
            let wrong = kind.outputs.iter().find(|(_, ty, _)| !["number", "text", "boolean"].contains(ty));
            assert!(wrong.is_none(), "{}: {wrong:?} has a type that nothing is held against", kind.name);
        }
    }
}
