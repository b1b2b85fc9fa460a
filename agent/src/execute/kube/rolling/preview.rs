//! What a preview says of a rollout: what would be changed, as the API server has it, and what will be noticed of it.

use mainstay_core::expr::template::has_template;
use mainstay_core::preview::rights::Noticed;
use serde_json::Value;

use super::begin::Untried;
use super::template::Change;
use super::{Site, changes, lint, record, template};
use crate::execute::kube::rollout;

impl Site<'_> {
    /// Puts it beside what is lacking, where the step is only looked at and nothing is lacking.
    pub(super) async fn look_ahead(&self) {
        let Some(review) = self.cluster.review() else { return };
        if self.work.taken_back.is_some() || review.found().is_none_or(|found| !found.rights.is_empty()) {
            return;
        }
        for noticed in self.noticed().await {
            review.notice(noticed);
        }
    }

    async fn noticed(&self) -> Vec<Noticed> {
        let warning = |message: String| Noticed { is_warning: true, message };
        let workload: Value = match self.look().await {
            Ok(workload) => workload,
            Err(error) => return vec![warning(format!("{}: {error}", self.subject))],
        };
        let mut all: Vec<Noticed> = rollout::hindrance(&workload).map(|why| warning(format!("{}: {why}", self.subject))).into_iter().collect();
        let after = if self.is_open() {
            // What it will be is known later.
            workload.clone()
        } else {
            match self.tried(&workload).await {
                Ok(Some(tried)) => tried.after,
                Ok(None) => return all,
                Err(untried) => {
                    let why = match untried {
                        Untried::Error(error) => error.to_string(),
                        Untried::Refused(words) => words,
                    };
                    all.push(warning(format!("{}: {why}", self.subject)));
                    workload.clone()
                }
            }
        };
        let (before, template) = (record::template(&workload), record::template(&after));
        let changed = changes::changes(before, template);
        if !changed.is_empty() {
            all.push(Noticed { is_warning: false, message: format!("{}: {}", self.subject, changed.join("; ")) });
        } else if !self.is_open() && all.is_empty() {
            let message = format!("{}: its pods are what the plan says already: {}", self.subject, template::images(before));
            all.push(Noticed { is_warning: false, message });
        }
        all.extend(lint::lints(&after).into_iter().map(|lint| warning(format!("{}: {}", self.subject, lint.message))));
        all
    }

    /// Whether an expression in it is still to be filled in.
    fn is_open(&self) -> bool {
        match &self.change {
            Change::Edits(edits) => has_template(&format!("{edits:?}")),
            Change::Apply(object) => has_template(&object.to_string()),
        }
    }
}
