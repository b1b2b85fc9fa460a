//! `mainstay mesh recover`: from a snapshot to the directory of a new first coordinator.

use std::path::Path;

use mainstay_client::failpoint::Point;
use mainstay_client::identity::{Issuer, root_sha256s};
use mainstay_client::{files, random};
use mainstay_core::snapshot::{self, About, Taken};
use mainstay_core::state::recovery::Recovery;
use mainstay_core::{Identity, MemberId};

use super::account::{self, Recovered};
use super::bucket;
use super::place::Place;
use crate::args::{self, Global};
use crate::authority::{self, Authority};
use crate::error::CliError;
use crate::exit::Exit;
use crate::verbs::{Screen, now, zone};

/// Makes the directory, or says what would be made.
pub async fn recover(args: &args::mesh::Recover, global: &Global, screen: Screen) -> Result<Exit, CliError> {
    let dir = global.dir.as_deref().ok_or_else(|| {
        CliError::usage("in which directory is the mesh to begin again? --dir says it")
            .with_next("a coordinator's own, usually /var/lib/mainstay, or that of a mesh of `mainstay up`")
    })?;
    let Source { from, bytes, taken } = source(args, screen).await?;
    let (about, mut state) = snapshot::decode(&bytes).map_err(|error| CliError::usage(format!("{from} cannot be recovered from: {error}")))?;
    let place = Place::find(dir, args.name.as_deref())?;
    place.check(args.replace)?;
    let signer = Signer::find(args, &place, &about)?;

    let wall = now();
    let member = MemberId(random::number());
    let incarnation = incarnation(about.incarnation, args.above, wall.0);
    let recovery = Recovery { incarnation, wall, taken: about.taken, member };
    let done = state.recover(&recovery).map_err(|refusal| CliError::failed(refusal.to_string()))?;
    let mut told = Recovered {
        mesh: about.mesh.to_string(),
        from,
        backup: taken,
        taken: about.taken,
        now: wall,
        before: about.incarnation,
        incarnation,
        applied: about.applied,
        member,
        name: place.name().to_owned(),
        dir: place.dir.clone(),
        address: place.address(),
        dry_run: args.dry_run,
        account: done,
        survivor: about.survivor.clone(),
        aside: Vec::new(),
        next: place.next(),
    };
    if !args.dry_run {
        let taken = Taken { applied: about.applied, wall, version: env!("CARGO_PKG_VERSION").to_owned(), roots: about.roots, survivor: None };
        let seed = snapshot::encode(&state, taken).map_err(|error| CliError::failed(error.to_string()))?.concat();
        told.aside = place.put(&signer, member, &seed, wall.0 / 1_000)?.aside;
    }
    screen.show(&told.json(), |_| account::render(&told, screen.terminal, &zone()))?;
    Ok(Exit::Success)
}

/// A snapshot, and where it was.
struct Source {
    /// For words: a file's name, or a store's.
    from: String,
    bytes: Vec<u8>,
    /// Which backup it is, where it is one.
    taken: Option<bucket::Taken>,
}

/// The file, or the backup out of a store. That one is in memory only: no copy of it in plain is left on a disk.
async fn source(args: &args::mesh::Recover, screen: Screen) -> Result<Source, CliError> {
    if let Some(file) = &args.from {
        let bytes = files::read_bounded(file, snapshot::BYTES_MAX);
        let bytes = bytes.map_err(|error| CliError::usage(format!("{} cannot be read: {error}", file.display())))?;
        return Ok(Source { from: file.display().to_string(), bytes, taken: None });
    }
    let (taken, bytes) = bucket::read(&args.bucket, screen).await?;
    Ok(Source { from: taken.place.clone(), bytes, taken: Some(taken) })
}

/// Above the snapshot's, above what is said, and above what an earlier recovery from the same snapshot has
/// taken: that one is not known here, so the seconds of the clock are taken, which only go on.
fn incarnation(snapshot: u64, above: u64, wall_ms: i64) -> u64 {
    let seconds = u64::try_from(wall_ms / 1_000).unwrap_or(0);
    seconds.max(snapshot.saturating_add(1)).max(above.saturating_add(1))
}

/// Who signs the new first member's certificate.
pub enum Signer {
    Root(Authority),
    /// What an old coordinator signed with, and the roots that it handed out.
    Issuer {
        issuer: Issuer,
        roots_pem: String,
        mesh: mainstay_core::id::MeshName,
    },
}

impl Signer {
    /// What was named, or what lies at the place itself; under a root that the agents of the mesh trust.
    fn find(args: &args::mesh::Recover, place: &Place, about: &About) -> Result<Signer, CliError> {
        let signer = match (&args.root_key, &args.issuer) {
            (Some(file), _) => Signer::Root(Authority::from_file(file, &about.mesh)?),
            (None, Some(dir)) => {
                Signer::of_dir(dir, about)?.ok_or_else(|| CliError::usage(format!("{} has no issuer.pem and issuer.key", dir.display())))?
            }
            (None, None) => match place.own_root(&about.mesh)? {
                Some(authority) => Signer::Root(authority),
                None => Signer::of_dir(&place.first_dir(), about)?.ok_or_else(|| {
                    CliError::usage("nobody here can sign for the mesh: agents would not trust the new coordinator")
                        .with_next("give the root's key that was kept elsewhere:   --root-key FILE")
                        .with_next("or the directory of an old coordinator:        --issuer DIR")
                })?,
            },
        };
        signer.check(about)?;
        Ok(signer)
    }

    fn of_dir(dir: &Path, about: &About) -> Result<Option<Signer>, CliError> {
        let Some(issuer) = authority::issuer_in(dir)? else { return Ok(None) };
        let roots_pem = authority::read(&dir.join("roots.pem"))?
            .ok_or_else(|| CliError::usage(format!("{} has an issuer and no roots.pem: put the mesh's root certificate there", dir.display())))?;
        Ok(Some(Signer::Issuer { issuer, roots_pem, mesh: about.mesh.clone() }))
    }

    fn roots_pem(&self) -> &str {
        match self {
            Signer::Root(authority) => authority.root_pem(),
            Signer::Issuer { roots_pem, .. } => roots_pem,
        }
    }

    /// The agents trust the roots that the snapshot names, and no other.
    fn check(&self, about: &About) -> Result<(), CliError> {
        let own = root_sha256s(self.roots_pem()).map_err(|error| CliError::usage(error.to_string()))?;
        if own.iter().any(|root| about.roots.contains(root)) {
            return Ok(());
        }
        Err(CliError::usage(format!("this is not a root of mesh {}: its agents would not trust what it signs", about.mesh))
            .with_next(format!("the snapshot names {}", about.roots.join(", ")))
            .with_next(format!("given is           {}", own.join(", "))))
    }

    /// Puts identity, issuer and roots of the new member into its directory.
    pub fn put(&self, dir: &Path, name: &str, member: MemberId) -> Result<(), CliError> {
        let identity = Identity::Coordinator(member);
        let (bundle, issuer) = match self {
            Signer::Root(authority) => {
                let issuer = authority.issuer(name)?;
                (authority.issue(&issuer, &identity)?, issuer)
            }
            Signer::Issuer { issuer, roots_pem, mesh } => {
                let copy = Issuer::from_pem(issuer.cert_pem(), &issuer.key_pem()).map_err(|error| CliError::failed(error.to_string()))?;
                (authority::issue(issuer, mesh, roots_pem, &identity)?, copy)
            }
        };
        authority::put_issuer(dir, issuer.cert_pem(), &issuer.key_pem())?;
        authority::write(Point::Provision, &dir.join("roots.pem"), self.roots_pem(), 0o644)?;
        bundle.store(dir).map_err(|error| CliError::failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_is_above_all_that_may_have_been() {
        assert_eq!(incarnation(1, 0, 1_764_590_400_000), 1_764_590_400);
        assert_eq!(incarnation(1_764_590_400, 0, 1_764_590_400_000), 1_764_590_401, "two recoveries in one second");
        assert_eq!(incarnation(1, 1_800_000_000, 1_764_590_400_000), 1_800_000_001, "as it was told");
        assert_eq!(incarnation(7, 0, -5), 8, "a clock that makes no sense");
    }
}
