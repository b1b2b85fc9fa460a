//! What each member does about its files, all the time: gets those it lacks, says which it has, removes those
//! that no record names, and reads one after the other again to see whether it is still what it was.
//!
//! A round looks at the state as it is and keeps nothing but pauses, so that whatever was missed is seen in the
//! next one. Rounds are made when the records or the files change, and every few seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdSet;
use mainstay_client::clock::Clock;
use mainstay_client::files::Content;
use mainstay_client::random::{self, Backoff};
use mainstay_core::artifact::FileDigest;
use mainstay_core::{MemberId, State, bounds};
use mainstay_proto::v1;
use mainstay_proto::v1::copies_client::CopiesClient;
use tokio_util::sync::CancellationToken;

use super::{Artifacts, FileSource};

/// Between two rounds, when nothing happens.
const EVERY: Duration = Duration::from_secs(10);
/// After a change, for more of them to be seen together.
const SETTLE: Duration = Duration::from_millis(200);
/// Files fetched in one round.
const FETCHES: usize = 16;
/// Bytes a second that are fetched, so that a member that lost its disk does not crowd out the rest.
const FETCH_RATE: f64 = (64 << 20) as f64;
/// Between two tries to fetch one file.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// For the leader to take a note.
const NOTE: Duration = Duration::from_secs(6);

/// Sees to the files of one member.
pub struct Keeper {
    artifacts: Artifacts,
    retries: BTreeMap<FileDigest, Retry>,
}

struct Retry {
    not_before: Duration,
    pauses: Backoff,
}

/// A file that records name.
struct Wanted {
    bytes: u64,
    stored_on: OrdSet<MemberId>,
    /// Every record says that this member has it.
    always_here: bool,
    /// One at least does.
    ever_here: bool,
}

impl Keeper {
    pub(super) fn new(artifacts: Artifacts) -> Keeper {
        Keeper { artifacts, retries: BTreeMap::new() }
    }

    /// Goes on until `end`.
    pub async fn run(mut self, clock: Arc<dyn Clock>, end: CancellationToken) {
        let rounds = async {
            let mut applied = self.artifacts.consensus.applied();
            loop {
                let state = applied.borrow_and_update().state.clone();
                if self.round(&state, &*clock).await {
                    continue;
                }
                let change = async {
                    while applied.changed().await.is_ok() && applied.borrow_and_update().state.artifacts.by_run.ptr_eq(&state.artifacts.by_run) {}
                };
                let shelf = Arc::clone(self.artifacts.shelf());
                tokio::select! {
                    () = change => tokio::time::sleep(SETTLE).await,
                    () = shelf.changed() => tokio::time::sleep(SETTLE).await,
                    () = tokio::time::sleep(random::jitter(EVERY, 0.2)) => {}
                }
            }
        };
        end.run_until_cancelled(rounds).await;
    }

    /// Whether there is more to do at once.
    async fn round(&mut self, state: &State, clock: &dyn Clock) -> bool {
        let wanted = self.wanted(state);
        self.say(&wanted).await;
        let goes_on = self.fetch_missing(&wanted, clock).await;
        if self.knows_all() {
            let keep = self.artifacts.settings.keep_unnamed;
            self.artifacts.shelf().remove_unnamed(|digest| wanted.contains_key(digest), keep).await;
        }
        self.verify_one(clock).await;
        goes_on
    }

    fn wanted(&self, state: &State) -> BTreeMap<FileDigest, Wanted> {
        let me = self.artifacts.consensus.member();
        let mut wanted: BTreeMap<FileDigest, Wanted> = BTreeMap::new();
        for (_, _, artifact) in state.artifacts.all() {
            let here = artifact.stored_on.contains(&me);
            let new = || Wanted { bytes: artifact.file.bytes, stored_on: OrdSet::new(), always_here: true, ever_here: false };
            let entry = wanted.entry(artifact.file.sha256).or_insert_with(new);
            entry.stored_on.extend(artifact.stored_on.iter().copied());
            entry.always_here &= here;
            entry.ever_here |= here;
        }
        wanted
    }

    /// Tells the leader where the state is wrong about this member.
    async fn say(&self, wanted: &BTreeMap<FileDigest, Wanted>) {
        let (mut present, mut absent) = (Vec::new(), Vec::new());
        for (digest, file) in wanted {
            let here = self.artifacts.shelf().holds(&Content { bytes: file.bytes, sha256: *digest });
            if here && !file.always_here {
                present.push(digest.to_string());
            } else if !here && file.ever_here {
                absent.push(digest.to_string());
            }
            if present.len() + absent.len() == bounds::ARTIFACT_NOTES {
                break;
            }
        }
        if present.is_empty() && absent.is_empty() {
            return;
        }
        let leader = self.artifacts.consensus.leadership().borrow().leader.clone();
        let Some(address) = leader.and_then(|leader| leader.peer).map(|peer| peer.address) else { return };
        let note = v1::NoteCopiesRequest { present, absent };
        let told = self.artifacts.peers.ask(&address, NOTE, |channel| async move { CopiesClient::new(channel).note(note).await });
        if let Err(error) = told.await {
            tracing::debug!(%error, "the leader does not note which files are here; it is told again");
        }
    }

    /// Gets some of the files that others have. Whether there are more to be had at once.
    async fn fetch_missing(&mut self, wanted: &BTreeMap<FileDigest, Wanted>, clock: &dyn Clock) -> bool {
        let (me, now) = (self.artifacts.consensus.member(), clock.monotonic());
        self.retries.retain(|digest, _| wanted.contains_key(digest));
        let content = |digest: &FileDigest, file: &Wanted| Content { bytes: file.bytes, sha256: *digest };
        let missing: Vec<_> = wanted.iter().filter(|(digest, file)| !self.artifacts.shelf().holds(&content(digest, file))).collect();
        self.artifacts.metrics.missing.set(i64::try_from(missing.len()).unwrap_or(i64::MAX));
        let is_due = |digest: &FileDigest| self.retries.get(digest).is_none_or(|retry| retry.not_before <= now);
        let can_be_had = |file: &Wanted| file.stored_on.iter().any(|member| *member != me);
        let due: Vec<_> = missing.into_iter().filter(|(digest, file)| is_due(digest) && can_be_had(file)).collect();
        for (digest, file) in due.iter().take(FETCHES) {
            match self.artifacts.fetch_here(content(digest, file), &file.stored_on).await {
                Ok(()) => {
                    self.retries.remove(*digest);
                    tokio::time::sleep(Duration::from_secs_f64(file.bytes as f64 / FETCH_RATE)).await;
                }
                Err(error) => {
                    tracing::info!(sha256 = %digest, %error, "a file that others have is still missing here; it is fetched again later");
                    let new = || Retry { not_before: now, pauses: Backoff::new(AGAIN.0, AGAIN.1) };
                    let retry = self.retries.entry(**digest).or_insert_with(new);
                    retry.not_before = clock.monotonic() + retry.pauses.pause();
                }
            }
        }
        due.len() > FETCHES
    }

    /// Whether this member knows of every record there is, near enough: what it does not know of is young, and
    /// young files are not removed.
    fn knows_all(&self) -> bool {
        let consensus = &self.artifacts.consensus;
        let gauges = consensus.gauges();
        consensus.leadership().borrow().leader.is_some() && gauges.applied_index >= gauges.committed_index
    }

    async fn verify_one(&self, clock: &dyn Clock) {
        let shelf = self.artifacts.shelf();
        let Some(before) = clock.monotonic().checked_sub(self.artifacts.settings.verify_every) else { return };
        let Some(content) = shelf.next_to_verify(before) else { return };
        // What is wrong with it has been said, and it has been set aside.
        drop(shelf.read(content).await);
    }
}

impl Artifacts {
    /// Gets a file from whoever has it, onto this member's shelf.
    async fn fetch_here(&self, content: Content, from: &OrdSet<MemberId>) -> Result<(), String> {
        let mut receiving = self.shelf.receive(content).map_err(|error| error.to_string())?;
        let pieces = self.fetch(content, from.iter().copied()).await.map_err(|none| none.to_string())?;
        let mut source = FileSource::There(pieces);
        while let Some(piece) = source.next().await {
            receiving.write(piece?).await.map_err(|error| error.to_string())?;
        }
        receiving.finish().await.map_err(|error| error.to_string())?;
        self.metrics.fetched.inc();
        Ok(())
    }
}
