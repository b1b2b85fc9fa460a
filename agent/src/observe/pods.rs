//! The pods of this node, as its cluster's agent tells of them.
//!
//! They come whole each time, and stay when nothing comes any more: what is known of a pod that is gone finds no cgroup,
//! and a pod that nobody has told of shows as one that is not known.

use std::sync::{Arc, Mutex, PoisonError};

use mainstay_core::WallTime;
use mainstay_proto::v1::PodFact;

/// Most pods that are kept, whatever is told.
const PODS: usize = 1_000;

/// A cheap handle; clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct Pods {
    told: Arc<Mutex<Option<Told>>>,
}

/// What was told, and when.
#[derive(Debug, Clone)]
pub struct Told {
    pub at: WallTime,
    pub pods: Arc<[PodFact]>,
}

impl Pods {
    pub fn put(&self, mut pods: Vec<PodFact>, at: WallTime) {
        pods.truncate(PODS);
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some(Told { at, pods: pods.into() });
    }

    /// Nothing where nobody has told: the node may be none of Kubernetes.
    #[must_use]
    pub fn told(&self) -> Option<Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
