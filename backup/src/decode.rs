//! One part on its way back.
//!
//! ```text
//! store ─▶ task: reads, SHA-256 ─▶ thread: age, zstd ─┬▶ who wants it
//!                                                      └▶ thread: SHA-256
//! ```
//!
//! What is given back is what was written, or an error: the last of it is held back until both sums are right, so that
//! nobody who reads to the end has read something else. Who must not touch anything before that is known reads it twice:
//! [`verify`] first.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::io::AsyncRead;

use crate::encode::{Summing, SummingAside};
use crate::keys::Identities;
use crate::manifest::{CanOpen, Manifest, Part, Role, Sum};
use crate::name::Object;
use crate::pipe::{self, CHUNK, Mouth, Tap};
use crate::progress::Teller;
use crate::seam::{self, Backoff};
use crate::store::{Store, StoreError, Why};
use crate::target_key;

/// Times that a read is taken up again where it broke off, without anything new in between.
const TRIES: u32 = 4;
/// Memory that decompression may take: what is written here needs 8 MiB at most.
const WINDOW_LOG_MAX: u32 = 27;

/// Why a part is not what was written.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// Its object is not there.
    #[error("{object} is missing: it is not in the store any more")]
    Missing {
        /// Its full name.
        object: String,
    },
    /// Its object has another length.
    #[error("{object} has {is} bytes, and {was} were written")]
    Length {
        /// Its full name.
        object: String,
        /// Now.
        is: u64,
        /// Then.
        was: u64,
    },
    /// It was changed.
    #[error("{object} is damaged: {what} is not as it was written")]
    Changed {
        /// Its full name.
        object: String,
        /// What differs.
        what: &'static str,
    },
    /// With these keys it cannot be told.
    #[error("none of these keys opens {object}: it was encrypted to {to}")]
    WrongKey {
        /// Its full name.
        object: String,
        /// Who can, in words.
        to: String,
    },
    /// It was not read to its end.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A name in the manifest that is none.
    #[error(transparent)]
    Name(#[from] crate::name::NotAName),
}

impl From<Damage> for io::Error {
    fn from(damage: Damage) -> io::Error {
        let kind = match &damage {
            Damage::Missing { .. } => io::ErrorKind::NotFound,
            Damage::WrongKey { .. } => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, damage)
    }
}

/// A part as the source gave it. It ends only if all of it was right; what is wrong is a [`Damage`] within the error.
///
/// # Errors
/// When it is not there to begin with.
pub async fn open(
    store: &Store,
    of: &Manifest,
    part: &Part,
    keys: &Identities,
    progress: &Teller,
) -> Result<impl AsyncRead + Send + Unpin + 'static, Damage> {
    let object = there(store, of, part).await?;
    let keys = target_key::opened(store, of, keys).await?;
    progress.part(&part.name);
    let (sealed_in, sealed_out) = pipe::to_thread();
    let (plain_in, plain_out) = pipe::to_task();
    let opening = Opening { object: object.clone(), to: in_words(&of.recipients), keys, was: part.plain.clone(), tell: progress.clone() };
    let (store, was, tell) = (store.clone(), part.stored.clone(), progress.clone());
    // Both end when nobody reads any more.
    tokio::spawn(async move {
        let fetched = fetch(&store, &object, &was, &sealed_in, &tell).await;
        sealed_in.end(fetched.map_err(io::Error::from)).await;
    });
    seam::blocking(move || {
        let outcome = opening.run(sealed_out, &plain_in);
        plain_in.put_end(outcome);
    });
    Ok(plain_out)
}

/// Reads a part to its end and throws it away: is it what was written?
///
/// # Errors
/// What is wrong with it.
pub async fn verify(store: &Store, of: &Manifest, part: &Part, keys: &Identities, progress: &Teller) -> Result<(), Damage> {
    let mut plain = open(store, of, part, keys, progress).await?;
    let outcome = tokio::io::copy(&mut plain, &mut tokio::io::sink()).await;
    outcome.map(drop).map_err(|error| damage(error, &part.name))
}

/// Reads a part as it is stored, and throws it away: are its bytes those that were written? Nobody's key is needed, and
/// nothing is said of what is in them.
///
/// # Errors
/// What is wrong with it.
pub async fn intact(store: &Store, of: &Manifest, part: &Part, progress: &Teller) -> Result<(), Damage> {
    let object = there(store, of, part).await?;
    progress.part(&part.name);
    let (sealed_in, mut sealed_out) = pipe::to_task();
    let (store, was, tell) = (store.clone(), part.stored.clone(), progress.clone());
    tokio::spawn(async move {
        let fetched = fetch(&store, &object, &was, &sealed_in, &tell).await;
        sealed_in.end(fetched.map_err(io::Error::from)).await;
    });
    let outcome = tokio::io::copy(&mut sealed_out, &mut tokio::io::sink()).await;
    outcome.map(drop).map_err(|error| damage(error, &part.name))
}

/// The name of a part's object, which is there in its size.
async fn there(store: &Store, of: &Manifest, part: &Part) -> Result<String, Damage> {
    let object = of.backup.object(&Object::part(&part.name)?);
    let found = store.list(&of.backup.to_string()).await?.into_iter().find(|listed| listed.name == object);
    let found = found.ok_or_else(|| Damage::Missing { object: object.clone() })?;
    if found.bytes != part.stored.bytes {
        return Err(Damage::Length { object, is: found.bytes, was: part.stored.bytes });
    }
    Ok(object)
}

/// What was wrong, out of an error that a reader was given.
#[must_use]
pub fn damage(error: io::Error, object: &str) -> Damage {
    match error.downcast::<Damage>() {
        Ok(damage) => damage,
        Err(_) => Damage::Changed { object: object.to_owned(), what: "what is in it" },
    }
}

pub(crate) fn in_words(recipients: &[CanOpen]) -> String {
    let name = |one: &CanOpen| {
        let role = match one.role {
            Role::BreakGlass => "the break-glass key",
            Role::Drill => "the drill key",
            Role::Check => return None,
        };
        Some(format!("{role} {}", one.key))
    };
    let named: Vec<String> = recipients.iter().filter_map(name).collect();
    if named.is_empty() { "nobody that its manifest names".to_owned() } else { named.join(" and ") }
}

/// Passes on what is stored, from where it broke off, and says whether that was it.
async fn fetch(store: &Store, object: &str, was: &Sum, into: &Mouth, progress: &Teller) -> Result<(), Damage> {
    let (mut sum, mut done) = (Summing::default(), 0);
    let mut broke = 0;
    let fresh = Backoff::new(store.patience().pause, store.patience().answer);
    let mut backoff = fresh.clone();
    'again: loop {
        let mut pieces = match store.stream(object, done).await {
            Ok(pieces) => pieces,
            Err(error) if error.why == Why::Missing => return Err(Damage::Missing { object: object.to_owned() }),
            Err(error) => {
                broke += 1;
                if broke == TRIES || !error.may_pass() {
                    return Err(error.into());
                }
                tokio::time::sleep(backoff.pause()).await;
                continue;
            }
        };
        while let Some(piece) = pieces.next().await {
            let mut piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    broke += 1;
                    if broke == TRIES || !error.may_pass() {
                        return Err(error.into());
                    }
                    tokio::time::sleep(backoff.pause()).await;
                    continue 'again;
                }
            };
            // It goes on: what broke before is no sign of what breaks next.
            broke = 0;
            backoff = fresh.clone();
            done += piece.len() as u64;
            if done > was.bytes {
                return Err(Damage::Length { object: object.to_owned(), is: done, was: was.bytes });
            }
            sum.add(&piece);
            progress.stored(piece.len());
            while !piece.is_empty() {
                let chunk = piece.split_to(piece.len().min(CHUNK));
                // Whoever wanted it is gone, and so is the question.
                if into.send(chunk).await.is_err() {
                    return Ok(());
                }
            }
        }
        break;
    }
    if done < was.bytes {
        return Err(Damage::Length { object: object.to_owned(), is: done, was: was.bytes });
    }
    if sum.sum() != *was {
        return Err(Damage::Changed { object: object.to_owned(), what: "its checksum" });
    }
    Ok(())
}

/// The thread that decrypts.
struct Opening {
    object: String,
    to: String,
    keys: Identities,
    was: Sum,
    tell: Teller,
}

impl Opening {
    fn run(&self, sealed: Tap, plain: &Mouth) -> io::Result<()> {
        let mut sealed = io::BufReader::with_capacity(CHUNK, sealed);
        let opened = age::Decryptor::new_buffered(&mut sealed).and_then(|decryptor| decryptor.decrypt(self.keys.all()));
        let opened = match opened {
            Ok(opened) => opened,
            Err(age::DecryptError::NoMatchingKeys) => return Err(Damage::WrongKey { object: self.object.clone(), to: self.to.clone() }.into()),
            Err(age::DecryptError::Io(error)) => return Err(self.cause(error)),
            Err(_) => return Err(self.changed("its header")),
        };
        let mut zstd = zstd::stream::read::Decoder::new(opened)?;
        zstd.window_log_max(WINDOW_LOG_MAX)?;
        let sum = SummingAside::start();
        let mut held = Bytes::new();
        loop {
            let next = self.chunk(&mut zstd)?;
            let Some(next) = next else { break };
            sum.add(next.clone())?;
            // One is always held back: the last of it goes out when everything is known to be right.
            let ready = std::mem::replace(&mut held, next);
            self.pass_on(plain, ready)?;
        }
        // What follows the compressed data was not written by us; and only here has the store's own sum been judged.
        let mut opened = zstd.finish();
        if io::copy(&mut opened, &mut io::sink()).map_err(|error| self.cause(error))? > 0 {
            return Err(self.changed("its end"));
        }
        drop(opened);
        io::copy(&mut sealed, &mut io::sink()).map_err(|error| self.cause(error))?;
        if sum.sum()? != self.was {
            return Err(self.changed("the checksum of what is in it"));
        }
        self.pass_on(plain, held)
    }

    fn pass_on(&self, plain: &Mouth, bytes: Bytes) -> io::Result<()> {
        self.tell.plain(bytes.len());
        Ok(plain.put(bytes)?)
    }

    /// The next chunk, full unless it is the last.
    fn chunk(&self, from: &mut impl Read) -> io::Result<Option<Bytes>> {
        let mut chunk = BytesMut::zeroed(CHUNK);
        let mut filled = 0;
        while filled < CHUNK {
            match from.read(&mut chunk[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.cause(error)),
            }
        }
        chunk.truncate(filled);
        Ok((filled > 0).then(|| chunk.freeze()))
    }

    /// What the store said goes before what came of it here.
    fn cause(&self, error: io::Error) -> io::Error {
        match error.downcast::<Damage>() {
            Ok(damage) => damage.into(),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => error,
            Err(_) => self.changed("what is in it"),
        }
    }

    fn changed(&self, what: &'static str) -> io::Error {
        Damage::Changed { object: self.object.clone(), what }.into()
    }
}
