//! The history of a release, and which of its revisions are of which work. Pure.
//!
//! ```text
//!  labels of an upgrade's revision (from pending on)          description of a rollback's revision (from pending on)
//!  mainstay.dev/work:    1f3c…   the run's step               Mainstay work 1f3c… attempt 1.512 from 5 (1/tidy-7/back)
//!  mainstay.dev/attempt: 1.512   which attempt at it
//!  mainstay.dev/base:    4       the revision that was the last one before
//!  mainstay.dev/before:  4       the one that was deployed before, to which it is taken back; 0: there was none
//! ```
//! helm hands the labels of a revision on to the next one, whoever makes that, and to what goes back to it. So a revision
//! is of the attempt in its labels only where it is the first after `base` that has them. The description of a rollback
//! that failed is helm's own words: such a one is known by nobody, and done again.

use mainstay_core::id::AttemptId;
use serde::Deserialize;
use serde_json::Value;

use super::super::kube::work::{Work, digest};

pub const WORK: &str = "mainstay.dev/work";
pub const ATTEMPT: &str = "mainstay.dev/attempt";
pub const BASE: &str = "mainstay.dev/base";
pub const BEFORE: &str = "mainstay.dev/before";
/// What a description of Mainstay's begins with.
const DESCRIBED: &str = "Mainstay work ";
/// Longest description that helm takes.
const DESCRIPTION_MAX: usize = 256;

/// What helm says of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Deployed,
    Superseded,
    Failed,
    PendingInstall,
    PendingUpgrade,
    PendingRollback,
    Uninstalling,
    Uninstalled,
    /// Of a helm that has more words.
    Other,
}

/// One revision of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    pub number: u32,
    pub status: Status,
    /// Name and version.
    pub chart: String,
    pub app_version: String,
    pub description: String,
    /// When it was made or last changed, as helm writes it.
    pub updated: String,
    /// The revision to which it was a way back.
    pub rollback_to: Option<u32>,
    pub marks: Option<Marks>,
    /// The Secret that holds it.
    pub secret: Secret,
}

/// Which Secret, and of which version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secret {
    pub name: String,
    pub uid: String,
    pub version: String,
}

/// What Mainstay's labels say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    pub work: String,
    pub attempt: AttemptId,
    pub base: u32,
    /// Nothing where none had been deployed, and yet something was there.
    pub before: Option<u32>,
}

/// What Mainstay's description of a rollback says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub work: String,
    pub attempt: AttemptId,
    /// The revision that was the last one before.
    pub from: u32,
}

/// All revisions that are still there, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History(pub Vec<Revision>);

/// A revision as `helm history -o json` writes it.
#[derive(Debug, Deserialize)]
pub struct Said {
    pub revision: u32,
    #[serde(default)]
    updated: String,
    status: String,
    #[serde(default)]
    chart: String,
    #[serde(default)]
    app_version: String,
    #[serde(default)]
    rollback_revision: u32,
    #[serde(default)]
    description: String,
}

impl Status {
    fn of(text: &str) -> Status {
        match text {
            "deployed" => Status::Deployed,
            "superseded" => Status::Superseded,
            "failed" => Status::Failed,
            "pending-install" => Status::PendingInstall,
            "pending-upgrade" => Status::PendingUpgrade,
            "pending-rollback" => Status::PendingRollback,
            "uninstalling" => Status::Uninstalling,
            "uninstalled" => Status::Uninstalled,
            _ => Status::Other,
        }
    }

    /// As helm writes it.
    pub fn word(self) -> &'static str {
        match self {
            Status::Deployed => "deployed",
            Status::Superseded => "superseded",
            Status::Failed => "failed",
            Status::PendingInstall => "pending-install",
            Status::PendingUpgrade => "pending-upgrade",
            Status::PendingRollback => "pending-rollback",
            Status::Uninstalling => "uninstalling",
            Status::Uninstalled => "uninstalled",
            Status::Other => "in a state that this version of Mainstay does not know",
        }
    }

    /// Whether somebody is at it, or has died over it.
    pub fn is_pending(self) -> bool {
        matches!(self, Status::PendingInstall | Status::PendingUpgrade | Status::PendingRollback)
    }

    /// Whether it is or was in force.
    pub fn was_deployed(self) -> bool {
        matches!(self, Status::Deployed | Status::Superseded)
    }
}

impl Marks {
    /// Of an attempt at this work, over this history.
    pub fn new(work: &Work, base: u32, before: Option<u32>) -> Marks {
        Marks { work: work.digest(), attempt: work.attempt, base, before }
    }

    fn of(labels: &Value) -> Option<Marks> {
        let label = |name: &str| labels.get(name).and_then(Value::as_str);
        let before = label(BEFORE).and_then(|text| text.parse().ok());
        Some(Marks { work: label(WORK)?.to_owned(), attempt: label(ATTEMPT)?.parse().ok()?, base: label(BASE)?.parse().ok()?, before })
    }

    /// As `helm upgrade --labels` takes them. One that an earlier revision has and this one has not is taken away.
    pub fn argument(&self) -> String {
        let before = self.before.map_or_else(|| "null".to_owned(), |before| before.to_string());
        format!("{WORK}={},{ATTEMPT}={},{BASE}={},{BEFORE}={before}", self.work, self.attempt, self.base)
    }
}

impl Described {
    /// What a rollback by this work is called, over this last revision.
    pub fn written(work: &Work, from: u32) -> String {
        let words = format!("{DESCRIBED}{} attempt {} from {from} ({})", work.digest(), work.attempt, work.name);
        words.chars().take(DESCRIPTION_MAX).collect()
    }

    fn of(description: &str) -> Option<Described> {
        let mut words = description.strip_prefix(DESCRIBED)?.split(' ');
        let (work, attempt, from) = (words.next()?, words.nth(1)?, words.nth(1)?);
        Some(Described { work: work.to_owned(), attempt: attempt.parse().ok()?, from: from.parse().ok()? })
    }
}

impl Revision {
    /// From what helm says of it, and the metadata of its Secret.
    pub fn of(said: Said, metadata: &Value) -> Revision {
        let text = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Revision {
            number: said.revision,
            status: Status::of(&said.status),
            chart: said.chart,
            app_version: said.app_version,
            description: said.description,
            updated: said.updated,
            rollback_to: Some(said.rollback_revision).filter(|revision| *revision > 0),
            marks: metadata.get("labels").and_then(Marks::of),
            secret: Secret { name: text("name"), uid: text("uid"), version: text("resourceVersion") },
        }
    }

    /// What of Mainstay's its description says: of a way back only, since helm gives any other its own words first.
    pub fn described(&self) -> Option<Described> {
        self.rollback_to.and_then(|_| Described::of(&self.description))
    }
}

impl History {
    pub fn last(&self) -> Option<&Revision> {
        self.0.last()
    }

    pub fn get(&self, number: u32) -> Option<&Revision> {
        self.0.iter().find(|revision| revision.number == number)
    }

    /// The same without one.
    pub fn without(&self, number: u32) -> History {
        History(self.0.iter().filter(|revision| revision.number != number).cloned().collect())
    }

    /// The newest that this work has made by an upgrade.
    pub fn made_by<'h>(&'h self, work: &str) -> Option<(&'h Revision, &'h Marks)> {
        let digest = digest(work);
        let mut own = self.0.iter().filter_map(|revision| Some((revision, revision.marks.as_ref()?)));
        own.rfind(|(revision, marks)| marks.work == digest && self.is_its_own(revision, marks))
    }

    /// Whether a revision has its labels from the attempt that made it, and not from an earlier revision.
    fn is_its_own(&self, revision: &Revision, marks: &Marks) -> bool {
        // What is gone from the history may have been it.
        let mut between = marks.base.saturating_add(1)..revision.number;
        revision.number > marks.base
            && between.len() < self.0.len()
            && between.all(|number| self.get(number).is_some_and(|other| other.marks.as_ref().is_none_or(|other| other.attempt != marks.attempt)))
    }

    /// The newest that this work has made by a rollback.
    pub fn brought_back_by(&self, work: &str) -> Option<(&Revision, Described)> {
        let digest = digest(work);
        let mut own = self.0.iter().filter_map(|revision| Some((revision, revision.described()?)));
        own.rfind(|(_, described)| described.work == digest)
    }

    /// The newest below a revision that is or was in force.
    pub fn deployed_before(&self, number: u32) -> Option<u32> {
        self.0.iter().filter(|revision| revision.number < number && revision.status.was_deployed()).map(|revision| revision.number).next_back()
    }

    /// The one that is in force.
    pub fn deployed(&self) -> Option<u32> {
        self.0.iter().filter(|revision| revision.status == Status::Deployed).map(|revision| revision.number).next_back()
    }

    /// An attempt that is later than this one and has changed the release.
    pub fn later_than(&self, attempt: AttemptId) -> Option<AttemptId> {
        let by_labels = self.0.iter().filter_map(|revision| revision.marks.as_ref()).map(|marks| marks.attempt);
        let described = self.0.iter().filter_map(|revision| revision.described()).map(|described| described.attempt);
        by_labels.chain(described).filter(|other| *other > attempt).max()
    }
}
