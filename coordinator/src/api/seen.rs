//! When this member last had a call from an operator. Kept in memory only: a new leader begins with nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mainstay_core::id::PrincipalName;
use mainstay_core::{WallTime, bounds};

/// Last calls, by operator.
#[derive(Debug, Default)]
pub struct Seen {
    calls: Mutex<BTreeMap<PrincipalName, WallTime>>,
}

impl Seen {
    /// Notes a call that was let through.
    pub fn note(&self, name: &PrincipalName, at: WallTime) {
        let mut calls = self.calls();
        match calls.get_mut(name) {
            Some(last) => *last = at,
            None => {
                // Names that are gone have been replaced by others: who is there calls again.
                if calls.len() >= bounds::OPERATORS {
                    calls.clear();
                }
                calls.insert(name.clone(), at);
            }
        }
    }

    #[must_use]
    pub fn last(&self, name: &PrincipalName) -> Option<WallTime> {
        self.calls().get(name).copied()
    }

    fn calls(&self) -> MutexGuard<'_, BTreeMap<PrincipalName, WallTime>> {
        // Each operation leaves it whole.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
