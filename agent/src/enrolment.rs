//! Who this agent is to the mesh: a certificate had once, with a join token or with the token of the pod that it runs in,
//! and renewed from then on.
//!
//! In: a state directory, enrolment addresses, a token; for an agent whose pod has no disk, a Secret. Out: an identity whose certificate is replaced
//! at about a third of its life, on disk as one file and for new connections. Waiting for a mesh that is not
//! there yet is normal; a token that the mesh does not take is an error.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mainstay_client::clock::Clock;
use mainstay_client::enrol::{EnrolError, enrol, enrol_as_pod};
use mainstay_client::identity::{IdentityError, IdentityFiles};
use mainstay_client::random::{self, Backoff};
use mainstay_client::work;
use mainstay_client::{Bundle, ClientIdentity, JoinToken, Mesh, renewal};
use mainstay_core::Identity;
use mainstay_core::time::{Millis, WallTime};
use tokio::task::JoinError;

use crate::complaint::Complaint;
use crate::kube::kept::{Kept, KeptError};
use crate::settings::{JoinTokenSource, PodTokenSource};

/// Pauses between tries to enrol.
const ENROL_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Pauses between tries to renew: there are hours left at the first, and the mesh has other things to do.
const RENEW_PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// Within how long the agents renew that the mesh asks to, and how long one that has leaves it at that: the
/// member that it renewed with may not have heard yet of what the one that asked knows.
const ASKED_SPREAD: Duration = Duration::from_secs(4);
const ASKED_PAUSE: Duration = Duration::from_secs(5);
/// Longest sleep before a renewal is due: a wall clock can jump.
const LOOK_AGAIN: Duration = Duration::from_secs(600);
/// The mesh renews a certificate that ended no longer ago than this.
const RENEWABLE_FOR: Millis = Millis(30 * 86_400_000);

/// Why this agent has no identity.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentError {
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Refused(#[from] EnrolError),
    #[error(
        "this agent is not enrolled: give it --enrol and a join token (--join-token-file or MAINSTAY_JOIN_TOKEN); `mainstay token create` makes one"
    )]
    NoToken,
    #[error("{0}: the pod's volume has to have a projected ServiceAccount token there")]
    PodToken(#[source] std::io::Error),
    #[error(transparent)]
    Kept(#[from] Box<KeptError>),
    #[error("{0}: make a join token with `mainstay token create` and put it there")]
    TokenFile(#[source] std::io::Error),
    #[error("the state directory {} belongs to {found}, and this agent is to be {wanted}: use another directory, or move {}/identity.pem and the ledger away", dir.display(), dir.display())]
    OtherIdentity { dir: PathBuf, found: Identity, wanted: Identity },
    #[error("writing the identity did not come to its end: {0}")]
    Stopped(#[from] JoinError),
}

/// What enrolment needs to know.
#[derive(Clone)]
pub struct Enrolment {
    pub dir: PathBuf,
    pub identity: Identity,
    /// Enrolment listeners, `host:port`.
    pub addresses: Vec<String>,
    pub token: Option<JoinTokenSource>,
    /// Goes before a join token.
    pub pod: Option<PodTokenSource>,
    /// Where an earlier pod of this agent has kept its identity.
    pub kept: Option<Kept>,
}

impl Enrolment {
    /// The identity of the state directory, or a new one from the mesh. Waits for the mesh as long as that takes.
    ///
    /// # Errors
    /// When the directory's identity is damaged or somebody else's, there is no join token, or it is refused.
    pub async fn obtain(&self, clock: Arc<dyn Clock>) -> Result<ClientIdentity, EnrolmentError> {
        let bundle = match self.stored(&*clock).await? {
            Some(bundle) => bundle,
            None => {
                let bundle = match self.kept(&*clock).await? {
                    Some(bundle) => bundle,
                    None => self.enrolled().await?,
                };
                store(&self.dir, bundle.clone()).await?;
                bundle
            }
        };
        Ok(ClientIdentity::with_clock(bundle, clock)?)
    }

    /// What an earlier start left, unless it is too old to be renewed and a token could replace it.
    async fn stored(&self, clock: &dyn Clock) -> Result<Option<Bundle>, EnrolmentError> {
        let dir = self.dir.clone();
        let loaded = work::blocking(move || Bundle::is_in(&dir).then(|| Bundle::load(&dir)).transpose()).await?;
        let Some(bundle) = loaded? else { return Ok(None) };
        let (_, found) = bundle.identity()?;
        if found != self.identity {
            return Err(EnrolmentError::OtherIdentity { dir: self.dir.clone(), found, wanted: self.identity.clone() });
        }
        renewable(bundle, clock)
    }

    /// What an earlier pod has kept. Waits for the API server: without its word a join token may be used up for nothing.
    async fn kept(&self, clock: &dyn Clock) -> Result<Option<Bundle>, EnrolmentError> {
        let Some(kept) = &self.kept else { return Ok(None) };
        let mut backoff = Backoff::new(ENROL_PAUSES.0, ENROL_PAUSES.1);
        let mut complaint = Complaint::default();
        let bundle = loop {
            match kept.load().await {
                Ok(bundle) => break bundle,
                Err(error @ KeptError::Damaged { .. }) => return Err(Box::new(error).into()),
                Err(error) => {
                    let pause = backoff.pause();
                    complaint.about("cannot look for the identity of an earlier pod yet", &error.to_string(), pause);
                    tokio::time::sleep(pause).await;
                }
            }
        };
        match bundle {
            // A Secret that another replica has used is none of this one's.
            Some(bundle) if bundle.identity()?.1 == self.identity => renewable(bundle, clock),
            Some(_) | None => Ok(None),
        }
    }

    async fn enrolled(&self) -> Result<Bundle, EnrolmentError> {
        if self.addresses.is_empty() || (self.token.is_none() && self.pod.is_none()) {
            return Err(EnrolmentError::NoToken);
        }
        let mut backoff = Backoff::new(ENROL_PAUSES.0, ENROL_PAUSES.1);
        let mut complaint = Complaint::default();
        loop {
            // Any member takes the call, and the pause is for all of them.
            let mut why = String::new();
            for address in &self.addresses {
                match self.try_at(address).await? {
                    Ok(bundle) => {
                        tracing::info!(identity = %self.identity, "enrolled");
                        return Ok(bundle);
                    }
                    Err(not_yet) => why = not_yet,
                }
            }
            let pause = backoff.pause();
            complaint.about("cannot enrol yet", &why, pause);
            tokio::time::sleep(pause).await;
        }
    }

    /// One try at one member. The inner error passes by itself.
    async fn try_at(&self, address: &str) -> Result<Result<Bundle, String>, EnrolmentError> {
        // Read at each try: whoever puts the token there may do so after this process has started, and a pod's is made anew.
        let answer = match (&self.pod, &self.token) {
            (Some(source), _) => {
                let source = source.clone();
                match there(work::blocking(move || source.read()).await?) {
                    Ok(Some(token)) => enrol_as_pod(address, &token, &self.identity).await,
                    Ok(None) => return Ok(Err("the pod's token is not there yet".to_owned())),
                    Err(error) => return Err(EnrolmentError::PodToken(error)),
                }
            }
            (None, Some(source)) => {
                let source = source.clone();
                match work::blocking(move || source.read()).await? {
                    Ok(text) => enrol(address, &text.parse::<JoinToken>()?, &self.identity).await,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Err(EnrolmentError::TokenFile(error).to_string())),
                    Err(error) => return Err(EnrolmentError::TokenFile(error)),
                }
            }
            (None, None) => return Err(EnrolmentError::NoToken),
        };
        match answer {
            Ok(bundle) => Ok(Ok(bundle)),
            Err(error) if error.is_transient() => Ok(Err(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }
}

/// A file that is not there is none yet.
fn there<T>(read: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// An identity that the mesh still renews.
fn renewable(bundle: Bundle, clock: &dyn Clock) -> Result<Option<Bundle>, EnrolmentError> {
    let (_, ends) = bundle.validity()?;
    let is_renewable = clock.wall().0 <= ends.0.saturating_add(i64::try_from(RENEWABLE_FOR.0).unwrap_or(i64::MAX));
    if !is_renewable {
        tracing::warn!("the certificate ended more than 30 days ago; enrolling again");
    }
    Ok(is_renewable.then_some(bundle))
}

/// The identity that somebody else issues and renews, from its files.
///
/// # Errors
/// When they cannot be read, do not fit together or are somebody else's.
pub async fn from_files(files: IdentityFiles, wanted: Identity, clock: Arc<dyn Clock>) -> Result<ClientIdentity, EnrolmentError> {
    let bundle = work::blocking(move || files.load_as(&wanted)).await??;
    Ok(ClientIdentity::with_clock(bundle, clock)?)
}

/// Keeps the certificate young. Ends with the task that runs it.
pub async fn keep_renewed(dir: PathBuf, mesh: Mesh) {
    // Where in its window this process renews, so that a fleet that was enrolled at once does not renew at once.
    let spread = random::number() as f64 / u64::MAX as f64;
    let mut backoff = Backoff::new(RENEW_PAUSES.0, RENEW_PAUSES.1);
    loop {
        let asked = match mesh.identity().bundle().renew_at(spread) {
            Ok(due) => tokio::select! {
                () = sleep_until(due, &**mesh.clock()) => false,
                () = mesh.renewal_asked() => true,
            },
            Err(error) => {
                tracing::error!(%error, "the certificate in use cannot be read; asking for another");
                false
            }
        };
        if asked {
            // The whole fleet is asked at once.
            tokio::time::sleep(ASKED_SPREAD.mul_f64(random::number() as f64 / u64::MAX as f64)).await;
        }
        match renewal::renew(&mesh, &dir).await {
            Ok(()) => {
                backoff.reset();
                tracing::info!("renewed the certificate");
                if asked {
                    tokio::time::sleep(ASKED_PAUSE).await;
                }
            }
            Err(error) => {
                let pause = backoff.pause();
                tracing::warn!(%error, ?pause, "the certificate could not be renewed yet");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

async fn store(dir: &Path, bundle: Bundle) -> Result<(), EnrolmentError> {
    let dir = dir.to_owned();
    Ok(work::blocking(move || bundle.store(&dir)).await??)
}

async fn sleep_until(due: WallTime, clock: &dyn Clock) {
    loop {
        let left = Duration::from_millis(u64::try_from(due.0.saturating_sub(clock.wall().0)).unwrap_or(0));
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK_AGAIN)).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use mainstay_client::clock::SystemClock;
    use mainstay_client::identity::{ISSUER_LIFE, LEAF_LIFE, NewKey, Root};
    use mainstay_core::id::MeshName;

    use super::*;

    /// A clock that stands still.
    struct At(WallTime);

    impl Clock for At {
        fn wall(&self) -> WallTime {
            self.0
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    fn identity(path: &str) -> Identity {
        path.parse().unwrap()
    }

    fn enrolment(dir: &Path) -> Enrolment {
        Enrolment { dir: dir.to_owned(), identity: identity("cluster/c/node/n"), addresses: Vec::new(), token: None, pod: None, kept: None }
    }

    fn bundle(path: &str) -> Bundle {
        let (mesh, now): (MeshName, WallTime) = ("local".parse().unwrap(), SystemClock.wall());
        let root = Root::create(&mesh, now).unwrap();
        let issuer = root.issuer("m1", now).unwrap();
        let key = NewKey::generate().unwrap();
        let chain = issuer.issue(&key.csr_pem().unwrap(), &mesh, &identity(path), now, LEAF_LIFE).unwrap();
        assert!(LEAF_LIFE < ISSUER_LIFE);
        key.into_bundle(chain, root.cert_pem().to_owned())
    }

    #[tokio::test]
    async fn an_identity_on_disk_is_used_without_a_token() {
        mainstay_client::tls::install_provider();
        let dir = tempfile::tempdir().unwrap();
        bundle("cluster/c/node/n").store(dir.path()).unwrap();
        let obtained = enrolment(dir.path()).obtain(Arc::new(SystemClock)).await.unwrap();
        assert_eq!(obtained.identity(), identity("cluster/c/node/n"));
    }

    #[tokio::test]
    async fn another_nodes_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        bundle("cluster/c/node/other").store(dir.path()).unwrap();
        let error = enrolment(dir.path()).obtain(Arc::new(SystemClock)).await.unwrap_err();
        assert!(matches!(&error, EnrolmentError::OtherIdentity { .. }), "{error}");
        assert!(error.to_string().contains("belongs to cluster/c/node/other"), "{error}");
    }

    #[tokio::test]
    async fn without_a_token_it_says_how_to_have_one() {
        let dir = tempfile::tempdir().unwrap();
        let error = enrolment(dir.path()).obtain(Arc::new(SystemClock)).await.unwrap_err();
        assert!(error.to_string().contains("mainstay token create"), "{error}");
    }

    #[tokio::test]
    async fn what_is_too_old_to_be_renewed_is_enrolled_again() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = bundle("cluster/c/node/n");
        bundle.store(dir.path()).unwrap();
        let ends = bundle.validity().unwrap().1;
        let at = |ms: i64| At(WallTime(ends.0 + ms));
        let enrolment = enrolment(dir.path());
        assert!(enrolment.stored(&at(1)).await.unwrap().is_some());
        assert!(enrolment.stored(&at(30 * 86_400_000 + 1)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_token_that_is_none_ends_it_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let enrolment =
            Enrolment { addresses: vec!["127.0.0.1:1".into()], token: Some(JoinTokenSource::Text("mst1.half".into())), ..enrolment(dir.path()) };
        let error = enrolment.obtain(Arc::new(SystemClock)).await.unwrap_err();
        assert!(error.to_string().contains("mst1.ROOT.SECRET") && !error.to_string().contains("half"), "{error}");
    }
}
