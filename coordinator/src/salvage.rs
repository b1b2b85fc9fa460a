//! `mainstay-coordinator --salvage FILE`: the snapshot of a mesh from the disk of one member, when there are too few
//! others to ask.
//!
//! In: the directory of a coordinator that does not run. Out: a file for `mainstay mesh recover`, and in words what
//! cannot be in it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_client::clock::SystemClock;
use mainstay_client::failpoint::Point;
use mainstay_client::files;
use mainstay_client::identity::{IdentityError, root_sha256s};
use mainstay_core::snapshot::{self, SnapshotError, Survivor, Taken};

use crate::ca::{Home, HomeError};
use crate::run::VERSION;
use crate::settings::Settings;
use crate::store::{Disk, StartError};

/// Why there is no such snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SalvageError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Store(#[from] StartError),
    #[error("the roots of this mesh: {0}")]
    Roots(#[from] IdentityError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("{path} cannot be written: {source}", path = path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Writes what the member of these settings has to `file`; says in words what that is.
///
/// # Errors
/// When the coordinator runs, its disk is damaged, or the file cannot be written. The disk is as it was.
pub async fn salvage(settings: &Settings, file: &Path) -> Result<String, SalvageError> {
    let disk = Disk::existing(&settings.dir.join("state"))?;
    let home = Home::open(&settings.dir, settings.identity.clone(), Arc::new(SystemClock))?;
    let salvaged = disk.salvage().await?;
    let (member, state, agreed) = (salvaged.member, salvaged.state, salvaged.agreed);
    let name = state.members.get(&member).map_or_else(|| member.to_string(), |known| known.name.clone());
    let taken = Taken {
        applied: salvaged.applied,
        wall: state.wall_time,
        version: VERSION.to_owned(),
        roots: root_sha256s(&home.roots().pem())?,
        survivor: Some(Survivor { member, name: name.clone(), agreed }),
    };
    let bytes = snapshot::encode(&state, taken)?.concat();
    files::write_atomic(Point::Saved, file, &bytes, 0o600).map_err(|source| SalvageError::Write { path: file.to_owned(), source })?;
    let (applied, to, dir) = (salvaged.applied, file.display(), settings.dir.display());
    Ok(format!(
        "{to}: what {name} ({member}) had of mesh {mesh} · incarnation {incarnation} · {applied} entries, of which it knew {agreed} to be agreed on\n\
         What the other members had agreed on and {name} did not have is not in it.\n\
         If a majority of them can still be had, start them instead: nothing is lost then. If not, begin again from it:\n  \
         mainstay mesh recover --from {to} --dir {dir} --replace --dry-run\n",
        mesh = home.mesh(),
        incarnation = state.incarnation,
    ))
}
