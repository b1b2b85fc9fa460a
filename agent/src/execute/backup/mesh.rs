//! The mesh itself as what is backed up: its own snapshot, which the mesh gives to an attempt that is at it, and to no agent
//! otherwise.
//!
//! It is held in memory whole, which a snapshot's own limit bounds, and looked at before the first byte of it goes out: what
//! cannot be read back is no backup. What it has stands in the manifest, for checks and drills.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use mainstay_backup::drill::{DrillError, Drilled};
use mainstay_backup::judge::{Judged, Standing};
use mainstay_backup::keys::Identities;
use mainstay_backup::manifest::Manifest;
use mainstay_backup::progress::Teller;
use mainstay_backup::seam::Stopwatch;
use mainstay_backup::source::{Source, SourceError, Stream, mesh};
use mainstay_backup::{Store, decode, open};
use mainstay_client::work;
use mainstay_core::report::{Check, Verdict};
use mainstay_core::snapshot::facts::{self, Facts};
use mainstay_core::snapshot::{self, BYTES_MAX};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use super::super::Context;
use super::Catalogue;
use crate::connections::{Connection, ConnectionKind};

/// What is said about, where nothing else is.
const MESH: &str = "the mesh";

/// That a step says what it is given: the mesh itself is not backed up by a step that did not mean it, nor anything else by
/// one that did.
///
/// # Errors
/// In words, what to write.
pub(super) fn is_meant(connection: &Connection, says_mesh: bool) -> Result<(), String> {
    let name = &connection.name;
    match (connection.kind == ConnectionKind::Mesh, says_mesh) {
        (true, false) => Err(format!("{name} leads to the mesh itself: the step is to say so, by  mesh: true")),
        (false, true) => Err(format!("the step says  mesh: true, and {name} is of kind {}; see {}", connection.kind, connection.declared_at)),
        _ => Ok(()),
    }
}

/// The mesh's snapshot, of the moment at which it is read.
pub(super) struct Snapshot {
    mesh: Catalogue,
    /// Of the lease under which it is backed up; empty where it is only looked at.
    token: String,
    facts: Option<Facts>,
}

impl Snapshot {
    /// As the attempt of this context is given it.
    pub fn of(context: &Context) -> Snapshot {
        Snapshot { mesh: context.catalogue.clone(), token: context.labels.token.clone().unwrap_or_default(), facts: None }
    }

    /// All of it, and what it has.
    async fn read(&self) -> Result<(Vec<u8>, Facts), SourceError> {
        let wrong = |why: &dyn std::fmt::Display| SourceError::new(MESH, why.to_string());
        let bytes = self.mesh.read_mesh(&self.token).await.map_err(|why| wrong(&why))?;
        let looking = work::blocking(move || {
            let decoded = snapshot::decode(&bytes).map(|(about, state)| Facts::of(&about, &state));
            decoded.map(|facts| (bytes, facts))
        });
        let looked = looking.await.map_err(|error| wrong(&error))?;
        looked.map_err(|error| wrong(&format!("the snapshot that came is not usable: {error}")))
    }
}

impl Source for Snapshot {
    fn kind(&self) -> &'static str {
        mesh::KIND
    }

    fn has_snapshot(&self) -> bool {
        true
    }

    fn look(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, String>, SourceError>> {
        // Whether it is given is known only under the lease, which a look does not take.
        let versions = BTreeMap::from([("agent".to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
        let looked = if self.mesh.is_there() { Ok(versions) } else { Err(SourceError::new(MESH, "this agent is of none")) };
        async move { looked }.boxed()
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Stream>, SourceError>> {
        async move {
            if self.facts.is_some() {
                return Ok(None);
            }
            let (bytes, facts) = self.read().await?;
            self.facts = Some(facts);
            Ok(Some(Stream { name: mesh::PART.to_owned(), content: mesh::CONTENT, reader: Box::new(Cursor::new(bytes)) }))
        }
        .boxed()
    }

    fn end(&mut self) -> BoxFuture<'_, Result<BTreeMap<String, Value>, SourceError>> {
        let counted = self.facts.as_ref().map(Facts::counted).unwrap_or_default();
        async move { Ok(counted) }.boxed()
    }
}

/// Whether it is a backup of a mesh.
pub(super) fn is_of(manifest: &Manifest) -> bool {
    manifest.source.kind == mesh::KIND
}

/// What the newest backup of a mesh says of itself, held against the one before it; nothing of a backup of something else.
pub(super) fn judged(newest: &Judged, all: &[Judged]) -> Option<Check> {
    const ID: &str = "backup.mesh";
    let manifest = newest.manifest.as_ref().filter(|manifest| is_of(manifest))?;
    let Some(is) = Facts::read(&manifest.source.counted) else {
        return Some(Check::stated(ID, "", Verdict::Warning, "its manifest does not say what is in it, so that no drill can compare it"));
    };
    let earlier = all.iter().filter(|one| one.standing == Standing::Good && one.id != newest.id);
    let before = earlier.max_by_key(|one| (one.id.time, one.id.token)).and_then(|one| Facts::read(&one.manifest.as_ref()?.source.counted));
    let odd = before.and_then(|before| is.odd_after(&before));
    Some(match odd {
        Some(odd) => Check::stated(ID, "", Verdict::Warning, odd)
            .with_hint("right after  mainstay mesh recover  that is so once; else look who else writes there"),
        None => Check::stated(ID, "", Verdict::Ok, format!("mesh {}, incarnation {}, {} entries applied", is.mesh, is.incarnation, is.applied)),
    })
}

/// Rehearses to begin the mesh again from a backup: in memory, for nobody.
///
/// # Errors
/// When it could not be tried, or no mesh begins from it, or it was called off.
pub(super) async fn drill(
    store: &Store,
    manifest: &Manifest,
    keys: &Identities,
    deadline: Duration,
    tell: &Teller,
    cancel: &CancellationToken,
) -> Result<Drilled, DrillError> {
    let watch = Stopwatch::start();
    let took = || u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
    let rehearsing = async {
        let bytes = plain(store, manifest, keys, tell).await?;
        let was = Facts::read(&manifest.source.counted);
        let rehearsed = work::blocking(move || facts::rehearse(&bytes, was.as_ref())).await;
        let rehearsed = rehearsed.map_err(|error| DrillError::NotTried(error.to_string()))?;
        let (is, differs) = rehearsed.map_err(|error| DrillError::NotRestored(error.to_string()))?;
        let has: Vec<String> = is.has.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let compared = format!("mesh {}, {} entries applied, {}", is.mesh, is.applied, has.join(", "));
        Ok::<_, DrillError>(Drilled { compared, differs, restored_ms: took(), took_ms: took() })
    };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(DrillError::Cancelled),
        ended = tokio::time::timeout(deadline, rehearsing) => ended.unwrap_or_else(|_| {
            Err(DrillError::NotRestored(format!("it was not restored within {} s, which is the limit", deadline.as_secs())))
        }),
    }
}

/// The snapshot in a backup, decrypted. It is as it was written when this comes back.
async fn plain(store: &Store, manifest: &Manifest, keys: &Identities, tell: &Teller) -> Result<Vec<u8>, DrillError> {
    let not_restored = |why: String| DrillError::NotRestored(why);
    let part = manifest.parts.iter().find(|part| part.content == mesh::CONTENT);
    let part = part.ok_or_else(|| not_restored(format!("it has no part of {}", mesh::CONTENT)))?;
    if part.plain.bytes > BYTES_MAX {
        return Err(not_restored(format!("it has {} bytes, and no snapshot has more than {BYTES_MAX}", part.plain.bytes)));
    }
    let reader = open(store, manifest, part, keys, tell).await.map_err(|damage| not_restored(damage.to_string()))?;
    let mut bytes = Vec::new();
    // One that says less than it has is found by its checksum; it is not read on for that.
    let read = reader.take(BYTES_MAX + 1).read_to_end(&mut bytes).await;
    read.map_err(|error| not_restored(decode::damage(error, &part.name).to_string()))?;
    Ok(bytes)
}
