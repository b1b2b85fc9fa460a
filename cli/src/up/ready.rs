//! Waiting until a mesh is ready: somebody leads, every member votes and is heard of, every agent is linked, and the
//! plans that come with the program are there.

use std::time::Duration;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::{CallError, Mesh};
use mainstay_proto::v1::{GetPlanRequest, GetStatusRequest, MemberRole, Status};
use tonic::Code;

use super::FIRST_PLAN;
use super::ground::Ground;
use super::supervise::Kept;
use crate::error::CliError;

/// A machine under load needs a few seconds; what takes longer than this is stuck.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const EVERY: Duration = Duration::from_millis(25);
/// For one look.
const LOOK: Duration = Duration::from_secs(2);
/// A child that has died this often before the mesh was ready will not live by itself.
const DEATHS: u32 = 6;

/// How many there are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub members: usize,
    pub agents: usize,
}

/// Returns when the mesh is ready, and says why it is not when that takes too long.
pub async fn wait(ground: &Ground, children: &[Kept], wanted: Wanted) -> Result<(), CliError> {
    let begun = SystemClock.monotonic();
    let mesh = ground.mesh().clone().with_deadline(LOOK);
    loop {
        let seen = look(&mesh, wanted).await;
        let Err(missing) = seen else { return Ok(()) };
        if let Some(child) = children.iter().find(|child| child.refuses_settings()) {
            return Err(refused(child));
        }
        let dying = children.iter().find(|child| child.deaths() >= DEATHS);
        if dying.is_some() || SystemClock.monotonic() - begun > PATIENCE {
            return Err(stuck(ground, children, dying, &missing));
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn look(mesh: &Mesh, wanted: Wanted) -> Result<(), String> {
    let status = mesh.get_status(GetStatusRequest {}).await.map_err(|error| error.to_string())?;
    judge(&status, wanted)?;
    // It is the last of the bundled plans. An agent may be linked before a new mesh has any: most of them wait until the
    // mesh has risen to the feature level of its members.
    match mesh.get_plan(GetPlanRequest { name: FIRST_PLAN.to_owned(), revision: 0 }).await {
        Ok(_) => Ok(()),
        Err(CallError::Refused { code: Code::NotFound, .. }) => Err("the plans that come with it are not there yet".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// What is still missing.
fn judge(status: &Status, wanted: Wanted) -> Result<(), String> {
    let voters = status.members.iter().filter(|member| member.role() == MemberRole::Voter && member.reachable).count();
    if !status.members.iter().any(|member| member.leader) {
        return Err("no member leads".to_owned());
    }
    if voters < wanted.members {
        return Err(format!("{voters} of {} members vote and are heard of", wanted.members));
    }
    let agents = status.agents_up as usize;
    if agents < wanted.agents {
        return Err(format!("{agents} of {} agents are linked", wanted.agents));
    }
    Ok(())
}

/// The error for a child that does not take its settings. The state of the mesh has no part in it.
fn refused(child: &Kept) -> CliError {
    let error = CliError::usage(format!("{} does not take its settings:", child.name));
    child.log.last_lines().into_iter().fold(error, |error, line| error.with_next(format!("  {line}")))
}

/// The error for a mesh that does not get ready, with the last words of the child to blame.
fn stuck(ground: &Ground, children: &[Kept], dying: Option<&Kept>, missing: &str) -> CliError {
    let blamed = dying.or_else(|| children.iter().filter(|child| child.deaths() > 0).max_by_key(|child| child.deaths()));
    let mut error = match dying {
        Some(child) => CliError::failed(format!("the mesh does not get ready: {} ends again and again", child.name)),
        None => CliError::failed(format!("the mesh is not ready after {} s: {missing}", PATIENCE.as_secs())),
    };
    if let Some(child) = blamed {
        error = error.with_next(format!("last lines of {}:", ground.layout.log(&child.name).display()));
        error.next.extend(child.log.last_lines().into_iter().map(|line| format!("  {line}")));
    } else {
        error = error.with_next(format!("look into the logs in {}", ground.layout.logs().display()));
    }
    error.with_next(format!("start afresh, and lose its state:  rm -r {0} && mainstay up --dir {0}", ground.layout.dir().display()))
}

#[cfg(test)]
mod tests {
    use mainstay_proto::v1::Member;

    use super::*;

    fn member(role: MemberRole, leader: bool, reachable: bool) -> Member {
        Member { role: role.into(), leader, reachable, ..Member::default() }
    }

    #[test]
    fn ready_means_led_complete_and_linked() {
        let wanted = Wanted { members: 2, agents: 1 };
        let voter = |leader| member(MemberRole::Voter, leader, true);
        let status = |members, agents_up| Status { members, agents_up, ..Status::default() };
        assert_eq!(judge(&status(vec![voter(true), voter(false)], 1), wanted), Ok(()));
        let cases = [
            (vec![voter(false), voter(false)], 1, "no member leads"),
            (vec![voter(true), member(MemberRole::Learner, false, true)], 1, "1 of 2 members vote and are heard of"),
            (vec![voter(true), member(MemberRole::Voter, false, false)], 1, "1 of 2 members vote and are heard of"),
            (vec![voter(true), voter(false)], 0, "0 of 1 agents are linked"),
        ];
        for (members, agents, missing) in cases {
            assert_eq!(judge(&status(members, agents), wanted), Err(missing.to_owned()));
        }
    }
}
