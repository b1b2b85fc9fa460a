//! Objects of Kubernetes, as a file that `kubectl apply -f` takes, or one after the other for whoever makes them: all of them, or
//! some, in their own namespaces or in others. No API server is asked, so that nothing is in the way of putting them back that is
//! not in the way of kubectl.
#![allow(clippy::disallowed_methods, reason = "this module is where objects are put")]

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::{PlaceError, files::is_empty};
use crate::pipe::CHUNK;
use crate::seam;
use crate::source::kubernetes::{Lines, Tally};

mod choice;
mod each;

pub use choice::{Choice, NotAChoice};
pub use each::Each;

/// One object a line; kubectl takes a file of this name, and a directory with it.
const NAME: &str = "objects.json";

/// What was put there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Put {
    /// What is there now, in the namespaces where it is to be.
    pub objects: Tally,
    /// All that there was, in the namespaces from which it came.
    pub seen: Tally,
}

/// Writes objects there. The file has its name only when all of it is there, was right, and is on the disk.
///
/// # Errors
/// When something is there already, it could not be written, or nothing is chosen.
pub async fn write(from: impl AsyncRead + Unpin, into: &Path, choice: &Choice) -> Result<(PathBuf, Put), PlaceError> {
    let place = into.display().to_string();
    let wrong = |error: io::Error| PlaceError::new(&place, error);
    is_empty(into).map_err(wrong)?;
    let (unfinished, finished) = (into.join("objects.json.unfinished"), into.join(NAME));
    // There may be Secrets in it.
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(wrong)?;
    let put = pass_on(from, &mut file, choice).await.map_err(wrong)?;
    let dir = into.to_owned();
    let naming = seam::blocking({
        let finished = finished.clone();
        move || {
            file.sync_all()?;
            fs::rename(&unfinished, &finished)?;
            fs::OpenOptions::new().read(true).open(dir)?.sync_all()
        }
    });
    naming.await.map_err(|broken| PlaceError::new(&place, broken))?.map_err(wrong)?;
    Ok((finished, put))
}

/// Writes objects into something else, such as a pipe: what is wrong may be known only after some of it was written. Who must not
/// have that reads it before ([`crate::decode::verify`]).
///
/// # Errors
/// As [`write`].
pub async fn pass_on(mut from: impl AsyncRead + Unpin, into: &mut impl Write, choice: &Choice) -> io::Result<Put> {
    let (mut lines, mut put, mut buffer) = (Lines::default(), Put::default(), vec![0; CHUNK]);
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        lines.add(&buffer[..read], |line| {
            put.seen.add(line)?;
            let Some(chosen) = choice.of(line)? else { return Ok(()) };
            put.objects.add(&chosen)?;
            into.write_all(&chosen)?;
            into.write_all(b"\n")
        })?;
    }
    lines.end()?;
    if put.objects.count() == 0 && put.seen.count() > 0 {
        return Err(io::Error::other(format!("none of its {} objects is one that was asked for", put.seen.count())));
    }
    into.flush()?;
    Ok(put)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a\",\"namespace\":\"shop\"}}\n\
                        {\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"b\",\"namespace\":\"shop\"}}\n";

    #[tokio::test]
    async fn a_file_has_its_name_when_all_of_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let there = |name: &str| fs::read_to_string(dir.path().join(name)).ok();
        let error = write(&TEXT.as_bytes()[..TEXT.len() - 1], dir.path(), &Choice::default()).await.unwrap_err();
        assert!(error.to_string().contains("in the middle of an object") && there(NAME).is_none(), "{error}");
        let error = write(TEXT.as_bytes(), dir.path(), &Choice::default()).await.unwrap_err();
        assert!(error.to_string().contains("it is not empty"), "{error}");
        let within = dir.path().join("new");
        let (file, put) = write(TEXT.as_bytes(), &within, &Choice::default()).await.unwrap();
        assert_eq!((file, put.objects.count(), there("new/objects.json").as_deref()), (within.join(NAME), 2, Some(TEXT)));
    }

    #[tokio::test]
    async fn some_of_them_are_put_elsewhere() {
        let choice = Choice::read(&["copy".to_owned()], &["ConfigMap/*".to_owned()], &[], &["shop"]).unwrap();
        let mut came = Vec::new();
        let put = pass_on(TEXT.as_bytes(), &mut came, &choice).await.unwrap();
        let expected = TEXT.lines().next().unwrap().replace("shop", "copy") + "\n";
        assert_eq!((String::from_utf8(came).unwrap(), put.seen.count(), put.objects.count()), (expected, 2, 1));
        let none = Choice::read(&[], &["Deployment".to_owned()], &[], &["shop"]).unwrap();
        let error = pass_on(TEXT.as_bytes(), &mut Vec::new(), &none).await.unwrap_err();
        assert_eq!(error.to_string(), "none of its 2 objects is one that was asked for");
    }
}
