//! What Mainstay decides, and nothing of how it is carried out.
//!
//! Data flow: a [`Command`] goes into the replicated log inside an [`Entry`], [`State::apply`] turns the
//! entry into the next [`State`] and a [`Reply`], and [`decide`] looks at the state and at what only the
//! leader knows ([`Seen`]) and answers with further commands and with the reasons for which anything
//! waits ([`Waits`]). Agents use the same crate for the pure half of their own work ([`reconcile`]).
//!
//! Plans hold conditions and values that are computed ([`expr`]), and schedules, windows and freezes
//! ([`calendar`]). Those need libraries whose answers may change from one version to the next, so
//! [`state`] and [`State::apply`] never use them: who proposes a command evaluates first, and the result
//! goes into the command. A test holds this.
//!
//! Nothing here does I/O, reads a clock, draws a random number or runs asynchronously: times, ids and
//! random values enter inside a command. The crate's dependencies keep it so.

pub mod aftermath;
pub mod almanac;
pub mod artifact;
pub mod authz;
pub mod backup;
pub mod bounds;
pub mod calendar;
pub mod catalogue;
pub mod certificate;
pub mod codec;
pub mod command;
pub mod condition;
pub mod decide;
pub mod evaluate;
pub mod expr;
pub mod fact;
pub mod freshness;
pub mod id;
pub mod identity;
pub mod invariant;
pub mod outlook;
pub mod plan;
pub mod preview;
pub mod reconcile;
pub mod redact;
pub mod reply;
pub mod report;
pub mod rollout;
pub mod seen;
pub mod snapshot;
pub mod state;
pub mod stuck;
pub mod time;
pub mod voucher;
pub mod wait;

pub use command::{Actor, Command, Entry, RequestKey};
pub use decide::{Decision, decide};
pub use id::{AgentId, AttemptId, LeaseName, LedgerId, MemberId, PlanName, RunId, StepName, Target, Token};
pub use identity::Identity;
pub use reply::{Refusal, Reply};
pub use seen::Seen;
pub use state::State;
pub use time::{MeshTime, Millis, WallTime};
pub use wait::Waits;
