//! The streams of a source on their way to a store: one after the other, or a few at a time where the source allows it.

use age::x25519::Recipient;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{WriteError, cancellable};
use crate::encode::{EncodeError, encode};
use crate::manifest::Part;
use crate::name::{Id, Object};
use crate::progress::Teller;
use crate::source::{Source, SourceError, Stream};
use crate::store::{Store, Upload};

/// Parts of a backup.
const PARTS_MAX: usize = 1_000;
/// Whatever a source allows: each takes up to 36 MiB.
const AT_ONCE_MAX: usize = 8;

/// Where they go, and to whom they are encrypted.
pub(super) struct To<'t> {
    pub store: &'t Store,
    pub id: &'t Id,
    pub keys: &'t [Recipient],
}

/// Reads all streams to their ends, and stores them; in the order in which they were opened, and when the last of them was. Where
/// one fails, the others are called off, and have given up what they had stored when this comes back.
pub(super) async fn all(
    to: &To<'_>,
    source: &mut dyn Source,
    now: &(dyn Fn() -> Timestamp + Sync),
    progress: &Teller,
    cancel: &CancellationToken,
) -> Result<(Vec<Part>, Option<Timestamp>), WriteError> {
    let calling_off = cancel.child_token();
    let mut under_way = FuturesUnordered::new();
    let reading = async {
        let (mut names, mut done, mut is_last, mut opened) = (Vec::new(), Vec::new(), false, None);
        loop {
            while !is_last && under_way.len() < source.at_once().clamp(1, AT_ONCE_MAX) {
                let Some(stream) = cancellable(cancel, source.next()).await?? else {
                    is_last = true;
                    break;
                };
                let object = Object::part(&stream.name)?;
                if names.len() == PARTS_MAX || names.contains(&stream.name) {
                    return Err(SourceError::new(stream.name, "there are two of this name, or more parts than can be kept").into());
                }
                opened = Some(now());
                let at = names.len();
                names.push(stream.name.clone());
                let upload = to.store.upload(&to.id.object(&object))?;
                under_way.push(one(at, stream, upload, to.keys.to_vec(), progress, &calling_off));
            }
            match under_way.next().await {
                Some(part) => done.push(part?),
                None if is_last => return Ok((done, opened)),
                None => {}
            }
        }
    };
    let read: Result<_, WriteError> = reading.await;
    if read.is_err() {
        calling_off.cancel();
        while under_way.next().await.is_some() {}
    }
    let (mut done, opened) = read?;
    done.sort_by_key(|(at, _)| *at);
    Ok((done.into_iter().map(|(_, part)| part).collect(), opened))
}

/// One of them, and its place among the others.
async fn one(
    at: usize,
    stream: Stream,
    upload: Upload,
    keys: Vec<Recipient>,
    progress: &Teller,
    cancel: &CancellationToken,
) -> Result<(usize, Part), WriteError> {
    let Stream { name, content, reader } = stream;
    progress.part(&name);
    match encode(reader, keys, upload, progress, cancel).await {
        Ok(stored) => Ok((at, Part { name, content: content.to_owned(), plain: stored.plain, stored: stored.stored })),
        Err(EncodeError::Cancelled) => Err(WriteError::Cancelled),
        Err(source) => Err(WriteError::Part { part: name, source }),
    }
}
