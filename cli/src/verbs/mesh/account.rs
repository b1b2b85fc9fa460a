//! What a recovery says: what it did, what it kept, and what nobody can know.

use std::path::PathBuf;

use jiff::tz::TimeZone;
use mainstay_core::snapshot::Survivor;
use mainstay_core::state::recovery::Account;
use mainstay_core::{MemberId, WallTime};
use serde_json::{Value, json};

use super::bucket::Taken;
use crate::render::{Sheet, Terminal, time, units};

/// Names of one kind that are listed; the rest is counted.
const LISTED: usize = 10;

/// A recovery that was done, or would be.
pub struct Recovered {
    pub mesh: String,
    /// A file, or a store.
    pub from: String,
    /// Which backup of that store.
    pub backup: Option<Taken>,
    pub taken: WallTime,
    pub now: WallTime,
    /// Incarnation of the snapshot.
    pub before: u64,
    pub incarnation: u64,
    pub applied: u64,
    pub member: MemberId,
    pub name: String,
    pub dir: PathBuf,
    pub address: Option<String>,
    pub dry_run: bool,
    pub account: Account,
    /// From whose disk the snapshot was read, when it was not the leader's.
    pub survivor: Option<Survivor>,
    pub aside: Vec<PathBuf>,
    pub next: Vec<String>,
}

impl Recovered {
    pub fn json(&self) -> Value {
        let mut told = json!({
            "mesh": self.mesh,
            "dryRun": self.dry_run,
            "from": self.from,
            "takenUnixMs": self.taken.0,
            "ageMs": self.age_ms(),
            "incarnationBefore": self.before,
            "incarnation": self.incarnation,
            "applied": self.applied,
            "survivor": self.survivor,
            "member": { "id": self.member.to_string(), "name": self.name, "address": self.address },
            "dir": self.dir,
            "setAside": self.aside,
            "account": self.account,
            "unknown": self.unknown(),
            "next": self.next,
        });
        if let (Some(fields), Some(backup)) = (told.as_object_mut(), &self.backup) {
            fields.insert("backup".to_owned(), json!(backup));
        }
        told
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.now.0 - self.taken.0).unwrap_or(0)
    }

    /// What a snapshot cannot tell.
    fn unknown(&self) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        if let Some(survivor) = &self.survivor {
            all.push(format!(
                "what the lost members had agreed on and {} did not have is lost, though somebody was told that it is done: after entry {}",
                survivor.name, self.applied
            ));
        }
        let after = all.len();
        all.extend([
            "runs that were started after it, and what they did; their numbers may be given out again".to_owned(),
            "plans that were applied or removed after it: apply them again".to_owned(),
            "leases and claims that were taken after it under names that it does not have".to_owned(),
            "who was let in after it: their certificates are still good".to_owned(),
            "who was revoked, and which operators were changed, after it: do it again".to_owned(),
        ]);
        if self.account.claims.is_empty() {
            return all;
        }
        all.insert(
            after + 3,
            "whether the holders of the claims that were kept are still there: they stay until they release them, or you do".to_owned(),
        );
        all
    }
}

/// All of it for a person.
pub fn render(told: &Recovered, terminal: Terminal, zone: &TimeZone) -> String {
    let account = &told.account;
    let (mark, verb) = if told.dry_run { ("·", "would be recovered") } else { ("✔", "recovered") };
    let taken = time::local(told.taken.0, told.now, zone);
    let source =
        told.survivor.as_ref().map_or_else(|| format!("a snapshot of {taken}"), |survivor| format!("what {} had, of {taken}", survivor.name));
    let mut sheet = Sheet::new(terminal, 11);
    sheet.line(&format!(
        "{mark} mesh {} {verb} from {source} ({} old) · incarnation {} → {}",
        told.mesh,
        units::duration_ms(told.age_ms()),
        told.before,
        told.incarnation,
    ));
    sheet.line("");
    if let Some(backup) = &told.backup {
        sheet.fact("backup", &format!("{}, of {}", backup.id, backup.place));
        for newer in &backup.newer {
            sheet.fact("newer", &format!("{} is not taken: {}", newer.id, newer.why));
        }
    }
    let entries = units::count(told.applied, "entry", "entries");
    sheet.fact(
        "entries",
        &match told.survivor.as_ref().map(|survivor| told.applied.saturating_sub(survivor.agreed)) {
            None | Some(0) => format!("{entries} had been applied"),
            Some(open) => format!("{entries}; of the last {open} nobody here knows whether they had been agreed on: they count"),
        },
    );
    let address = told.address.as_ref().map(|address| format!(", at {address}")).unwrap_or_default();
    sheet.fact("member", &format!("{} ({}), alone, in {}{address}", told.name, told.member, told.dir.display()));
    if !account.members.is_empty() {
        let members = account.members.iter().map(|member| format!("{} ({})", member.name, member.id));
        sheet.fact("left behind", &format!("{}: refused from now on", listed(members)));
    }
    sheet.fact("agents", &format!("{}, expected to come back by themselves", account.agents));
    sheet.fact("runs open", &listed(account.runs_open.iter().map(ToString::to_string)));
    let attempts = account.attempts.iter().map(|attempt| {
        let again = if attempt.again { ", done again" } else { "" };
        format!("{}/{} on {} (attempt {}, agent {}{again})", attempt.run, attempt.step, attempt.target, attempt.id, attempt.agent)
    });
    sheet.fact("in flight", &with(listed(attempts), account.attempts.is_empty(), "called unknown"));
    if !account.runs_paused.is_empty() {
        let paused = listed(account.runs_paused.iter().map(ToString::to_string));
        sheet.fact("paused", &format!("{paused}: may have gone on since, so they go on when somebody has looked:  mainstay run resume RUN"));
    }
    let leases = listed(account.leases.iter().map(ToString::to_string));
    let until = format!("nobody's for {} after the start, then given out anew", units::duration_ms(account.longest_ttl_ms));
    sheet.fact("leases", &with(leases, account.leases.is_empty(), &until));
    if account.unknown_leases_ms > 0 {
        let guarded = units::duration_ms(account.unknown_leases_ms);
        sheet
            .fact("new leases", &format!("one of a name that is not known goes to nobody for {guarded} after the start: somebody may believe in it"));
    }
    let claims = account.claims.iter().map(|claim| format!("{} (token {}, {})", claim.name, claim.token, claim.holder));
    sheet.fact("claims", &with(listed(claims), account.claims.is_empty(), "kept"));
    if account.artifacts > 0 {
        let files = units::count(account.artifacts, "file that a run made", "files that runs made");
        sheet.fact("artifacts", &format!("{files}: the copies lay with the members that are left behind"));
    }
    if account.join_tokens > 0 {
        sheet.fact("join tokens", &format!("{} given up: make new ones", account.join_tokens));
    }
    for dir in &told.aside {
        sheet.fact("set aside", &dir.display().to_string());
    }
    sheet.heading(&match &told.survivor {
        None => format!("What a snapshot of {taken} cannot know:"),
        Some(survivor) => format!("What {} cannot know:", survivor.name),
    });
    for unknown in told.unknown() {
        sheet.item(&unknown);
    }
    sheet.heading(if told.dry_run { "Nothing was changed. Without --dry-run, then:" } else { "Next:" });
    for next in &told.next {
        sheet.command(next);
    }
    sheet.finish()
}

fn with(listed: String, is_none: bool, what: &str) -> String {
    if is_none { listed } else { format!("{listed}: {what}") }
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = names.collect();
    match all.len() {
        0 => "none".to_owned(),
        1..=LISTED => all.join(", "),
        more => format!("{} and {} more", all[..LISTED].join(", "), more - LISTED),
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::state::recovery::{FormerMember, KeptClaim, UnknownAttempt};
    use mainstay_core::state::run::Direction;

    use super::super::bucket::Newer;
    use super::*;

    fn example() -> Recovered {
        Recovered {
            mesh: "prod".into(),
            from: "/backup/mesh.snapshot".into(),
            backup: None,
            taken: WallTime(1_764_580_000_000),
            now: WallTime(1_764_590_400_000),
            before: 1,
            incarnation: 1_764_590_400,
            applied: 20_480,
            member: MemberId(0xab),
            name: "c1".into(),
            dir: "/var/lib/mainstay".into(),
            address: None,
            dry_run: false,
            account: Account {
                runs_open: vec!["reboot-7".parse().unwrap()],
                attempts: vec![UnknownAttempt {
                    id: "1.77".parse().unwrap(),
                    run: "reboot-7".parse().unwrap(),
                    step: "reboot".parse().unwrap(),
                    target: "prod/n17".parse().unwrap(),
                    direction: Direction::Do,
                    agent: "prod/n17".parse().unwrap(),
                    again: false,
                }],
                runs_paused: vec!["reboot-7".parse().unwrap()],
                claims: vec![KeptClaim {
                    name: "node/prod/n17".parse().unwrap(),
                    token: "1.20".parse().unwrap(),
                    holder: "operator/ana (ab12)".into(),
                }],
                leases: vec!["deploy/shop".parse().unwrap()],
                longest_ttl_ms: 30_000,
                unknown_leases_ms: 30_000,
                members: vec![FormerMember { id: "0000000000000001".into(), name: "c1".into(), address: "10.0.0.1:7400".into() }],
                artifacts: 12,
                join_tokens: 1,
                agents: 40,
            },
            survivor: None,
            aside: vec!["/var/lib/mainstay/set-aside-1764590400".into()],
            next: vec!["start it:  systemctl start mainstay-coordinator".into()],
        }
    }

    #[test]
    fn a_recovery_says_what_it_did_and_what_nobody_can_know() {
        insta::assert_snapshot!(render(&example(), Terminal { width: Some(80), colour: false }, &TimeZone::UTC));
        insta::assert_snapshot!(crate::render::json::json(&example().json()).unwrap());
    }

    #[test]
    fn what_only_the_lost_members_had_is_said_to_be_lost() {
        let survivor = Survivor { member: MemberId(2), name: "c2".into(), agreed: 20_478 };
        let told = Recovered { survivor: Some(survivor), ..example() };
        insta::assert_snapshot!(render(&told, Terminal { width: Some(80), colour: false }, &TimeZone::UTC));
    }

    #[test]
    fn which_backup_is_taken_is_said_and_what_is_newer() {
        let newer = vec![Newer { id: "prod/mesh/20261130T030000Z-1.9".into(), why: "· unfinished: it may be under way".into() }];
        let backup = Taken { place: "/backups".into(), id: "prod/mesh/20261130T020000Z-1.7".into(), newer };
        let told = Recovered { from: "/backups".into(), backup: Some(backup), ..example() };
        let text = render(&told, Terminal::PIPE, &TimeZone::UTC);
        assert!(text.contains("prod/mesh/20261130T020000Z-1.7, of /backups"), "{text}");
        assert!(text.contains("prod/mesh/20261130T030000Z-1.9 is not taken: · unfinished"), "{text}");
        assert_eq!(told.json()["backup"]["newer"][0]["id"], "prod/mesh/20261130T030000Z-1.9");
    }

    #[test]
    fn nothing_in_flight_is_said_too() {
        let told = Recovered { account: Account::default(), aside: vec![], dry_run: true, ..example() };
        insta::assert_snapshot!(render(&told, Terminal::PIPE, &TimeZone::UTC));
    }
}
