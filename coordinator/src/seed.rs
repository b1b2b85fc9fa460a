//! The state from which a recovered mesh begins: `recovered.snapshot`, put by `mainstay mesh recover` beside the
//! identity of the mesh's new first member.
//!
//! In: that file, a disk on which nothing has been. Out: a disk that is a mesh of one member with that state, and
//! the file gone. When this is interrupted, the next start does it again.

use std::io;
use std::path::{Path, PathBuf};

use mainstay_client::failpoint::Point;
use mainstay_client::files;
use mainstay_core::State;
use mainstay_core::snapshot::{self, About, SnapshotError};
use mainstay_core::state::member::Member;

use crate::ca::Home;
use crate::store::{Disk, Peer, StartError};

/// A state to begin with.
pub struct Seed {
    path: PathBuf,
    about: About,
    state: State,
}

/// Why a mesh does not begin from it.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error("{path} cannot be used: {source}. `mainstay mesh recover` makes another one", path = path.display())]
    Snapshot {
        path: PathBuf,
        #[source]
        source: SnapshotError,
    },
    #[error("{path} cannot be {doing}: {source}", path = path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is of mesh {found}, and the certificate here is of mesh {own}: recover with that mesh's root key", path = path.display())]
    OtherMesh { path: PathBuf, found: String, own: String },
    #[error(transparent)]
    Store(#[from] StartError),
}

impl Seed {
    /// The seed in a coordinator's directory, if there is one.
    pub fn find(dir: &Path, home: &Home) -> Result<Option<Seed>, SeedError> {
        let path = dir.join(snapshot::SEED_FILE);
        let bytes = match files::read_bounded(&path, snapshot::BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SeedError::Io { doing: "read", path, source }),
        };
        let (about, state) = snapshot::decode(&bytes).map_err(|source| SeedError::Snapshot { path: path.clone(), source })?;
        if about.mesh != home.mesh() {
            return Err(SeedError::OtherMesh { path, found: about.mesh.to_string(), own: home.mesh().to_string() });
        }
        Ok(Some(Seed { path, about, state }))
    }

    /// Makes the disk the mesh's first, and the seed a thing of the past.
    pub fn plant(self, disk: &Disk, member: &Member) -> Result<(), SeedError> {
        disk.plant(Peer { address: member.address.clone() }, self.about.applied, &self.state)?;
        files::remove(Point::SeedDrop, &self.path).map_err(|source| SeedError::Io { doing: "removed", path: self.path.clone(), source })?;
        let (mesh, incarnation) = (self.about.mesh, self.about.incarnation);
        tracing::warn!(%mesh, incarnation, applied = self.about.applied, member = %disk.member(), "the mesh begins again, from a snapshot, with this member alone");
        Ok(())
    }
}
