//! What a try has made that does not come to its end is taken away again.

use std::time::Duration;

use mainstay_backup::seam::Stopwatch;

use super::super::super::super::kube::work::{text, version};
use super::planned::{Name, some};
use super::{Looked, Objects, TRIES};
use crate::kube::ClusterError;

/// For all of it: whoever has called it off waits.
const WITHIN: Duration = Duration::from_secs(120);
/// Between two looks whether something that is about to go is gone.
const EVERY: Duration = Duration::from_secs(1);

/// What became of one object.
enum Taken {
    /// It is not there, and may never have been.
    WasNot,
    Away,
    Left(String),
}

impl Objects {
    /// Takes away what this work has made of these, the last first. Says what became of it, in words.
    pub(super) async fn take_back(&self, made: &[Name]) -> String {
        let Ok(looked) = self.looked() else { return "nothing was made".to_owned() };
        let (watch, mut away, mut left) = (Stopwatch::start(), Vec::new(), Vec::new());
        for name in made.iter().rev() {
            match self.take_one(&looked, name, &watch).await {
                Taken::WasNot => {}
                Taken::Away => away.push(name),
                Taken::Left(why) => left.push(format!("{name} ({why})")),
            }
        }
        // A claim that is in use, or what has a finalizer, is gone later than it was told to go.
        for name in &away {
            if let Err(why) = self.is_gone(&looked, name, &watch).await {
                left.push(format!("{name} ({why})"));
            }
        }
        match (away.len(), left.len()) {
            (0, 0) => "nothing of it is there".to_owned(),
            (count, 0) => format!("what was made, {}, is gone again", super::counted(count)),
            _ => format!("left there, to be removed by hand: {}", some(&left)),
        }
    }

    async fn take_one(&self, looked: &Looked, name: &Name, watch: &Stopwatch) -> Taken {
        let Some(resource) = looked.resources.get(&name.kind) else { return Taken::WasNot };
        let (runner, path) = (self.runner(&name.namespace), resource.path_of(&name.namespace, &name.name));
        for _ in 0..TRIES {
            if watch.elapsed() > WITHIN {
                return Taken::Left(format!("there was no time within {} s", WITHIN.as_secs()));
            }
            let object = match self.find(looked, name).await {
                Ok(Some(object)) => object,
                Ok(None) => return Taken::WasNot,
                Err(error) => return Taken::Left(error.to_string()),
            };
            // A later attempt goes on with what is there.
            if !self.work.is_marked(&object) {
                return Taken::Left("it is not this attempt's any more".to_owned());
            }
            match runner.delete(&path, text(&object, "/metadata/uid"), Some(version(&object))).await {
                Ok(_) => return Taken::Away,
                Err(ClusterError::Missing { .. }) => return Taken::WasNot,
                Err(ClusterError::Conflict { .. }) => {}
                Err(error) => return Taken::Left(error.to_string()),
            }
        }
        Taken::Left("it is changed all the time".to_owned())
    }

    async fn is_gone(&self, looked: &Looked, name: &Name, watch: &Stopwatch) -> Result<(), String> {
        loop {
            match self.find(looked, name).await {
                Ok(Some(object)) if self.work.is_marked(&object) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
            if watch.elapsed() > WITHIN {
                return Err("it is about to go, and something keeps it: a finalizer, or who uses it".to_owned());
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}
