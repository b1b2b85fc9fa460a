//! The catalogue of backups: read by operators and by the agents that are at them, told by agents, held by operators and erased by admins.

use std::sync::Arc;

use mainstay_core::authz::{Method, Subject};
use mainstay_core::backup::BackupTarget;
use mainstay_core::state::backup::CATALOGUES;
use mainstay_core::{AttemptId, Command, LedgerId, Refusal, Token};
use mainstay_proto::convert::{InvalidMessage, backup_note_from_wire, backups_to_wire, parsed};
use mainstay_proto::v1;
use prost::Message;
use tonic::{Request, Response, Status};

use super::agents::{belongs, own};
use super::front::{Front, request_key};
use super::server::MESSAGE_MAX;
use super::{snapshot, status};

pub struct BackupsApi(pub Arc<Front>);

/// A list that fits into one answer of so many bytes: what there is of any one target does.
fn within(answer: v1::ListBackupsResponse, most: usize) -> Result<v1::ListBackupsResponse, Status> {
    if answer.encoded_len() <= most {
        return Ok(answer);
    }
    let backups: usize = answer.targets.iter().map(|target| target.backups.len()).sum();
    let first = answer.targets.first().map_or("CLUSTER/CONNECTION", |target| target.target.as_str());
    Err(Status::failed_precondition(format!(
        "the catalogue has {backups} backups of {} targets, more than one answer holds; name a target:  mainstay backup list {first}",
        answer.targets.len()
    )))
}

#[tonic::async_trait]
impl v1::backups_server::Backups for BackupsApi {
    async fn list(&self, request: Request<v1::ListBackupsRequest>) -> Result<Response<v1::ListBackupsResponse>, Status> {
        let (_, state) = self.0.read(&request, Method::Look).await?;
        let target = &request.get_ref().target;
        let wanted: Option<BackupTarget> = (!target.is_empty()).then(|| parsed("target", target)).transpose().map_err(status::invalid)?;
        let all = state.backups.iter().filter(|(target, _)| wanted.as_ref().is_none_or(|wanted| wanted == *target));
        let answer = v1::ListBackupsResponse { targets: all.map(|(target, known)| backups_to_wire(target, known)).collect() };
        within(answer, MESSAGE_MAX).map(Response::new)
    }

    async fn hold(&self, request: Request<v1::HoldBackupRequest>) -> Result<Response<v1::HoldBackupResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::HoldBackup, Subject::None)?;
        let key = request_key(&request)?;
        let v1::HoldBackupRequest { id, reason, off, dry_run } = request.into_inner();
        let command = Command::HoldBackup { backup: parsed("id", &id).map_err(status::invalid)?, reason: (!off).then_some(reason) };
        self.0.change(&office, by, key, command, dry_run).await?;
        Ok(Response::new(v1::HoldBackupResponse {}))
    }

    async fn erase(&self, request: Request<v1::EraseBackupsRequest>) -> Result<Response<v1::EraseBackupsResponse>, Status> {
        let (office, by) = self.0.lead(&request, Method::EraseBackups, Subject::None)?;
        let key = request_key(&request)?;
        let v1::EraseBackupsRequest { target, dry_run } = request.into_inner();
        let command = Command::EraseBackups { target: parsed("target", &target).map_err(status::invalid)? };
        self.0.change(&office, by, key, command, dry_run).await?;
        Ok(Response::new(v1::EraseBackupsResponse {}))
    }

    async fn recall(&self, request: Request<v1::RecallBackupsRequest>) -> Result<Response<v1::RecallBackupsResponse>, Status> {
        let agent = own(&request)?;
        let (office, _) = self.0.lead(&request, Method::ReportAttempt, Subject::Agent(&agent))?;
        let v1::RecallBackupsRequest { attempt, target } = request.get_ref();
        let attempt: AttemptId = parsed("attempt", attempt).map_err(status::invalid)?;
        let target: BackupTarget = parsed("target", target).map_err(status::invalid)?;
        // That nobody holds a backup must be true: retention believes it.
        self.0.confirmed(&office).await?;
        belongs(&office, attempt, &agent)?;
        if target.cluster != agent.cluster {
            return Err(Status::permission_denied(format!("{target} is of another cluster than agent {agent}")));
        }
        let state = office.state();
        if state.feature_level < CATALOGUES {
            let words = format!("the mesh has no catalogue of backups before feature level {CATALOGUES}, and is at {}", state.feature_level);
            return Err(status::refused(Refusal::Unsupported(words)));
        }
        let target = state.backups.get(&target).map(|known| backups_to_wire(&target, known));
        Ok(Response::new(v1::RecallBackupsResponse { target }))
    }

    async fn note(&self, request: Request<v1::NoteBackupsRequest>) -> Result<Response<v1::NoteBackupsResponse>, Status> {
        let agent = own(&request)?;
        let (office, by) = self.0.lead(&request, Method::ReportAttempt, Subject::Agent(&agent))?;
        let v1::NoteBackupsRequest { attempt, ledger, target, note } = request.into_inner();
        let attempt: AttemptId = parsed("attempt", &attempt).map_err(status::invalid)?;
        belongs(&office, attempt, &agent)?;
        let target: BackupTarget = parsed("target", &target).map_err(status::invalid)?;
        let note = note.ok_or_else(|| status::invalid(InvalidMessage::new("note", "is missing")))?;
        let note = backup_note_from_wire(&target, note).map_err(status::invalid)?;
        self.0.propose(&office, by, None, Command::NoteBackups { attempt, ledger: LedgerId(ledger), target, note }).await?;
        Ok(Response::new(v1::NoteBackupsResponse {}))
    }

    type ReadMeshStream = snapshot::Pieces;

    async fn read_mesh(&self, request: Request<v1::ReadMeshRequest>) -> Result<Response<Self::ReadMeshStream>, Status> {
        let agent = own(&request)?;
        let (office, by) = self.0.lead(&request, Method::BackUpMesh, Subject::Agent(&agent))?;
        let v1::ReadMeshRequest { attempt, ledger, token } = request.into_inner();
        let (attempt, ledger) = (parsed::<AttemptId>("attempt", &attempt).map_err(status::invalid)?, LedgerId(ledger));
        let token: Token = parsed("token", &token).map_err(status::invalid)?;
        belongs(&office, attempt, &agent)?;
        // Before it is agreed on, so that whoever asks in vain, however often, fills no log.
        status::done(office.state().may_read_mesh(attempt, &ledger, token))?;
        let turn = snapshot::turn(&self.0)?;
        self.0.propose(&office, by.clone(), None, Command::ReadMesh { attempt, ledger, token }).await?;
        snapshot::take(&self.0, &office, turn, &by).await.map(Response::new)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_list_that_no_answer_holds_is_refused_with_what_to_ask_instead() {
        let backup = v1::Backup { id: "prod/orders-db/20261130T020000Z-3.42".into(), checksum: "ab".repeat(32), ..v1::Backup::default() };
        let of = |target: &str| v1::BackupTarget { target: target.into(), backups: vec![backup.clone(); 64], ..v1::BackupTarget::default() };
        let one = v1::ListBackupsResponse { targets: vec![of("prod/orders-db")] };
        let most = one.encoded_len();
        assert_eq!(within(one.clone(), most).unwrap(), one);
        let refused = within(v1::ListBackupsResponse { targets: vec![of("prod/orders-db"), of("prod/cache")] }, most).unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("128 backups of 2 targets") && refused.message().ends_with("mainstay backup list prod/orders-db"));
    }
}
