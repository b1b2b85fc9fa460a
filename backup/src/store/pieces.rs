//! What a store gives, piece by piece.

use std::io::SeekFrom;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::{GetResult, GetResultPayload};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::pipe::CHUNK;

/// A file is read here: its own stream has pieces of 8 KiB, each fetched by another thread, and a gigabyte has a hundred
/// thousand of them.
pub(super) fn of(got: GetResult) -> BoxStream<'static, object_store::Result<Bytes>> {
    match got.payload {
        GetResultPayload::Stream(stream) => stream,
        GetResultPayload::File(file, _) => {
            let range = got.range;
            let opened = async move {
                let mut file = tokio::fs::File::from_std(file);
                file.seek(SeekFrom::Start(range.start)).await.map_err(unread)?;
                Ok::<_, object_store::Error>(ReaderStream::with_capacity(file.take(range.end - range.start), CHUNK).map_err(unread))
            };
            futures::stream::once(opened).try_flatten().boxed()
        }
    }
}

fn unread(error: std::io::Error) -> object_store::Error {
    object_store::Error::Generic { store: "a directory", source: error.into() }
}
