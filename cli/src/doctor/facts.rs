//! What was looked at: plain values, with what was in the way of looking.

use mainstay_core::WallTime;
use mainstay_core::identity::Identity;
use mainstay_proto::v1::{CheckResponse, MemberDescription, Node, Plan, Run, Status};

/// All of it.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub now: WallTime,
    /// Version of this program.
    pub version: String,
    pub chosen: Option<Chosen>,
    /// Why no mesh was found, and what to do.
    pub not_chosen: Option<Trouble>,
    pub identity: Option<IdentityFile>,
    pub members: Vec<MemberFacts>,
    pub mesh: MeshFacts,
}

/// What was in the way, and what to do about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trouble {
    pub what: String,
    pub then: String,
}

/// The mesh that is meant.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// What said so: `--dir`, the context in use, …
    pub by: String,
    pub members: Vec<String>,
    /// It is a mesh of `mainstay up` that does not run.
    pub asleep: Option<String>,
}

/// The file with this operator's identity.
#[derive(Debug, Clone)]
pub struct IdentityFile {
    pub path: String,
    /// Why it is of no use.
    pub unusable: Option<String>,
    /// Permission bits.
    pub mode: u32,
    pub identity: Option<Identity>,
    pub ends: WallTime,
}

/// One member, as it was found from here.
#[derive(Debug, Clone, Default)]
pub struct MemberFacts {
    pub address: String,
    /// What it is called, where that is known.
    pub name: String,
    /// How long an answer took.
    pub answered_in_ms: u64,
    pub answer: Answer,
}

/// What came of asking a member.
#[derive(Debug, Clone, Default)]
pub enum Answer {
    /// Nothing is there, or nothing gets through.
    Unreachable(String),
    /// Somebody is there, and one of the two does not take the other's certificate.
    Certificate(String),
    /// It answered with a refusal.
    Refused(String),
    /// How it describes itself, and how far its clock is ahead of this machine's.
    Described(Box<MemberDescription>, i64),
    #[default]
    NotAsked,
}

/// The mesh, as its leader knows it. What could not be had is named.
#[derive(Debug, Clone, Default)]
pub struct MeshFacts {
    pub status: Option<Status>,
    pub nodes: Vec<Node>,
    pub check: Option<CheckResponse>,
    pub plans: Vec<Plan>,
    pub runs: Vec<WaitingRun>,
    /// Ended runs that leave something to a person.
    pub unsettled: Vec<Run>,
    /// Which questions had no answer, and why.
    pub unanswered: Vec<(String, String)>,
}

/// An open run, and for what it has waited longest.
#[derive(Debug, Clone)]
pub struct WaitingRun {
    pub id: String,
    pub paused_by: String,
    pub longest_ms: u64,
    pub step: String,
    pub target: String,
    pub reason: String,
}
