//! The objects of a backup are made, one after the other in its order.

use mainstay_backup::progress::Teller;
use mainstay_backup::seam::Stopwatch;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::super::super::super::kube::work::version;
use super::super::KIND;
use super::super::place::{NotPut, Order};
use super::planned::{Name, some};
use super::{Found, Looked, Objects, RESTORED, TRIES};
use crate::kube::ClusterError;
use crate::kube::ask::Patch;

impl Objects {
    /// Makes all that is missing.
    ///
    /// # Errors
    /// What was made then, and whether it is gone again.
    pub async fn put(&self, order: &Order<'_>, progress: &Teller, cancel: &CancellationToken) -> Result<(), NotPut> {
        let mut made = Vec::new();
        match self.make(order, progress, cancel, &mut made).await {
            Ok(()) => Ok(()),
            Err(why) => {
                let left = self.take_back(&made).await;
                Err(if cancel.is_cancelled() { NotPut::CalledOff(left) } else { NotPut::Failed(format!("{why}; {left}")) })
            }
        }
    }

    async fn make(&self, order: &Order<'_>, progress: &Teller, cancel: &CancellationToken, made: &mut Vec<Name>) -> Result<(), String> {
        let (watch, looked) = (Stopwatch::start(), self.looked()?);
        let mut each = self.each(order, progress).await?;
        let mut expected = looked.planned.names.iter().peekable();
        while let Some(object) = each.next().await.map_err(|error| error.to_string())? {
            let name = Name::of(&object)?;
            // Those that are bound to who restores are passed over.
            if expected.next_if(|next| **next == name).is_none() {
                continue;
            }
            // Between two of them, so that what was asked for has been answered.
            if cancel.is_cancelled() {
                return Err("it was called off".to_owned());
            }
            if watch.elapsed() > order.deadline {
                return Err(format!("not all were made within {} s", order.deadline.as_secs()));
            }
            let number = looked.planned.names.len() - expected.len();
            self.make_one(&looked, &name, object, made).await.map_err(|why| {
                let not: Vec<String> = std::iter::once(name.to_string()).chain(expected.clone().map(ToString::to_string)).collect();
                format!("{name}, number {number} of {}, was not made: {why}; not made: {}", looked.planned.names.len(), some(&not))
            })?;
        }
        match expected.next() {
            None => Ok(()),
            Some(name) => Err(format!("{name} is not in it any more: the backup is not what it was when it was looked at")),
        }
    }

    async fn make_one(&self, looked: &Looked, name: &Name, object: Value, made: &mut Vec<Name>) -> Result<(), String> {
        let resource = looked.resources.get(&name.kind).ok_or_else(|| "where its objects are was not looked up".to_owned())?;
        let runner = self.runner(&name.namespace);
        // Whatever becomes of the request: what is not there is not taken back.
        made.push(name.clone());
        match runner.create(&resource.path(&name.namespace), &self.marked(object)).await {
            Ok(_) => return Ok(()),
            Err(ClusterError::Conflict { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
        for _ in 0..TRIES {
            let found = self.find(looked, name).await.map_err(|error| error.to_string())?;
            let Some(found) = found else { return Err("it was there, and is gone".to_owned()) };
            if self.work.is_marked(&found) {
                return Ok(());
            }
            if self.sort(Some(&found)) != Found::Own {
                made.pop();
                return Err("somebody else has made it since it was looked at, and it was not touched".to_owned());
            }
            if let Err(later) = self.work.may_change(KIND, &found) {
                made.pop();
                return Err(later.message);
            }
            if !self.work.has_changed(&found) {
                // Of another run, which is not taken back with this one.
                made.pop();
                return Ok(());
            }
            // From now on an earlier attempt, that was only paused, does not take it back.
            let marks = json!({ "metadata": { "resourceVersion": version(&found), "annotations": self.work.marks() } });
            match runner.patch(&resource.path_of(&name.namespace, &name.name), Patch::Merge, &marks).await {
                Ok(_) => return Ok(()),
                Err(ClusterError::Conflict { .. } | ClusterError::Missing { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(format!("it was changed by somebody else each of {TRIES} times between reading and marking it"))
    }

    /// With what says of which backup it is, and who has made it.
    pub(super) fn marked(&self, mut object: Value) -> Value {
        let mut all = object.pointer("/metadata/annotations").and_then(Value::as_object).cloned().unwrap_or_default();
        all.extend(self.work.marks());
        all.insert(RESTORED.to_owned(), json!(self.backup));
        object["metadata"]["annotations"] = Value::Object(all);
        object
    }
}
