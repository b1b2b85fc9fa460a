//! The key that undo data is encrypted to. It is made when it is first needed, and never leaves this node.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use mainstay_client::failpoint::Point;
use mainstay_client::files;
use mainstay_client::work;

/// A key is one line; a file larger than this is something else.
const FILE_MAX: u64 = 4 << 10;

/// Why undo data was not encrypted, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the key of undo data, {}: {source}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{} is not a key: what was encrypted to the right one can only be read when that is put back", path.display())]
    NotAKey { path: PathBuf },
    #[error("undo data cannot be encrypted: {0}")]
    NotSealed(String),
    #[error("undo data cannot be decrypted with {}: {why}; it was made with another key, and what the step did has to be taken back by hand", path.display())]
    NotOpened { path: PathBuf, why: String },
}

/// Where the key is. It is in memory only while it is used.
#[derive(Debug, Clone)]
pub(super) struct UndoKey {
    path: PathBuf,
    /// One attempt at a time makes it: what one has encrypted must not be to a key that another has replaced.
    making: Arc<Mutex<()>>,
}

impl UndoKey {
    pub fn at(path: PathBuf) -> UndoKey {
        UndoKey { path, making: Arc::default() }
    }

    /// Encrypts, in the age format.
    pub async fn seal(&self, plain: Vec<u8>) -> Result<Vec<u8>, KeyError> {
        let key = self.clone();
        let sealing = work::blocking(move || {
            let identity = key.load_or_make()?;
            age::encrypt(&identity.to_public(), &plain).map_err(|error| KeyError::NotSealed(error.to_string()))
        });
        sealing.await.unwrap_or_else(|broken| Err(KeyError::NotSealed(broken.to_string())))
    }

    pub async fn open(&self, sealed: Vec<u8>) -> Result<Vec<u8>, KeyError> {
        let (key, path) = (self.clone(), self.path.clone());
        let opening = work::blocking(move || {
            let identity = key.load()?;
            age::decrypt(&identity, &sealed).map_err(|error| KeyError::NotOpened { path: key.path, why: error.to_string() })
        });
        opening.await.unwrap_or_else(|broken| Err(KeyError::NotOpened { path, why: broken.to_string() }))
    }

    fn load(&self) -> Result<Identity, KeyError> {
        let text = files::read_text(&self.path, FILE_MAX).map_err(|source| KeyError::File { path: self.path.clone(), source })?;
        text.trim().parse().map_err(|_| KeyError::NotAKey { path: self.path.clone() })
    }

    fn load_or_make(&self) -> Result<Identity, KeyError> {
        let _alone = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        match self.load() {
            Err(KeyError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            loaded => return loaded,
        }
        let identity = Identity::generate();
        let line = format!("{}\n", identity.to_string().expose_secret());
        files::write_atomic(Point::UndoKey, &self.path, line.as_bytes(), 0o600)
            .map_err(|source| KeyError::File { path: self.path.clone(), source })?;
        Ok(identity)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mainstay_client::failpoint::trial::{self, Trial};

    use super::*;

    #[tokio::test]
    async fn attempts_that_need_a_key_at_the_same_time_have_the_same_one() {
        let dir = tempfile::tempdir().unwrap();
        let key = UndoKey::at(dir.path().join("undo.key"));
        let sealing = (0..16).map(|number| {
            let key = key.clone();
            tokio::spawn(async move { key.seal(vec![number]).await.unwrap() })
        });
        let sealed = futures::future::join_all(sealing.collect::<Vec<_>>()).await;
        for (number, sealed) in (0..).zip(sealed) {
            assert_eq!(key.open(sealed.unwrap()).await.unwrap(), [number]);
        }
    }

    /// Runs only as a child of the test below.
    #[tokio::test]
    async fn child() {
        let Some((_, place)) = trial::asked() else { return };
        let sealed = UndoKey::at(place.join("undo.key")).seal(b"what it was".to_vec()).await.unwrap();
        files::write_atomic(Point::Saved, &place.join("sealed"), &sealed, 0o600).unwrap();
        trial::note(&place, "sealed");
        // A power cut afterwards.
        drop(files::lock_exclusive(&place.join("end")));
    }

    #[test]
    fn undo_data_can_be_read_whenever_its_agent_died() {
        let judge = |place: &Path| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
            let key = UndoKey::at(place.join("undo.key"));
            let open = |sealed: Vec<u8>| runtime.block_on(key.open(sealed)).map_err(|error| error.to_string());
            if trial::noted(place).is_empty() {
                let sealed = runtime.block_on(key.seal(b"again".to_vec())).map_err(|error| error.to_string())?;
                return open(sealed).map(drop);
            }
            let sealed = files::read_bounded(&place.join("sealed"), 1 << 20).map_err(|error| error.to_string())?;
            open(sealed).and_then(|plain| if plain == b"what it was" { Ok(()) } else { Err("it is something else".to_owned()) })
        };
        let trial = Trial { test: "artifacts::key::tests::child", job: "seal" };
        trial.everywhere(&[Point::UndoKey, Point::Lock], &["", ":lose"], || tempfile::tempdir().unwrap(), judge);
    }
}
