//! The directory of certificates, and signing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mainstay_client::clock::Clock;
use mainstay_client::failpoint::Point;
use mainstay_client::identity::{Bundle, ClientIdentity, IdentityError, IdentityFiles, Issuer, LEAF_LIFE, NewKey, Roots};
use mainstay_client::{files, tls};
use mainstay_core::id::MeshName;
use mainstay_core::state::trust::{IssuerRequest, RootId};
use mainstay_core::{Identity, MemberId, State, WallTime};
use mainstay_proto::v1;
use tokio::sync::watch;

use super::issuers::Issuers;

use super::Signing;

/// Largest file of certificates.
const FILE_MAX: u64 = 256 << 10;

/// A coordinator's identity and its authority to sign.
pub struct Home {
    dir: PathBuf,
    identity: ClientIdentity,
    /// Where its certificate comes from, when that is not the mesh's own authority.
    files: Option<IdentityFiles>,
    authority: Mutex<Authority>,
    /// Counts changes of what others are told of it.
    changed: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
}

struct Authority {
    issuers: Issuers,
    /// Trusted by this member, and by whoever it gives a certificate; the oldest first.
    roots: Roots,
    /// Under which new leaves are to be.
    issuing: Option<RootId>,
    /// Roots of the own leaves that callers are shown, the first one's first.
    shown: Vec<RootId>,
}

impl Authority {
    /// Of which roots the own leaves are to be: first the one under which leaves are issued, then newer before
    /// older ones.
    fn to_show(&self) -> Vec<RootId> {
        let Some((first, _)) = self.issuers.best(self.issuing) else { return Vec::new() };
        let others = self.roots.iter().rev().map(|root| root.id).filter(|id| *id != first && self.issuers.under(*id).is_some());
        std::iter::once(first).chain(others).collect()
    }
}

/// What others are told of a member's certificates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    pub trusts: Vec<RootId>,
    pub shows: Vec<RootId>,
    pub issuers: Vec<RootId>,
    pub request: Option<IssuerRequest>,
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
    #[error(
        "the certificates of this mesh are issued elsewhere: have one issued there, for spiffe://{0}/IDENTITY; an operator also needs a role: `mainstay operator add NAME --role ROLE --no-login`"
    )]
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
        let roots_pem = text(&dir.join("roots.pem"))?.filter(|_| files.is_none()).unwrap_or_else(|| bundle.roots_pem.clone());
        let roots = Roots::of(&roots_pem)?;
        let issuers = if files.is_some() { Issuers::none(dir) } else { Issuers::open(dir, &roots)? };
        let shown = roots.of_chain_pem(&bundle.chain_pem).map(|root| root.id).into_iter().collect();
        let authority = Mutex::new(Authority { issuers, roots, issuing: None, shown });
        let home = Home { dir: dir.to_owned(), identity, files, authority, changed: watch::Sender::new(0), clock };
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
    pub fn roots(&self) -> Roots {
        self.authority().roots.clone()
    }

    #[must_use]
    pub fn has_issuer(&self) -> bool {
        !self.authority().issuers.is_empty()
    }

    /// What others are to know of its certificates.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let authority = self.authority();
        // What is in use counts, not what is meant to be.
        Standing {
            trusts: self.identity.roots().ids(),
            shows: authority.shown.clone(),
            issuers: authority.issuers.roots(),
            request: authority.issuers.request().cloned(),
        }
    }

    /// Changes with that.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Has it told again.
    pub fn tell_again(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn authority(&self) -> MutexGuard<'_, Authority> {
        // Each part is replaced whole, so a panic elsewhere does not spoil it.
        self.authority.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When what it signs with ends.
    #[must_use]
    pub fn issuer_end(&self) -> Option<WallTime> {
        let authority = self.authority();
        authority.issuers.best(authority.issuing).map(|(_, issuer)| issuer.not_after())
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

    /// Signs a request for an identity of this mesh, under the root under which leaves are to be now.
    pub fn issue(&self, csr_pem: &str, identity: &Identity) -> Result<v1::Certificate, IssueError> {
        let authority = self.authority();
        let (_, issuer) = authority.issuers.best(authority.issuing).ok_or_else(|| self.cannot_sign())?;
        let chain_pem = issuer.issue(csr_pem, &self.mesh(), identity, self.clock.wall(), LEAF_LIFE)?;
        let bundle = Bundle { key_pem: String::new(), chain_pem, roots_pem: authority.roots.pem() };
        let (_, not_after) = bundle.validity()?;
        Ok(v1::Certificate { chain_pem: bundle.chain_pem, roots_pem: bundle.roots_pem, not_after_unix_ms: not_after.0, members: Vec::new() })
    }

    /// When the own leaf is to be renewed; `spread` is a number from 0 to 1.
    pub fn renew_at(&self, spread: f64) -> Result<WallTime, IdentityError> {
        self.identity.bundle().renew_at(spread)
    }

    /// Takes a new key and leaf for `member` from the own issuer, and one more under each other root that it
    /// can sign under, for callers who trust only that. The first is on disk before it is used.
    pub fn renew_as(&self, member: MemberId) -> Result<(), IssueError> {
        let mut authority = self.authority();
        let to_show = authority.to_show();
        let issuers = to_show.iter().filter_map(|root| authority.issuers.under(*root));
        let leaves = issuers.map(|issuer| self.own_leaf(issuer, member, &authority.roots.pem())).collect::<Result<Vec<_>, _>>()?;
        let Some((first, beside)) = leaves.split_first() else { return Err(self.cannot_sign()) };
        first.store(&self.dir)?;
        self.identity.replace_all(first.clone(), beside)?;
        authority.shown = to_show;
        Ok(())
    }

    fn cannot_sign(&self) -> IssueError {
        match self.files {
            Some(_) => IssueError::Elsewhere(self.mesh()),
            None => IssueError::NoIssuer(self.member()),
        }
    }

    fn own_leaf(&self, issuer: &Issuer, member: MemberId, roots_pem: &str) -> Result<Bundle, IdentityError> {
        let (key, now) = (NewKey::generate()?, self.clock.wall());
        let chain = issuer.issue(&key.csr_pem()?, &self.mesh(), &Identity::Coordinator(member), now, LEAF_LIFE)?;
        Ok(key.into_bundle(chain, roots_pem.to_owned()))
    }

    /// Goes along with what the mesh has agreed on about roots. Says whether the own certificates are others
    /// now, so that connections are to be made anew.
    pub fn follow(&self, state: &State) -> Result<bool, IssueError> {
        let Some(newest) = state.newest_root().filter(|_| self.files.is_none()) else { return Ok(false) };
        let mut authority = self.authority();
        let trusts_others = self.trust(&mut authority, state)?;
        let roots = authority.roots.clone();
        let mut told = trusts_others | authority.issuers.keep_only(&roots)?;
        if let Some(grant) = state.issuers.get(&self.member()) {
            let proves = |issuer: &Issuer| tls::holds(&self.own_leaf(issuer, self.member(), &roots.pem())?, self.clock.wall());
            told |= authority.issuers.take(grant, &roots, proves)?;
        }
        told |= authority.issuers.want(newest, self.clock.wall())?;
        let issuing = state.issuing_root();
        told |= authority.issuing != issuing;
        authority.issuing = issuing;
        let shows_others = trusts_others || authority.to_show() != authority.shown;
        let signs = !authority.issuers.is_empty();
        drop(authority);
        if shows_others && signs {
            self.renew_as(self.member())?;
        }
        if told || shows_others {
            self.tell_again();
        }
        Ok(shows_others)
    }

    /// Trusts what the mesh trusts. The root of the own certificate stays for as long as there is no other one.
    fn trust(&self, authority: &mut Authority, state: &State) -> Result<bool, IdentityError> {
        let mut wanted: Vec<_> = state.roots.iter().collect();
        wanted.sort_by_key(|(_, root)| root.number);
        let mut pem: String = wanted.iter().map(|(_, root)| with_newline(&root.pem)).collect();
        let own = authority.roots.of_chain_pem(&self.identity.bundle().chain_pem).filter(|own| !state.roots.contains_key(&own.id)).cloned();
        if let Some(own) = own
            && !authority.issuers.roots().iter().any(|root| state.roots.contains_key(root))
        {
            tracing::error!(root = %own.id, "the root of this member's certificate is none that the mesh trusts: it needs another certificate");
            pem.push_str(&with_newline(&own.pem));
        }
        let roots = Roots::of(&pem)?;
        if roots == authority.roots && self.identity.roots().ids() == roots.ids() {
            return Ok(false);
        }
        let path = self.dir.join("roots.pem");
        files::write_sealed(Point::Roots, &path, &roots.pem(), 0o644).map_err(|source| IdentityError::Write { path, source })?;
        let bundle = Bundle { roots_pem: roots.pem(), ..self.identity.bundle() };
        bundle.store(&self.dir)?;
        self.identity.replace(bundle)?;
        tracing::info!(roots = roots.words(), "the roots that this member trusts have changed");
        authority.roots = roots;
        Ok(true)
    }

    /// Whether the leaf that another member has signed is to be of another root by now.
    #[must_use]
    pub fn is_of_former_root(&self) -> bool {
        let authority = self.authority();
        self.files.is_none() && authority.issuers.is_empty() && authority.issuing.is_some_and(|issuing| !authority.shown.contains(&issuing))
    }

    /// Takes a new key and leaf for the member that lives here, which another member has signed. Whom it trusts
    /// is what the mesh agreed on, also where that other member is behind.
    pub async fn renew_by(&self, signing: &Signing) -> Result<(), IssueError> {
        let key = NewKey::generate()?;
        let certificate = signing.sign(&key.csr_pem()?, &Identity::Coordinator(self.member())).await?;
        let bundle = key.into_bundle(certificate.chain_pem, self.roots().pem());
        // First whether it works, then the disk: a file that does not work would be found at the next start only.
        self.identity.replace(bundle.clone())?;
        bundle.store(&self.dir)?;
        let mut authority = self.authority();
        let shown: Vec<RootId> = authority.roots.of_chain_pem(&bundle.chain_pem).map(|root| root.id).into_iter().collect();
        let shows_others = authority.shown != shown;
        authority.shown = shown;
        drop(authority);
        if shows_others {
            self.tell_again();
        }
        Ok(())
    }

    /// Makes sure that the certificate is `member`'s and in force, as far as this member can.
    pub fn become_member(&self, member: MemberId) -> Result<(), HomeError> {
        let (_, not_after) = self.identity.bundle().validity()?;
        let expired = self.clock.wall() >= not_after;
        let single = self.authority().issuers.roots().len() <= 1;
        if self.member() == member && (!expired || !self.has_issuer()) && single {
            return Ok(());
        }
        match self.renew_as(member) {
            Ok(()) => Ok(()),
            Err(IssueError::NoIssuer(_) | IssueError::Nobody { .. } | IssueError::Broken(_)) => {
                Err(HomeError::NoIssuer { dir: self.dir.clone(), id: member })
            }
            Err(IssueError::Elsewhere(mesh)) => {
                let chain = self.files.as_ref().map(|files| files.chain.clone()).unwrap_or_default();
                Err(HomeError::Elsewhere { mesh, id: member, chain })
            }
            Err(IssueError::Identity(error)) => Err(error.into()),
        }
    }
}

fn with_newline(text: &str) -> String {
    format!("{}\n", text.trim_end())
}

fn text(path: &Path) -> Result<Option<String>, HomeError> {
    match files::read_sealed(path, FILE_MAX) {
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
        files::write_atomic(Point::Issuer, &dir.path().join("issuer.pem"), issuer.cert_pem().as_bytes(), 0o600).unwrap();
        files::write_atomic(Point::Issuer, &dir.path().join("issuer.key"), issuer.key_pem().as_bytes(), 0o600).unwrap();
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
