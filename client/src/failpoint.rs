//! Failpoints: the named places at which a process writes to its disk. A test can have the process die there, before
//! or after what it wrote is on the disk, and have the disk lose what it was not asked to keep.
//!
//! ```text
//! MAINSTAY_FAILPOINT=POINT:STEP[:nth=N][:lose[=SEED]]    where to die, at the N-th time
//! MAINSTAY_FAILPOINT_FIRED=FILE                          written when it happened; where it is, nothing happens again
//! MAINSTAY_FAILPOINTS_SEEN=FILE                          a line for each point and step that was passed
//! ```
//! `lose` makes a power cut of it: whatever was written, made, renamed or removed and not synced is taken back first;
//! with a seed, only some of what was written. Every write goes through [`crate::files`], which asks for a point.
//!
//! Without debug assertions none of this is there: [`ARMABLE`] is false, and nothing reads these variables.

#[cfg(not(debug_assertions))]
mod absent;
#[cfg(debug_assertions)]
mod armed;
#[cfg(debug_assertions)]
pub(crate) mod effects;
#[cfg(debug_assertions)]
pub mod trial;

#[cfg(not(debug_assertions))]
pub use absent::Doing;
#[cfg(not(debug_assertions))]
pub(crate) use absent::effects;
#[cfg(debug_assertions)]
pub use armed::Doing;

/// What happens to the disk of one machine of several in a process.
#[cfg(debug_assertions)]
pub mod outage {
    pub use super::armed::{Loss, refuse_by, witness};
    pub use super::effects::{cut_power, keep_account, settle};
}

/// Whether a process of this build can be told to die at a failpoint.
pub const ARMABLE: bool = cfg!(debug_assertions);

/// How far a write has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Nothing of it has been written.
    Write,
    /// A half of it has been written.
    Torn,
    /// All of it has been written, and may be lost.
    Sync,
    /// The content is on the disk.
    Synced,
    /// It is to be given its name, or to lose it.
    Name,
    /// It has its name, and may lose that again.
    Named,
    /// The name is on the disk too.
    Done,
}

impl Step {
    pub const ALL: [Step; 7] = [Step::Write, Step::Torn, Step::Sync, Step::Synced, Step::Name, Step::Named, Step::Done];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Step::Write => "write",
            Step::Torn => "torn",
            Step::Sync => "sync",
            Step::Synced => "synced",
            Step::Name => "name",
            Step::Named => "named",
            Step::Done => "done",
        }
    }
}

/// Declares the points: one line for each, with its name and what is written there.
macro_rules! points {
    ($($point:ident = $name:literal, $what:literal;)+) => {
        /// A place at which a process writes to its disk.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Point {
            $(#[doc = $what] $point,)+
        }

        impl Point {
            /// All of them.
            pub const ALL: &'static [Point] = &[$(Point::$point,)+];

            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Point::$point => $name,)+
                }
            }
        }
    };
}

points! {
    // Of every program.
    Identity = "identity", "A key, its certificate, and the roots that are trusted.";
    Lock = "lock", "The empty file that keeps other processes out of a directory.";
    // Of a coordinator: its disk.
    StoreDirectory = "store.directory", "The directories of a member's disk.";
    StoreIdentity = "store.identity", "Whose disk it is, and whether it has had a log.";
    StoreDistrust = "store.distrust", "The mark of a disk that was found wrong.";
    StoreSetAside = "store.set-aside", "A disk that was found wrong goes out of the way.";
    StoreLeftover = "store.leftover", "What an interrupted write has left goes.";
    StoreReserve = "store.reserve", "Room that is kept for a full disk is taken.";
    StoreGiveUp = "store.give-up", "Room that was kept for a full disk is given up.";
    LogOpen = "log.open", "The log is made, or repaired.";
    LogAppend = "log.append", "Entries of the log.";
    LogVote = "log.vote", "The vote.";
    LogCut = "log.cut", "Entries that another leader did not agree to go.";
    LogPurge = "log.purge", "Entries that a snapshot holds go.";
    LogClose = "log.close", "The log is closed.";
    LogMark = "log.mark", "How far the log has been on the disk.";
    SnapshotBuild = "snapshot.build", "A snapshot of the member's own.";
    SnapshotReceive = "snapshot.receive", "A snapshot that another member sends.";
    SnapshotAdopt = "snapshot.adopt", "A snapshot that was received takes its place.";
    SnapshotCopy = "snapshot.copy", "A snapshot from elsewhere is copied to its place.";
    SnapshotDamaged = "snapshot.damaged", "A damaged snapshot that is not needed goes out of the way.";
    SnapshotOld = "snapshot.old", "A snapshot goes that two newer ones follow.";
    // Of a coordinator: what is beside its disk.
    MemberRecord = "member.record", "Which member lives in a directory.";
    Roots = "member.roots", "The roots that a member trusts.";
    Issuer = "member.issuer", "A key or certificate that a member signs with.";
    IssuerDrop = "member.issuer-drop", "A key or certificate that a member does not sign with any more goes.";
    SeedDrop = "member.seed-drop", "The state that a recovered mesh has begun with goes.";
    ArtifactDirectory = "artifact.directory", "The directories of files of steps.";
    ArtifactReceive = "artifact.receive", "A file of a step.";
    ArtifactSetAside = "artifact.set-aside", "A damaged file of a step goes out of the way.";
    ArtifactRemove = "artifact.remove", "A file of a step goes.";
    // Of an agent.
    AgentDirectory = "agent.directory", "The directories of an agent.";
    LedgerOpen = "ledger.open", "The ledger is made, or repaired.";
    LedgerAccept = "ledger.accept", "An attempt was accepted.";
    LedgerBegin = "ledger.begin", "An attempt has begun.";
    LedgerEnd = "ledger.end", "An attempt has ended.";
    LedgerForget = "ledger.forget", "An attempt that the mesh knows all about goes.";
    LedgerSeen = "ledger.seen", "A new incarnation of the mesh was seen.";
    LedgerClose = "ledger.close", "The ledger is closed.";
    LedgerMark = "ledger.mark", "How far the ledger has been on the disk.";
    Spool = "spool", "A file that waits to be sent.";
    SpoolRemove = "spool.remove", "A file that was sent goes.";
    UndoKey = "undo-key", "The key that undo data is encrypted to.";
    // Of the command line.
    CliDirectory = "cli.directory", "A directory that a command needs.";
    Contexts = "cli.contexts", "The meshes that a person works with.";
    RootKey = "cli.root", "A root and its key.";
    RootKeyDrop = "cli.root-drop", "A root's key without its certificate goes.";
    Provision = "cli.provision", "What a member signs with, given by whoever has the root's key.";
    ProvisionDrop = "cli.provision-drop", "The certificate that a member signed with goes before it is given another.";
    Settings = "cli.settings", "The settings of a coordinator that is laid out.";
    RecoverSetAside = "recover.set-aside", "What was there before a recovery goes out of the way.";
    RecoverSeed = "recover.seed", "The state that a recovered mesh begins with.";
    Saved = "cli.saved", "A file that a person asked for: a snapshot, a support bundle.";
    SavedArtifact = "cli.artifact", "A file of a step that a person asked for.";
    UpRecord = "up.record", "What `mainstay up` needs to go on with its mesh.";
    UpPolicy = "up.policy", "What the agents of `mainstay up` may do.";
    UpToken = "up.token", "A join token for an agent.";
    UpTokenDrop = "up.token-drop", "A join token that was used goes.";
    UpLog = "up.log", "What a child of `mainstay up` prints.";
    UpLogTurn = "up.log-turn", "A long log makes room for the next.";
}

#[cfg(test)]
mod tests;
