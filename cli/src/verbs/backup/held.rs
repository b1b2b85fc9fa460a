//! What a mesh says before backups are removed: which ones somebody holds, and whether somebody is at them.

use std::collections::BTreeMap;

use mainstay_backup::{Id, Target};
use mainstay_client::{CallError, Mesh};
use mainstay_core::backup::BackupTarget;
use mainstay_proto::v1::{Backup, BackupHold, GetLeaseRequest, Lease, ListBackupsRequest};
use tonic::Code;

use crate::error::CliError;

/// Those of a target that are held, and why each is; in full names.
#[derive(Debug, Default)]
pub struct Holds(BTreeMap<String, String>);

impl Holds {
    fn of(backups: &[Backup]) -> Holds {
        Holds(backups.iter().filter_map(|backup| Some((backup.id.clone(), words(backup.hold.as_ref()?)))).collect())
    }

    /// Why this one is kept.
    pub fn of_backup(&self, id: &Id) -> Option<String> {
        self.0.get(&id.to_string()).cloned()
    }
}

fn words(hold: &BackupHold) -> String {
    if hold.reason.is_empty() { format!("held by {}", hold.by) } else { format!("held by {}: {}", hold.by, hold.reason) }
}

/// How the mesh calls it. What has a name that no mesh gives is in no mesh's catalogue.
fn in_mesh(target: &Target) -> Option<BackupTarget> {
    target.to_string().parse().ok()
}

/// What is held of a target.
pub async fn holds(mesh: &Mesh, target: &Target) -> Result<Holds, CliError> {
    let Some(named) = in_mesh(target) else { return Ok(Holds::default()) };
    let known = mesh.list_backups(ListBackupsRequest { target: named.to_string() }).await?;
    Ok(known.targets.first().map(|known| Holds::of(&known.backups)).unwrap_or_default())
}

/// That nobody makes or removes backups of a target now.
pub async fn is_free(mesh: &Mesh, target: &Target) -> Result<(), CliError> {
    let Some(named) = in_mesh(target) else { return Ok(()) };
    match mesh.get_lease(GetLeaseRequest { name: named.lease().to_string() }).await {
        Ok(lease) => nobody_at(&lease),
        Err(CallError::Refused { code: Code::NotFound, .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn nobody_at(lease: &Lease) -> Result<(), CliError> {
    let Some(holder) = lease.held.first() else { return Ok(()) };
    let words = format!("{} holds the lease {}, and makes or removes backups there", holder.identity, lease.name);
    Err(CliError::failed(words)
        .with_next("say it again when that has ended")
        .with_next(format!("see what it is at:  mainstay lease show {}", lease.name)))
}

#[cfg(test)]
mod tests {
    use mainstay_proto::v1::LeaseHolder;

    use super::*;

    #[test]
    fn who_holds_one_is_named_with_the_reason() {
        let backup = |token: u32, hold: Option<&str>| Backup {
            id: format!("prod/orders-db/20261130T020000Z-3.{token}"),
            hold: hold.map(|reason| BackupHold { by: "operator/ana".into(), at_unix_ms: 1, reason: reason.into() }),
            ..Backup::default()
        };
        let holds = Holds::of(&[backup(1, Some("the audit")), backup(2, Some("")), backup(3, None)]);
        let of = |token: u32| holds.of_backup(&backup(token, None).id.parse().unwrap());
        assert_eq!((of(1).as_deref(), of(2).as_deref(), of(3)), (Some("held by operator/ana: the audit"), Some("held by operator/ana"), None));
    }

    #[test]
    fn a_lease_that_somebody_holds_is_in_the_way() {
        let lease = |held| Lease { name: "backup/prod/db".into(), held, ..Lease::default() };
        assert!(nobody_at(&lease(Vec::new())).is_ok(), "one that waits only is not there yet");
        let error = nobody_at(&lease(vec![LeaseHolder { identity: "run/backup-7".into(), ..LeaseHolder::default() }])).unwrap_err();
        assert!(error.message.contains("run/backup-7 holds the lease backup/prod/db"), "{error}");
    }

    #[test]
    fn what_no_mesh_can_name_is_in_no_catalogue() {
        let target = |text: &str| text.parse::<Target>().unwrap();
        assert!(in_mesh(&target("Old.Prod/DB_1")).is_none() && in_mesh(&target("prod/db")).is_some());
    }
}
