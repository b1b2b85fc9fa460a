//! The change itself: tried dry, then made with the record of what was there.

use serde_json::{Value, json};

use super::lint::{self, Room};
use super::record::{self, RECORD_MAX, Record};
use super::template::{self, Change};
use super::{Halt, KIND, Seen, Site, changes, merge};
use crate::execute::kube::budget;
use crate::execute::kube::rollout::{self, Rollout};
use crate::kube::ClusterError;
use crate::kube::ask::Patch;

/// How an API server says that fields belong to somebody else.
const OWNED: &str = "Apply failed with";

/// Why it is not known what a change would come to.
pub(super) enum Untried {
    Error(ClusterError),
    /// It cannot be made.
    Refused(String),
}

/// What a change would come to.
pub(super) struct Tried {
    how: Patch,
    fields: Value,
    pub after: Value,
}

impl Site<'_> {
    /// What a change of the workload would come to, asked of the API server; nothing where it is not what it was.
    pub(super) async fn tried(&self, workload: &Value) -> Result<Option<Tried>, Untried> {
        let marks = self.work.marks();
        match &self.change {
            Change::Edits(edits) => {
                let template = record::template(workload);
                let edited = template::edited(template, edits).map_err(Untried::Refused)?;
                let mut fields = json!({});
                if let Some(difference) = merge::difference(template, &edited) {
                    fields["spec"]["template"] = difference;
                }
                record::merge_marks(&mut fields, workload, &self.work, marks);
                match self.cluster.patch(&self.path, Patch::Try, &fields).await {
                    Ok(after) => Ok(Some(Tried { how: Patch::Merge, fields, after })),
                    Err(ClusterError::Conflict { .. }) => Ok(None),
                    Err(error) => Err(Untried::Error(error)),
                }
            }
            Change::Apply(object) => {
                let mut fields = object.clone();
                record::merge_marks(&mut fields, workload, &self.work, marks);
                let mut force = self.params.take_over;
                loop {
                    match self.cluster.patch(&self.path, Patch::Apply { force, dry: true }, &fields).await {
                        Ok(after) => return Ok(Some(Tried { how: Patch::Apply { force, dry: false }, fields, after })),
                        Err(ClusterError::Conflict { message, .. }) if message.starts_with(OWNED) => {
                            if force || !is_own(&message) {
                                return Err(Untried::Refused(format!("{message}: it is theirs to change, or `takeOver: true`")));
                            }
                            force = true;
                        }
                        Err(ClusterError::Conflict { .. }) => return Ok(None),
                        Err(error) => return Err(Untried::Error(error)),
                    }
                }
            }
        }
    }

    /// Changes it, where nothing is in the way. Says whether it is to be looked at again at once.
    pub(super) async fn begin(&self, workload: &Value, seen: &mut Seen) -> Result<bool, Halt> {
        let tried = match self.tried(workload).await {
            Ok(Some(tried)) => tried,
            Ok(None) => return Ok(true),
            Err(Untried::Error(error)) => return self.passing(error, seen).map(|()| false),
            Err(Untried::Refused(words)) => return Err(Halt::End(self.failed(format!("{words}: nothing was changed")))),
        };
        let Tried { how, mut fields, after } = tried;
        if let Some(why) = rollout::hindrance(workload).or_else(|| rollout::hindrance(&after)) {
            return Err(Halt::End(self.failed(format!("{why}: nothing was changed"))));
        }
        let record = Record::of(&self.work, workload, &after);
        seen.lints = lint::lints(&after);
        seen.changes = changes::changes(record::template(workload), record::template(&after));
        // Pods that are ill already are not kept from being replaced.
        if takes_pods_away(&after) && rollout::of(workload) == Rollout::Done && record.is_change(&after) {
            let closed = budget::closed(KIND, &self.cluster, &self.params.namespace, workload).await?;
            if let Some(budget) = closed {
                self.tell(seen, format!("the disruption budget {budget} lets no pod go"));
                return Ok(false);
            }
        }
        let marks = record.marks(&self.work);
        if marks.values().map(|mark| mark.as_str().map_or(0, str::len)).sum::<usize>() > RECORD_MAX {
            let words = "its template is too large to be kept on it, so that it could not be put back: nothing was changed";
            return Err(Halt::End(self.failed(words)));
        }
        record::merge_marks(&mut fields, workload, &self.work, marks);
        for line in &seen.changes {
            self.print(line);
        }
        seen.is_begun = true;
        match self.cluster.patch(&self.path, how, &fields).await {
            Ok(_) | Err(ClusterError::Conflict { .. }) => Ok(true),
            Err(error) => self.passing(error, seen).map(|()| false),
        }
    }
}

/// Whether a pod may go before its replacement is there.
fn takes_pods_away(workload: &Value) -> bool {
    !matches!(lint::room(workload), Room::Rolling { unavailable: 0, .. })
}

/// Whether fields that are somebody else's are Mainstay's own, changed in another way before.
pub(super) fn is_own(message: &str) -> bool {
    let managers: Vec<&str> = message.split("with \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    !managers.is_empty() && managers.iter().all(|manager| *manager == "mainstay")
}
