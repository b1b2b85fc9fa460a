//! `mainstay member`

use mainstay_client::Mesh;
use mainstay_proto::v1::{ListMembersRequest, Member, MemberRole, RemoveMemberRequest, TransferLeadershipRequest};

use super::{Screen, status};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::units;

pub async fn member(verb: &args::node::Member, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    use args::node::Member as Verb;
    match verb {
        Verb::List => {
            let members = mesh.list_members(ListMembersRequest {}).await?;
            screen.show(&members, |members| status::members(&members.members, screen.terminal))?;
        }
        Verb::Remove { member, dry_run } => {
            let members = mesh.list_members(ListMembersRequest {}).await?.members;
            let id = id_of(&members, member)?;
            let words = if *dry_run { without(&members, &id) } else { format!("✔ {member} is no longer a member") };
            let answer = mesh.remove_member(RemoveMemberRequest { id, dry_run: *dry_run }).await?;
            screen.done(&answer, &words)?;
        }
        // It asks no mesh, and does not come here.
        Verb::Issuer(_) => {}
        Verb::Transfer { to, dry_run } => {
            let members = mesh.list_members(ListMembersRequest {}).await?.members;
            let to = to.as_deref().map_or_else(|| Ok(String::new()), |to| id_of(&members, to))?;
            let answer = mesh.transfer_leadership(TransferLeadershipRequest { to, dry_run: *dry_run }).await?;
            let name = members.iter().find(|member| member.id == answer.leader).map_or(answer.leader.as_str(), |member| &member.name);
            screen.done(&answer, &if *dry_run { format!("✔ {name} would lead; nothing was changed") } else { format!("✔ {name} leads") })?;
        }
    }
    Ok(Exit::Success)
}

/// What would be left of the group.
fn without(members: &[Member], id: &str) -> String {
    let name = members.iter().find(|member| member.id == id).map_or(id, |member| &member.name);
    let left = members.iter().filter(|member| member.id != id && member.role() == MemberRole::Voter).count();
    let may_fail = left.saturating_sub(left / 2 + 1);
    format!(
        "✔ would take {name} out of the group and refuse its certificate from then on: {} would be left, of which {may_fail} may fail; nothing was changed",
        units::count(left as u64, "voter", "voters")
    )
}

/// Id of the member of that id or name.
fn id_of(members: &[Member], wanted: &str) -> Result<String, CliError> {
    let mut found = members.iter().filter(|member| member.id == wanted || member.name == wanted);
    match (found.next(), found.next()) {
        (Some(member), None) => Ok(member.id.clone()),
        (None, _) => {
            let known: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            Err(CliError::usage(format!("there is no member `{wanted}`")).with_next(format!("members are {}", known.join(", "))))
        }
        (Some(_), Some(_)) => {
            Err(CliError::usage(format!("there are several members named `{wanted}`")).with_next("say it by id:  mainstay member list"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_says_what_is_left() {
        let member = |id: &str, role: MemberRole| Member { id: id.into(), name: format!("c{id}"), role: role.into(), ..Member::default() };
        let mut members: Vec<Member> = ["1", "2", "3"].map(|id| member(id, MemberRole::Voter)).into();
        assert!(without(&members, "3").starts_with("✔ would take c3 out"), "{}", without(&members, "3"));
        assert!(without(&members, "3").ends_with("2 voters would be left, of which 0 may fail; nothing was changed"));
        members.push(member("4", MemberRole::Learner));
        assert!(without(&members, "4").contains(": 3 voters would be left, of which 1 may fail;"), "{}", without(&members, "4"));
    }

    #[test]
    fn a_member_has_an_id_and_a_name() {
        let member = |id: &str, name: &str| Member { id: id.into(), name: name.into(), ..Member::default() };
        let members = [member("0a", "c1"), member("0b", "c2"), member("0c", "c2")];
        assert_eq!(id_of(&members, "c1"), Ok("0a".into()));
        assert_eq!(id_of(&members, "0c"), Ok("0c".into()));
        assert_eq!(id_of(&members, "c2").unwrap_err().message, "there are several members named `c2`");
        assert_eq!(id_of(&members, "c9").unwrap_err().next, ["members are c1, c2, c2"]);
    }
}
