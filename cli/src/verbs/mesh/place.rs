//! Where a recovered mesh begins: the directory of one coordinator, or that of a mesh of `mainstay up`.
//!
//! In: a directory, and what an old coordinator may have left in it. Out: the same directory with the identity,
//! the issuer and the seed of a new first member; what was there is set aside, and never removed.

use std::path::{Path, PathBuf};

use mainstay_client::failpoint::Point;
use mainstay_client::files::{self, LockError};
use mainstay_client::random;
use mainstay_core::{MemberId, snapshot};

use super::recover::Signer;
use crate::authority;
use crate::error::CliError;
use crate::host;
use crate::up::ground;
use crate::up::layout::Layout;
use crate::up::record::{Record, address};

/// A place, with what is there.
pub struct Place {
    pub dir: PathBuf,
    pub kind: Kind,
}

pub enum Kind {
    /// One coordinator's, on a server.
    Coordinator { name: String },
    /// A whole mesh on this machine.
    Up { layout: Layout, record: Record },
}

/// What has been put in place.
pub struct Put {
    /// Directories that were set aside.
    pub aside: Vec<PathBuf>,
}

impl Place {
    /// Looks at the directory; `name` is the new first member's.
    pub fn find(dir: &Path, name: Option<&str>) -> Result<Place, CliError> {
        let dir = std::path::absolute(dir).map_err(|error| CliError::usage(format!("{}: {error}", dir.display())))?;
        let layout = Layout::new(&dir);
        let Some(record) = Record::load(&layout)? else {
            let name = name.unwrap_or("c1").to_owned();
            return Ok(Place { dir, kind: Kind::Coordinator { name } });
        };
        if layout.is_alive() {
            return Err(CliError::failed(format!("a mesh runs in {}", dir.display()))
                .with_next("end it first: `mainstay up` ends with Ctrl-C")
                .with_next(format!("or look at it:  mainstay --dir {} status", dir.display())));
        }
        let first = record.coordinators.first().map(|first| first.name.clone()).unwrap_or_default();
        if let Some(name) = name.filter(|name| *name != first) {
            return Err(CliError::usage(format!("the first member of the mesh in {} is {first}, and --name says {name}", dir.display())));
        }
        Ok(Place { dir, kind: Kind::Up { layout, record } })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        match &self.kind {
            Kind::Coordinator { name } => name,
            Kind::Up { record, .. } => record.coordinators.first().map_or("c1", |first| &first.name),
        }
    }

    /// The new first member's own directory.
    #[must_use]
    pub fn first_dir(&self) -> PathBuf {
        match &self.kind {
            Kind::Coordinator { .. } => self.dir.clone(),
            Kind::Up { layout, .. } => layout.part(self.name()),
        }
    }

    /// Directories of coordinators whose disks are still there.
    #[must_use]
    pub fn disks(&self) -> Vec<PathBuf> {
        let dirs = match &self.kind {
            Kind::Coordinator { .. } => vec![self.dir.clone()],
            Kind::Up { layout, record } => record.coordinators.iter().map(|member| layout.part(&member.name)).collect(),
        };
        dirs.into_iter().filter(|dir| files::exists(&dir.join("state"))).collect()
    }

    /// That nobody works here, and that nothing is here that nobody has given up.
    pub fn check(&self, replace: bool) -> Result<(), CliError> {
        let disks = self.disks();
        for dir in &disks {
            if let Err(LockError::Held(_)) = files::lock_exclusive(&dir.join("state/lock")) {
                return Err(CliError::failed(format!("a coordinator runs in {}", dir.display())).with_next("stop it first"));
            }
        }
        if replace || disks.is_empty() {
            return Ok(());
        }
        let (what, start) = match &self.kind {
            Kind::Coordinator { .. } => {
                (format!("{} has a coordinator's disk", self.dir.display()), "start it:  mainstay-coordinator --config …".to_owned())
            }
            Kind::Up { record, .. } => (
                format!("{} of {} members still have their disks in {}", disks.len(), record.coordinators.len(), self.dir.display()),
                format!("start them:  mainstay up --dir {}", self.dir.display()),
            ),
        };
        Err(CliError::failed(format!("{what}: what is on it is newer than any snapshot, and is better gone on with"))
            .with_next(start)
            .with_next("if it is of no use any more, set it aside and recover:  --replace"))
    }

    /// Sets aside what was there, and puts everything of the new first member in its place. The seed comes last:
    /// without it, nothing has begun. `moment` names what is set aside.
    pub fn put(self, signer: &Signer, member: MemberId, seed: &[u8], moment: i64) -> Result<Put, CliError> {
        let first = self.first_dir();
        files::create_private_dir(Point::CliDirectory, &first)
            .map_err(|error| CliError::failed(format!("{} cannot be made: {error}", first.display())))?;
        let owner = self.dir.clone();
        let mut aside = Vec::new();
        for dir in self.disks() {
            aside.push(set_aside(&dir, &["state"], moment)?);
        }
        // Whose disk this was is not the new member's past.
        if files::exists(&first.join("member.toml")) {
            aside.push(set_aside(&first, &["member.toml"], moment)?);
        }
        signer.put(&first, self.name(), member)?;
        if let Kind::Up { layout, mut record } = self.kind {
            for (place, coordinator) in record.coordinators.iter_mut().enumerate() {
                coordinator.id = if place == 0 { member } else { MemberId(random::number()) }.to_string();
            }
            // The others join; no coordinator forms a mesh any more.
            record.formed = true;
            record.store(&layout)?;
        }
        let file = first.join(snapshot::SEED_FILE);
        files::write_atomic(Point::RecoverSeed, &file, seed, 0o600)
            .map_err(|error| CliError::failed(format!("{} cannot be written: {error}", file.display())))?;
        for made in ["identity.pem", "issuer.pem", "issuer.key", "roots.pem", snapshot::SEED_FILE] {
            host::give_to_owner_of(&owner, &first.join(made))
                .map_err(|error| CliError::failed(format!("{}: {error}", first.join(made).display())))?;
        }
        aside.dedup();
        Ok(Put { aside })
    }

    /// What starts the mesh.
    #[must_use]
    pub fn next(&self) -> Vec<String> {
        match &self.kind {
            Kind::Up { .. } => vec![format!("start it:  mainstay up --dir {}", self.dir.display())],
            Kind::Coordinator { name } => vec![
                "start it:  systemctl start mainstay-coordinator".to_owned(),
                format!("or by hand:  mainstay-coordinator --dir {} --name {name} --advertise HOST:7400", self.dir.display()),
                "then let further members join:  mainstay token create --coordinator".to_owned(),
            ],
        }
    }

    /// Where agents will look for it.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        match &self.kind {
            Kind::Up { record, .. } => record.coordinators.first().map(|first| address(first.grpc)),
            Kind::Coordinator { .. } => None,
        }
    }

    /// The mesh's root where it is kept with the mesh.
    pub fn own_root(&self, mesh: &mainstay_core::id::MeshName) -> Result<Option<authority::Authority>, CliError> {
        match &self.kind {
            Kind::Up { layout, .. } if files::exists(&layout.ca().join("root.key")) && mesh.as_str() == crate::up::record::MESH => {
                ground::authority(layout).map(Some)
            }
            _ => Ok(None),
        }
    }
}

fn set_aside(dir: &Path, names: &[&str], moment: i64) -> Result<PathBuf, CliError> {
    let aside = dir.join(format!("set-aside-{moment}"));
    let failed = |error: std::io::Error| CliError::failed(format!("{} cannot be set aside: {error}", dir.display()));
    files::create_private_dir(Point::CliDirectory, &aside).map_err(failed)?;
    for name in names {
        files::rename(Point::RecoverSetAside, &dir.join(name), &aside.join(name)).map_err(failed)?;
    }
    Ok(aside)
}
