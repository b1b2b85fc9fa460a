//! An operator takes members out of the mesh, also the one that leads, and has their machines set up anew: each comes back
//! as another member, which joins.

use std::time::Duration;

use mainstay_client::Mesh;
use mainstay_proto::v1::{ListMembersRequest, Member, MemberRole, RemoveMemberRequest};

use crate::chance::Chance;
use crate::machines::COORDINATORS;
use crate::{trace, watch};

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(900);

/// One member, if all are there. One at a time: with less than a majority that has its disks, a mesh is lost.
pub async fn exchange(who: &'static str, mesh: &Mesh, chance: &mut Chance) {
    if watch::with(|seen| seen.changes_place.is_some()) {
        return;
    }
    let Some(members) = listed(mesh).await else { return };
    let whole = members.len() == COORDINATORS.len() && members.iter().all(|member| member.reachable && member.role == MemberRole::Voter as i32);
    // Somebody may have lost a disk meanwhile.
    if !whole || watch::with(|seen| seen.is_calm || seen.changes_place.is_some()) {
        return;
    }
    let leader = members.iter().find(|member| member.leader).filter(|_| chance.percent(40));
    let out = leader.unwrap_or_else(|| chance.one(&members)).clone();
    let Some(machine) = COORDINATORS.into_iter().find(|name| *name == out.name) else { return };
    watch::with(|seen| seen.changes_place = Some(machine));
    trace::line(who, &format!("takes out {} on {machine}", out.id));
    // What was not answered may have come off; taking out who is out is refused as something that is not there.
    loop {
        let answer = mesh.remove_member(RemoveMemberRequest { id: out.id.clone(), dry_run: false }).await;
        match &answer {
            Ok(_) => break watch::struck(if out.leader { "the leader is taken out" } else { "a member is taken out" }),
            Err(error) => trace::line(who, &format!("cannot take out {}: {error}", out.id)),
        }
        if answer.is_err_and(|error| error.to_string().contains("there is no member")) {
            break;
        }
        tokio::time::sleep(AGAIN).await;
    }
    trace::line(who, &format!("has {machine} set up anew"));
    watch::with(|seen| seen.set_up_anew = Some(machine));
}

/// What is wrong with who is a member: each coordinator is one, with a vote, and nobody else.
pub async fn misplaced(mesh: &Mesh) -> Option<String> {
    let Some(members) = listed(mesh).await else { return Some("an answer about the members".into()) };
    let mut voters: Vec<&str> = members.iter().filter(|member| member.role == MemberRole::Voter as i32).map(|member| member.name.as_str()).collect();
    voters.sort_unstable();
    (voters != COORDINATORS || members.len() != COORDINATORS.len()).then(|| format!("three members: there are {members:?}"))
}

async fn listed(mesh: &Mesh) -> Option<Vec<Member>> {
    mesh.list_members(ListMembersRequest::default()).await.ok().map(|answer| answer.members)
}
