#![allow(clippy::unwrap_used, clippy::panic)]
use mainstay_core::WallTime;
use mainstay_proto::v1::{
    CheckResponse, Invariant, LeftToPerson, LinkState, Member, MemberDescription, MemberRole, MissingConnection, Node, Plan, Run, Status, Verdict,
};

use super::diagnosis::{diagnose, exit};
use super::facts::{Answer, Chosen, Facts, IdentityFile, MemberFacts, MeshFacts, Trouble, WaitingRun};
use crate::exit::Exit;
use crate::render::Terminal;
use crate::verbs::doctor::render;

const NOW: WallTime = WallTime(1_764_590_400_000);
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn described(name: &str) -> MemberDescription {
    MemberDescription {
        id: format!("id-of-{name}"),
        name: name.into(),
        version: "1.2.0".into(),
        feature_level: 3,
        wall_unix_ms: NOW.0,
        leaf_not_after_unix_ms: NOW.0 + 20 * HOUR,
        issuer_not_after_unix_ms: NOW.0 + 300 * DAY,
        free_bytes: 40 << 30,
        ..MemberDescription::default()
    }
}

fn answers(name: &str) -> MemberFacts {
    let answer = Answer::Described(Box::new(described(name)), 0);
    MemberFacts { address: format!("{name}.example:7400"), name: name.into(), answered_in_ms: 3, answer }
}

fn voter(name: &str) -> Member {
    let address = format!("{name}.example:7400");
    Member { name: name.into(), address, role: MemberRole::Voter.into(), leader: name == "c1", reachable: true, ..Member::default() }
}

fn node(name: &str) -> Node {
    let since_unix_ms = NOW.0 - 2 * HOUR;
    Node { cluster: "prod".into(), name: name.into(), link: LinkState::Up.into(), since_unix_ms, version: "1.2.0".into(), ..Node::default() }
}

/// Three members and two agents with which nothing is wrong.
fn healthy() -> Facts {
    let members = ["c1", "c2", "c3"];
    let holds = Invariant { name: "audit".into(), says: "the audit chain is whole".into(), broken: String::new() };
    Facts {
        now: NOW,
        version: "1.2.0".into(),
        chosen: Some(Chosen { by: "the context in use, prod,".into(), members: vec!["c1.example:7400".into()], asleep: None }),
        identity: Some(IdentityFile {
            path: "/home/ana/.config/mainstay/prod/identity.pem".into(),
            unusable: None,
            mode: 0o600,
            identity: Some("operator/ana".parse().unwrap()),
            ends: WallTime(NOW.0 + 20 * HOUR),
        }),
        members: members.map(answers).into(),
        mesh: MeshFacts {
            status: Some(Status {
                members: members.map(voter).into(),
                feature_level: 3,
                state_bytes: 1 << 20,
                state_bytes_max: 256 << 20,
                ..Status::default()
            }),
            nodes: ["n1", "n2"].map(node).into(),
            check: Some(CheckResponse { invariants: vec![holds], ..CheckResponse::default() }),
            ..MeshFacts::default()
        },
        ..Facts::default()
    }
}

/// What a member said of itself.
fn of(facts: &mut Facts, member: usize) -> &mut MemberDescription {
    match &mut facts.members[member].answer {
        Answer::Described(described, _) => described,
        other => panic!("{other:?}"),
    }
}

fn ahead(facts: &mut Facts, ms: i64) {
    facts.members[1].answer = Answer::Described(Box::new(described("c2")), ms);
}

fn identity(facts: &mut Facts) -> &mut IdentityFile {
    facts.identity.as_mut().unwrap()
}

fn status(facts: &mut Facts) -> &mut Status {
    facts.mesh.status.as_mut().unwrap()
}

/// No member answers, so that nothing is known of the mesh either.
fn nobody_answers(facts: &mut Facts, answer: &Answer) {
    facts.members.iter_mut().for_each(|member| member.answer = answer.clone());
    facts.mesh = MeshFacts { unanswered: vec![("status".into(), "no member could be reached".into())], ..MeshFacts::default() };
}

fn waiting(ms: u64) -> WaitingRun {
    WaitingRun {
        id: "reboot-7".into(),
        paused_by: String::new(),
        longest_ms: ms,
        step: "drain".into(),
        target: "prod/n1".into(),
        reason: "approval by an operator".into(),
    }
}

/// What can be wrong, what brings it about, and by which check it is to be found.
type Row = (&'static str, &'static str, fn(&mut Facts));

/// On this machine, and between it and each member.
const LOCAL: &[Row] = &[
    ("no mesh is named", "context", |f| {
        let trouble = Trouble { what: "which mesh?".into(), then: "mainstay context use NAME".into() };
        *f = Facts { now: NOW, not_chosen: Some(trouble), ..Facts::default() };
    }),
    ("a mesh of this machine does not run", "context", |f| {
        f.chosen.as_mut().unwrap().asleep = Some("/srv/.mainstay".into());
        nobody_answers(f, &Answer::Unreachable("connection refused".into()));
    }),
    ("the identity cannot be read", "identity", |f| {
        identity(f).unusable = Some("no such file".into());
        f.members.clear();
        f.mesh = MeshFacts::default();
    }),
    ("others can read the private key", "identity", |f| identity(f).mode = 0o644),
    ("the certificate ended a week ago", "identity", |f| identity(f).ends = WallTime(NOW.0 - 7 * DAY)),
    ("the certificate ended 31 days ago", "identity", |f| identity(f).ends = WallTime(NOW.0 - 31 * DAY)),
    ("nobody listens at one member", "reach", |f| f.members[2].answer = Answer::Unreachable("connection refused".into())),
    ("nobody answers at all", "reach", |f| nobody_answers(f, &Answer::Unreachable("timed out".into()))),
    ("a certificate is not taken", "reach", |f| nobody_answers(f, &Answer::Certificate("unknown issuer".into()))),
    ("a member refuses", "reach", |f| f.members[1].answer = Answer::Refused("operator/ana is revoked".into())),
    ("a clock is 40 s ahead", "clock", |f| ahead(f, 40_000)),
    ("a clock is ten minutes behind", "clock", |f| ahead(f, -600_000)),
    ("a member's certificate was not renewed", "certificate", |f| of(f, 1).leaf_not_after_unix_ms = NOW.0 + 6 * HOUR),
    ("a member's certificate is about to end", "certificate", |f| of(f, 1).leaf_not_after_unix_ms = NOW.0 + HOUR),
    ("an issuer ends in three weeks", "certificate", |f| of(f, 1).issuer_not_after_unix_ms = NOW.0 + 21 * DAY),
    ("an issuer ends tomorrow", "certificate", |f| of(f, 1).issuer_not_after_unix_ms = NOW.0 + DAY),
    ("one member has no issuer", "issuer", |f| of(f, 1).issuer_not_after_unix_ms = 0),
    ("no member has an issuer", "issuer", |f| (0..3).for_each(|member| of(f, member).issuer_not_after_unix_ms = 0)),
    ("a disk is nearly full", "disk", |f| of(f, 0).free_bytes = 200 << 20),
    ("a disk is full", "disk", |f| {
        of(f, 0).disk_full = true;
        of(f, 0).free_bytes = 90 << 20;
    }),
    ("members of two versions", "version", |f| of(f, 2).version = "1.3.0".into()),
    ("this program is of another version", "version", |f| f.version = "1.1.0".into()),
    ("an agent is of another version", "version", |f| f.mesh.nodes[1].version = "1.1.0".into()),
];

/// In the mesh, by its leader's word.
const MESH: &[Row] = &[
    ("a question had no answer", "mesh", |f| f.mesh.unanswered.push(("plans".into(), "deadline exceeded".into()))),
    ("nobody leads", "quorum", |f| status(f).members[0].leader = false),
    ("a majority is down", "quorum", |f| status(f).members[1..].iter_mut().for_each(|member| member.reachable = false)),
    ("one of three is down", "member", |f| status(f).members[2].reachable = false),
    ("one of five is down", "quorum", |f| {
        status(f).members.extend(["c4", "c5"].map(voter));
        status(f).members[4].reachable = false;
    }),
    ("two members vote", "quorum", |f| drop(status(f).members.pop())),
    ("a member has not caught up yet", "member", |f| {
        status(f).members.push(Member { role: MemberRole::Learner.into(), behind: 1, ..voter("c4") });
    }),
    ("a follower is far behind", "member", |f| status(f).members[2].behind = 20_000),
    ("the state is nearly full", "state", |f| status(f).state_bytes = 220 << 20),
    ("the state is full", "state", |f| status(f).state_bytes = 250 << 20),
    ("a member could do more than the mesh", "level", |f| of(f, 0).feature_level = 4),
    ("there are open findings about the fleet", "findings", |f| status(f).critical = 2),
    ("an agent was lost", "agents", |f| {
        f.mesh.nodes[1].link = LinkState::Lost.into();
        f.mesh.nodes[1].steps_open = 1;
    }),
    ("more agents were lost than are listed", "agents", |f| {
        f.mesh.nodes.extend((10..22).map(|n| Node { link: LinkState::Lost.into(), ..node(&format!("n{n}")) }));
    }),
    ("all agents were lost", "agents", |f| f.mesh.nodes.iter_mut().for_each(|node| node.link = LinkState::Lost.into())),
    ("an agent never connected", "agents", |f| f.mesh.nodes[1].link = LinkState::Never.into()),
    ("the audit chain is broken", "invariant", |f| f.mesh.check.as_mut().unwrap().invariants[0].broken = "record 7".into()),
    ("an invariant is broken", "invariant", |f| {
        let broken = Invariant { name: "leases".into(), says: "a lease has no more holders than slots".into(), broken: "deploy: 2 of 1".into() };
        f.mesh.check.as_mut().unwrap().invariants.push(broken);
    }),
    ("a plan names a connection that nobody has", "connection", |f| {
        let kinds = vec!["postgres".into(), "redis".into()];
        let missing = MissingConnection { plan: "nightly".into(), step: "look".into(), connection: "orders".into(), kinds };
        f.mesh.check.as_mut().unwrap().missing_connections.push(missing);
    }),
    ("a run has ended and holds a lease", "run", |f| {
        let left = LeftToPerson {
            what: "it still holds lease deploy/shop for switch on prod/a1".into(),
            command: "mainstay lease release deploy/shop --proof \"…\"".into(),
            lease: "deploy/shop".into(),
        };
        f.mesh.unsettled.push(Run { id: "deploy-4".into(), left: vec![left], ..Run::default() });
    }),
    ("a plan is suspended", "plan", |f| {
        f.mesh.plans.push(Plan {
            name: "nightly".into(),
            suspended_unix_ms: NOW.0 - DAY,
            suspended_by: "operator/ana".into(),
            suspended_reason: "the move".into(),
            ..Plan::default()
        });
    }),
    ("a run is held up", "run", |f| {
        f.mesh.runs.push(WaitingRun { paused_by: "operator/ana".into(), reason: "looking at it".into(), ..waiting(1) });
    }),
    ("a run has waited for hours", "run", |f| f.mesh.runs.push(waiting(5 * 3_600_000))),
];

#[test]
fn nothing_is_said_against_a_healthy_mesh() {
    let (facts, all) = (healthy(), diagnose(&healthy()));
    assert!(all.iter().all(|diagnosis| diagnosis.verdict == Verdict::Ok && diagnosis.then.is_empty()), "{all:#?}");
    assert_eq!(exit(&facts, &all), Exit::Success);
    insta::assert_snapshot!(render(&all, Terminal::PIPE));
}

/// One row for each thing that can be found: what is said beyond what is said of a healthy mesh, and the status.
#[test]
fn each_thing_that_is_wrong_is_found_by_its_check() {
    let usual = diagnose(&healthy());
    let mut text = String::new();
    for (name, check, change) in LOCAL.iter().chain(MESH) {
        let mut facts = healthy();
        change(&mut facts);
        let all = diagnose(&facts);
        let status = exit(&facts, &all).status();
        let new: Vec<_> = all.into_iter().filter(|diagnosis| !usual.contains(diagnosis)).collect();
        assert!(new.iter().any(|diagnosis| diagnosis.check == *check), "{name}: nothing by {check} in {new:#?}");
        text += &format!("## {name}: status {status}\n{}\n", render(&new, Terminal::PIPE));
    }
    insta::assert_snapshot!(text);
}

/// What does not stop anything does not count against the mesh; what is unknown does.
#[test]
fn the_exit_status_is_that_of_the_worst() {
    let status = |change: fn(&mut Facts)| {
        let mut facts = healthy();
        change(&mut facts);
        exit(&facts, &diagnose(&facts)).status()
    };
    assert_eq!(status(|f| of(f, 0).free_bytes = 200 << 20), 0, "a warning");
    assert_eq!(status(|f| of(f, 0).disk_full = true), 1, "something critical");
    assert_eq!(status(|f| f.mesh.unanswered.push(("plans".into(), "no answer".into()))), 1, "something unknown");
    assert_eq!(status(|f| nobody_answers(f, &Answer::Unreachable("timed out".into()))), 3, "nobody answers");
    assert_eq!(status(|f| *f = Facts::default()), 3, "no mesh at all");
}

/// What needs a person stands first.
#[test]
fn the_worst_comes_first() {
    let mut facts = healthy();
    of(&mut facts, 0).free_bytes = 200 << 20;
    of(&mut facts, 1).disk_full = true;
    facts.mesh.unanswered.push(("plans".into(), "no answer".into()));
    let verdicts: Vec<Verdict> = diagnose(&facts).into_iter().map(|diagnosis| diagnosis.verdict).take(4).collect();
    assert_eq!(verdicts, [Verdict::Critical, Verdict::Unknown, Verdict::Warning, Verdict::Ok]);
}

/// The form that programs rely on.
#[test]
fn json_has_all_of_it() {
    let mut facts = healthy();
    of(&mut facts, 1).disk_full = true;
    facts.mesh.nodes.clear();
    let all = diagnose(&facts);
    let told = crate::verbs::doctor::told(&all, exit(&facts, &all));
    insta::assert_snapshot!(crate::render::json::json(&told).unwrap());
}
