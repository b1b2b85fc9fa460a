//! The key that undo data is encrypted to. It is made when it is first needed, and never leaves this node.

use std::path::PathBuf;

use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use mainstay_client::files;
use tokio::task::spawn_blocking;

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
}

impl UndoKey {
    pub fn at(path: PathBuf) -> UndoKey {
        UndoKey { path }
    }

    /// Encrypts, in the age format.
    pub async fn seal(&self, plain: Vec<u8>) -> Result<Vec<u8>, KeyError> {
        let key = self.clone();
        let sealing = spawn_blocking(move || {
            let identity = key.load_or_make()?;
            age::encrypt(&identity.to_public(), &plain).map_err(|error| KeyError::NotSealed(error.to_string()))
        });
        sealing.await.unwrap_or_else(|broken| Err(KeyError::NotSealed(broken.to_string())))
    }

    pub async fn open(&self, sealed: Vec<u8>) -> Result<Vec<u8>, KeyError> {
        let (key, path) = (self.clone(), self.path.clone());
        let opening = spawn_blocking(move || {
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
        match self.load() {
            Err(KeyError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            loaded => return loaded,
        }
        let identity = Identity::generate();
        let line = format!("{}\n", identity.to_string().expose_secret());
        files::write_atomic(&self.path, line.as_bytes(), 0o600).map_err(|source| KeyError::File { path: self.path.clone(), source })?;
        // Two attempts may make one at the same time: what counts is what is in the file.
        self.load()
    }
}
