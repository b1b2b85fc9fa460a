//! The directory of certificates, and signing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mainstay_client::clock::Clock;
use mainstay_client::files;
use mainstay_client::identity::{Bundle, ClientIdentity, IdentityError, IdentityFiles, Issuer, LEAF_LIFE, NewKey};
use mainstay_core::id::MeshName;
use mainstay_core::{Identity, MemberId, WallTime};
use mainstay_proto::v1;

use super::Signing;

/// Largest file of certificates.
const FILE_MAX: u64 = 256 << 10;

/// A coordinator's identity and its authority to sign.
pub struct Home {
    dir: PathBuf,
    identity: ClientIdentity,
    /// Where its certificate comes from, when that is not the mesh's own authority.
    files: Option<IdentityFiles>,
    issuer: Option<Issuer>,
    roots_pem: String,
    clock: Arc<dyn Clock>,
}

/// Why a coordinator has no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    #[error("{0}; `mainstay init` makes the identity of a mesh's first coordinator, and a join token (join_token_file, enrol) that of another")]
    Identity(#[from] IdentityError),
    #[error("cannot read {path}: {source}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the identity in {dir} is {identity}, and a coordinator needs one of its own: coordinator/ID", dir = dir.display())]
    NotACoordinator { dir: PathBuf, identity: Identity },
    #[error(
        "this member lost its disk, and needs a certificate for its new id {id}. It has no issuer (issuer.pem and issuer.key in {dir}): have one made by whoever made the old one, or start with an empty directory",
        dir = dir.display()
    )]
    NoIssuer { dir: PathBuf, id: MemberId },
    #[error(
        "this member lost its disk, and its former id is not used again: have a certificate issued for its new id, spiffe://{mesh}/coordinator/{id}, into {chain}",
        chain = chain.display()
    )]
    Elsewhere { mesh: MeshName, id: MemberId, chain: PathBuf },
}

/// Why no certificate was signed.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("member {0} has no issuer: ask another member, or whoever makes the certificates of this mesh")]
    NoIssuer(MemberId),
    #[error("member {member} has no issuer, and no other member signed ({asked}): give one of them an issuer with `mainstay member issuer`")]
    Nobody { member: MemberId, asked: String },
    #[error("the renewal ended early: {0}")]
    Broken(String),
    #[error("the certificates of this mesh are issued elsewhere: have one issued there, for spiffe://{0}/IDENTITY; an operator also needs a role: `mainstay operator add NAME --role ROLE --no-login`")]
    Elsewhere(MeshName),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl Home {
    /// Reads what is there, or `files` where somebody else issues the certificates. An own leaf that has expired
    /// is no error: it can be renewed.
    pub fn open(dir: &Path, files: Option<IdentityFiles>, clock: Arc<dyn Clock>) -> Result<Home, HomeError> {
        let bundle = match &files {
            Some(files) => files.load()?,
            None => Bundle::load(dir)?,
        };
        let identity = ClientIdentity::with_clock(bundle.clone(), clock.clone())?;
        let issuer = match (text(&dir.join("issuer.pem"))?, text(&dir.join("issuer.key"))?) {
            (Some(cert), Some(key)) if files.is_none() => Some(Issuer::from_pem(&cert, &key)?),
            _ => None,
        };
        let roots_pem = text(&dir.join("roots.pem"))?.filter(|_| files.is_none()).unwrap_or(bundle.roots_pem);
        let home = Home { dir: dir.to_owned(), identity, files, issuer, roots_pem, clock };
        match home.identity.identity() {
            Identity::Coordinator(_) => Ok(home),
            identity => Err(HomeError::NotACoordinator { dir: home.dir, identity }),
        }
    }

    /// The member that the certificate names.
    #[must_use]
    pub fn member(&self) -> MemberId {
        match self.identity.identity() {
            Identity::Coordinator(id) => id,
            // Neither opening nor renewing takes anything else.
            _ => MemberId::default(),
        }
    }

    #[must_use]
    pub fn mesh(&self) -> MeshName {
        self.identity.mesh()
    }

    #[must_use]
    pub fn identity(&self) -> &ClientIdentity {
        &self.identity
    }

    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Roots that whoever gets a certificate is to trust.
    #[must_use]
    pub fn roots_pem(&self) -> String {
        self.roots_pem.clone()
    }

    #[must_use]
    pub fn has_issuer(&self) -> bool {
        self.issuer.is_some()
    }

    /// When what it signs with ends.
    #[must_use]
    pub fn issuer_end(&self) -> Option<WallTime> {
        self.issuer.as_ref().map(Issuer::not_after)
    }

    /// Where certificates come from, when somebody else issues them.
    #[must_use]
    pub fn files(&self) -> Option<&IdentityFiles> {
        self.files.as_ref()
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Signs a request for an identity of this mesh.
    pub fn issue(&self, csr_pem: &str, identity: &Identity) -> Result<v1::Certificate, IssueError> {
        let issuer = self.issuer.as_ref().ok_or_else(|| match self.files {
            Some(_) => IssueError::Elsewhere(self.mesh()),
            None => IssueError::NoIssuer(self.member()),
        })?;
        let chain_pem = issuer.issue(csr_pem, &self.mesh(), identity, self.clock.wall(), LEAF_LIFE)?;
        let bundle = Bundle { key_pem: String::new(), chain_pem, roots_pem: self.roots_pem.clone() };
        let (_, not_after) = bundle.validity()?;
        Ok(v1::Certificate { chain_pem: bundle.chain_pem, roots_pem: bundle.roots_pem, not_after_unix_ms: not_after.0, members: Vec::new() })
    }

    /// When the own leaf is to be renewed; `spread` is a number from 0 to 1.
    pub fn renew_at(&self, spread: f64) -> Result<WallTime, IdentityError> {
        self.identity.bundle().renew_at(spread)
    }

    /// Takes a new key and leaf for `member`, from the own issuer, and has it on disk before it is used.
    pub fn renew_as(&self, member: MemberId) -> Result<(), IssueError> {
        let key = NewKey::generate()?;
        let certificate = self.issue(&key.csr_pem()?, &Identity::Coordinator(member))?;
        let bundle = key.into_bundle(certificate.chain_pem, certificate.roots_pem);
        bundle.store(&self.dir)?;
        Ok(self.identity.replace(bundle)?)
    }

    /// Takes a new key and leaf for the member that lives here, which another member has signed.
    pub async fn renew_by(&self, signing: &Signing) -> Result<(), IssueError> {
        let key = NewKey::generate()?;
        let certificate = signing.sign(&key.csr_pem()?, &Identity::Coordinator(self.member())).await?;
        let bundle = key.into_bundle(certificate.chain_pem, certificate.roots_pem);
        // First whether it works, then the disk: a file that does not work would be found at the next start only.
        self.identity.replace(bundle.clone())?;
        Ok(bundle.store(&self.dir)?)
    }

    /// Makes sure that the certificate is `member`'s and in force, as far as this member can.
    pub fn become_member(&self, member: MemberId) -> Result<(), HomeError> {
        let (_, not_after) = self.identity.bundle().validity()?;
        let expired = self.clock.wall() >= not_after;
        if self.member() == member && (!expired || self.issuer.is_none()) {
            return Ok(());
        }
        match self.renew_as(member) {
            Ok(()) => Ok(()),
            Err(IssueError::NoIssuer(_) | IssueError::Nobody { .. } | IssueError::Broken(_)) => Err(HomeError::NoIssuer { dir: self.dir.clone(), id: member }),
            Err(IssueError::Elsewhere(mesh)) => {
                let chain = self.files.as_ref().map(|files| files.chain.clone()).unwrap_or_default();
                Err(HomeError::Elsewhere { mesh, id: member, chain })
            }
            Err(IssueError::Identity(error)) => Err(error.into()),
        }
    }
}

fn text(path: &Path) -> Result<Option<String>, HomeError> {
    match files::read_text(path, FILE_MAX) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(HomeError::Read { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mainstay_client::identity::Root;
    use tempfile::TempDir;

    use super::*;

    struct At(WallTime);

    impl Clock for At {
        fn wall(&self) -> WallTime {
            self.0
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    const NOW: WallTime = WallTime(1_790_000_000_000);

    fn home(identity: &str, at: WallTime) -> (TempDir, Result<Home, HomeError>) {
        let dir = TempDir::new().unwrap();
        let mesh: MeshName = "local".parse().unwrap();
        let root = Root::create(&mesh, NOW).unwrap();
        let issuer = root.issuer("c1", NOW).unwrap();
        let key = NewKey::generate().unwrap();
        let chain = issuer.issue(&key.csr_pem().unwrap(), &mesh, &identity.parse().unwrap(), NOW, LEAF_LIFE).unwrap();
        key.into_bundle(chain, root.cert_pem().to_owned()).store(dir.path()).unwrap();
        files::write_atomic(&dir.path().join("issuer.pem"), issuer.cert_pem().as_bytes(), 0o600).unwrap();
        files::write_atomic(&dir.path().join("issuer.key"), issuer.key_pem().as_bytes(), 0o600).unwrap();
        let home = Home::open(dir.path(), None, Arc::new(At(at)));
        (dir, home)
    }

    #[test]
    fn a_leaf_that_has_ended_is_renewed_at_the_start() {
        let late = WallTime(NOW.0 + 3 * LEAF_LIFE.0 as i64);
        let (dir, home) = home("coordinator/00000000000000aa", late);
        let home = home.unwrap();
        home.become_member(MemberId(0xaa)).unwrap();
        let (_, not_after) = home.identity().bundle().validity().unwrap();
        assert!(not_after > late);
        assert_eq!(Bundle::load(dir.path()).unwrap(), home.identity().bundle(), "it is on disk");
    }

    #[test]
    fn a_member_that_lost_its_disk_signs_its_new_name() {
        let (dir, home) = home("coordinator/00000000000000aa", NOW);
        let home = home.unwrap();
        home.become_member(MemberId(0xbb)).unwrap();
        assert_eq!(home.member(), MemberId(0xbb));
        assert_eq!(Home::open(dir.path(), None, Arc::new(At(NOW))).unwrap().member(), MemberId(0xbb));
    }

    #[test]
    fn somebody_elses_identity_is_refused() {
        let (_dir, home) = home("operator/ana", NOW);
        assert!(matches!(home, Err(HomeError::NotACoordinator { .. })));
    }
}
