//! What a step would lack, found out by its own review of its rights and without doing anything.
//!
//! Each kind that changes something asks for its rights first, in one place ([`Review::put`] is called from there). Over a
//! cluster that is only looked at, it is stopped there; and whatever it would do all the same, such a cluster refuses. What a
//! change would come to it may ask there too.

use std::sync::{Arc, Mutex, PoisonError};

use mainstay_core::preview::rights::{Lacking, Noticed, Right};
use serde::Deserialize;

use super::account::{Account, Right as Asked};
use super::{Cluster, ClusterError, Selected};

/// Of a change that is tried over a cluster that is only looked at.
pub const NOTHING_IS_DONE: &str = "nothing is done while a step is only looked at";
/// What is asked of an API server without changing anything, though it is written as if something were made.
pub(super) const ASKED: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

/// What one step would lack. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Review {
    found: Arc<Mutex<Option<Lacking>>>,
}

#[derive(Deserialize)]
struct Named {}

impl Review {
    /// What an account lacks of what the step needs. Of several reviews of one step, all count.
    pub fn put(&self, account: Option<&Account>, lacking: &[&Asked<'_>]) {
        let right = |right: &&Asked<'_>| Right {
            verb: right.verb.to_owned(),
            group: right.group.to_owned(),
            resource: right.resource.to_owned(),
            namespace: right.namespace.to_owned(),
        };
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let found = found.get_or_insert_with(|| Lacking {
            namespace: account.map(|account| account.namespace.clone()).unwrap_or_default(),
            account: account.map(|account| account.name.clone()).unwrap_or_default(),
            ..Lacking::default()
        });
        for right in lacking.iter().map(right) {
            if !found.rights.contains(&right) {
                found.rights.push(right);
            }
        }
    }

    /// What was noticed besides, after a review.
    pub fn notice(&self, noticed: Noticed) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = found.as_mut().filter(|found| !found.noticed.contains(&noticed)) {
            found.noticed.push(noticed);
        }
    }

    /// Nothing where no review came.
    pub fn found(&self) -> Option<Lacking> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Cluster {
    /// The same cluster, in which nothing can be changed, and what a step would lack is found.
    #[must_use]
    pub fn only_looked_at(&self) -> (Cluster, Review) {
        let review = Review::default();
        (Cluster { review: Some(review.clone()), ..self.clone() }, review)
    }

    /// Where what is lacking is put, where nothing may be done.
    #[must_use]
    pub fn review(&self) -> Option<&Review> {
        self.review.as_ref()
    }

    /// Whether there is a ServiceAccount, as the agent itself sees it.
    ///
    /// # Errors
    /// When the API server refuses or does not answer.
    pub async fn has_account(&self, namespace: &str, name: &str) -> Result<bool, ClusterError> {
        let path = format!("/api/v1/namespaces/{}/serviceaccounts", super::escaped(namespace));
        let field = format!("metadata.name={name}");
        let found: Vec<Named> = self.list(&path, Selected { fields: Some(&field), ..Selected::default() }).await?;
        Ok(!found.is_empty())
    }
}
