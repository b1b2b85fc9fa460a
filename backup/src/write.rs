//! Makes a backup.
//!
//! Two who make one of the same target are kept apart by what each writes first and reads second: each says that it has
//! begun, and then looks who else has. So of two, at least one sees the other. The one with the greater token makes void what
//! the other has not finished; the one with the lesser token stops. A writer that was paused for an hour is one of those
//! two, whenever it goes on: it finds the greater token when it looks, or its manifest's name taken when it ends.

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::encode::EncodeError;
use crate::keys::{Identities, Recipients, for_check};
use crate::manifest::{self, Begun, CanOpen, Manifest, NotARecord, OfKey, OfSource, Outcome, RECORD_MAX, Role, Taken, VERSION, Void, after};
use crate::name::{Id, NotAName, Object, Target, Token, owner};
use crate::progress::Teller;
use crate::receipt::{Receipt, Sign};
use crate::seam::Stopwatch;
use crate::source::{Source, SourceError};
use crate::store::{Created, Store, StoreError};
use crate::target_key::{self, NoKey};

mod parts;

/// What is to be made.
#[derive(Debug, Clone)]
pub struct Order {
    /// Of what.
    pub target: Target,
    /// When it begins.
    pub time: Timestamp,
    /// Of the lease `backup/CLUSTER/TARGET`, which whoever orders it holds.
    pub token: Token,
    /// Unique for the process and the attempt.
    pub writer: String,
    /// Those that belong together carry one name.
    pub set: Option<String>,
    /// Who can open it.
    pub recipients: Recipients,
    /// The target's key, where somebody with more rights has chosen it; it is chosen here, if left out.
    pub key: Option<OfKey>,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The source could not be read; before anything was written, or after.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part was not stored.
    #[error("part {part}: {source}")]
    Part {
        /// Its name.
        part: String,
        /// Why.
        #[source]
        source: EncodeError,
    },
    /// Somebody has begun a later one.
    #[error("{by} has begun since: this one was ordered under token {own}, which counts no more")]
    Overtaken {
        /// The later one.
        by: Id,
        /// The token of this one.
        own: Token,
    },
    /// Somebody made it void.
    #[error("it was made void by the holder of token {by}: {why}")]
    Sealed {
        /// Who.
        by: Token,
        /// In their words.
        why: String,
    },
    /// Somebody else writes the same one.
    #[error("{0} is being written by somebody else, or was")]
    Taken(Id),
    /// It was called off.
    #[error("it was cancelled")]
    Cancelled,
    /// There is no key of the target to encrypt to.
    #[error(transparent)]
    Key(#[from] NoKey),
    /// A stream with a name that cannot be stored.
    #[error(transparent)]
    Name(#[from] NotAName),
    /// Something is there that does not belong there.
    #[error("{object}: {source}")]
    Record {
        /// Which.
        object: String,
        /// Why.
        #[source]
        source: NotARecord,
    },
    /// The store has lost what it took.
    #[error("{0} was written, and reading it back gives something else: this store does not keep what it takes")]
    Lost(String),
}

/// What was written; not checked, and counted by nobody yet.
#[derive(Debug)]
pub struct Written {
    /// What it is.
    pub manifest: Manifest,
    /// SHA-256 of `manifest.json`, as it was read back.
    pub digest: String,
    /// Opens it, for the check right after. It is nowhere else.
    pub check: Identities,
    /// Unfinished ones of the same target that were made void.
    pub sealed: Vec<Id>,
}

/// Makes a backup. It is there, and unconfirmed, when this comes back well. What was begun and not finished is made void.
///
/// # Errors
/// Why there is none.
pub async fn write(
    store: &Store,
    order: Order,
    source: &mut dyn Source,
    progress: &Teller,
    cancel: &CancellationToken,
) -> Result<Written, WriteError> {
    let watch = Stopwatch::start();
    let versions = cancellable(cancel, source.look()).await??;
    let id = Id::new(order.target.clone(), order.time, order.token);
    if order.key.is_some() && store.read(&id.object(&Object::Begun), RECORD_MAX).await?.is_some() {
        // A worker that is started a second time has the same orders, and would pass for the first one.
        return Err(WriteError::Taken(id));
    }
    begin(store, &id, &order.writer).await?;
    let attempt = async {
        let sealed = seal_earlier(store, &id).await?;
        let key = match &order.key {
            Some(of) => target_key::given(of)?,
            None => cancellable(cancel, target_key::choose(store, &id.target, &order.recipients)).await??,
        };
        let (checker, check) = for_check();
        let mut recipients = order.recipients.who_can_open();
        recipients.push(CanOpen { role: Role::Check, key: checker.to_string() });
        // To the target's key and to nothing that lasts besides, so that nothing opens it when that is destroyed.
        let keys = [key.recipient, checker];
        // By the clock of whoever ordered it, as its name is.
        let now = || after(order.time, milliseconds(&watch));
        let from = now();
        let (parts, opened) = parts::all(&parts::To { store, id: &id, keys: &keys }, source, &now, progress, cancel).await?;
        let to = if source.has_snapshot() { opened.unwrap_or(from) } else { now() };
        let counted = cancellable(cancel, source.end()).await??;
        let manifest = Manifest {
            backup: id.clone(),
            writer: order.writer.clone(),
            set: order.set.clone(),
            source: OfSource { kind: source.kind().to_owned(), versions, counted },
            parts,
            key: Some(key.of),
            recipients,
            took_ms: milliseconds(&watch),
            taken: Some(Taken { from, to }),
        };
        let digest = commit(store, &manifest).await?;
        Ok(Written { manifest, digest, check, sealed })
    };
    let outcome = attempt.await;
    if let Err(error) = &outcome
        && !matches!(error, WriteError::Sealed { .. } | WriteError::Taken(_))
        && let Err(also) = seal(store, &id, order.token, &error.to_string()).await
    {
        tracing::warn!(backup = %id, "it could not be marked as void: {also}; without a manifest it counts for nothing in any case");
    }
    outcome
}

fn milliseconds(watch: &Stopwatch) -> u64 {
    u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX)
}

async fn cancellable<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Result<T, WriteError> {
    cancel.run_until_cancelled(work).await.ok_or(WriteError::Cancelled)
}

fn record<T: serde::Serialize>(object: &str, record: &T) -> Result<Vec<u8>, WriteError> {
    manifest::bytes_of(record).map_err(|source| WriteError::Record { object: object.to_owned(), source })
}

/// Says who has begun. From here on the names of this backup are this writer's.
async fn begin(store: &Store, id: &Id, writer: &str) -> Result<(), WriteError> {
    let object = id.object(&Object::Begun);
    let begun = record(&object, &Begun { version: VERSION, backup: id.clone(), writer: writer.to_owned() })?;
    match store.create(&object, &begun).await? {
        Created::Exists => return Err(WriteError::Taken(id.clone())),
        Created::New => {}
    }
    // Where a store overwrites, the later of two writers is found here by the earlier.
    match store.read(&object, RECORD_MAX).await? {
        Some(there) if there == begun => Ok(()),
        Some(_) => Err(WriteError::Taken(id.clone())),
        None => Err(WriteError::Lost(object)),
    }
}

/// Looks who else has begun: a later one ends this one, and earlier ones that have not ended are made void.
async fn seal_earlier(store: &Store, id: &Id) -> Result<Vec<Id>, WriteError> {
    let mut others: Vec<Id> = store.list(&id.target.to_string()).await?.iter().filter_map(|listed| Some(owner(&listed.name)?.0)).collect();
    others.dedup();
    others.retain(|other| other != id);
    if let Some(by) = others.iter().find(|other| other.token > id.token) {
        return Err(WriteError::Overtaken { by: by.clone(), own: id.token });
    }
    if let Some(same) = others.iter().find(|other| other.token == id.token) {
        return Err(WriteError::Taken(same.clone()));
    }
    let mut sealed = Vec::new();
    for other in others {
        if seal(store, &other, id.token, &format!("{id} has begun")).await? {
            sealed.push(other);
        }
    }
    Ok(sealed)
}

/// Makes a backup void, unless it has come to its end. Says whether it was this call that did it.
async fn seal(store: &Store, id: &Id, by: Token, why: &str) -> Result<bool, WriteError> {
    let object = id.object(&Object::Manifest);
    // Where a store overwrites, what has come to its end must not be.
    if store.read(&object, RECORD_MAX).await?.is_some() {
        return Ok(false);
    }
    let void = Void { backup: id.clone(), by, why: why.to_owned() };
    if store.create(&object, &record(&object, &Outcome::Void(void.clone()))?).await? == Created::Exists {
        return Ok(false);
    }
    // A second word, under a name that no writer of a backup writes: where a store overwrites, it outlives the first.
    let object = id.object(&Object::Sealed);
    store.create(&object, &record(&object, &Outcome::Void(void))?).await?;
    Ok(true)
}

/// Writes the manifest, if nobody has shut the door; its digest, as it was read back.
async fn commit(store: &Store, manifest: &Manifest) -> Result<String, WriteError> {
    let id = &manifest.backup;
    let object = id.object(&Object::Manifest);
    let ours = record(&object, &Outcome::Manifest(manifest.clone()))?;
    store.create(&object, &ours).await?;
    // Whatever the store answered: what stands there counts, and what stands beside it.
    let there = store.read(&object, RECORD_MAX).await?.ok_or_else(|| WriteError::Lost(object.clone()))?;
    if there != ours {
        return Err(sealed_by(&object, &there, id));
    }
    let object = id.object(&Object::Sealed);
    match store.read(&object, RECORD_MAX).await? {
        Some(void) => Err(sealed_by(&object, &void, id)),
        None => Ok(manifest::digest(&there)),
    }
}

/// What somebody else has written to its end, and its digest: a worker, of whom only the store can say what came of it.
///
/// # Errors
/// When it is not there, is void, or is another writer's.
pub async fn written_by(store: &Store, id: &Id, writer: &str) -> Result<(Manifest, String), WriteError> {
    let object = id.object(&Object::Manifest);
    let there = store.read(&object, RECORD_MAX).await?.ok_or_else(|| WriteError::Lost(object.clone()))?;
    let manifest = match manifest::read::<Outcome>(&there) {
        Ok(Outcome::Manifest(manifest)) if manifest.backup == *id && manifest.writer == writer => manifest,
        _ => return Err(sealed_by(&object, &there, id)),
    };
    let object = id.object(&Object::Sealed);
    match store.read(&object, RECORD_MAX).await? {
        Some(void) => Err(sealed_by(&object, &void, id)),
        None => Ok((manifest, manifest::digest(&there))),
    }
}

fn sealed_by(object: &str, there: &[u8], id: &Id) -> WriteError {
    match manifest::read::<Outcome>(there) {
        Ok(Outcome::Void(void)) => WriteError::Sealed { by: void.by, why: void.why },
        Ok(Outcome::Manifest(_)) => WriteError::Taken(id.clone()),
        Err(source) => WriteError::Record { object: object.to_owned(), source },
    }
}

/// Writes the receipt: the catalogue counts this backup. To be called after its entry has been committed, and again as often
/// as one likes.
///
/// # Errors
/// When it cannot be signed or stored; the backup stays unconfirmed then.
pub async fn confirm(store: &Store, id: &Id, digest: &str, by: &dyn Sign) -> Result<Receipt, ConfirmError> {
    let object = id.object(&Object::Receipt);
    let receipt = Receipt::sign(id.clone(), digest.to_owned(), by).map_err(ConfirmError::NotSigned)?;
    let bytes = manifest::bytes_of(&receipt).map_err(|source| ConfirmError::Record { object: object.clone(), source })?;
    if store.create(&object, &bytes).await? == Created::Exists {
        let there = store.read(&object, RECORD_MAX).await?.unwrap_or_default();
        let there: Receipt = manifest::read(&there).map_err(|source| ConfirmError::Record { object: object.clone(), source })?;
        if there.backup != *id || there.manifest != digest {
            return Err(ConfirmError::Other { object });
        }
    }
    Ok(receipt)
}

/// Why there is no receipt.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// No signature.
    #[error("the receipt could not be signed: {0}")]
    NotSigned(String),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something is there that does not belong there.
    #[error("{object}: {source}")]
    Record {
        /// Which.
        object: String,
        /// Why.
        #[source]
        source: NotARecord,
    },
    /// Another receipt is there.
    #[error("{object} is a receipt for something else")]
    Other {
        /// Which.
        object: String,
    },
}
