//! Joining a mesh with a join token, or as a pod with the token that Kubernetes gave it.

use std::fmt;
use std::time::Duration;

use mainstay_core::Identity;
use mainstay_proto::LEADER_HEADER;
use mainstay_proto::v1::{EnrolRequest, enrolment_client::EnrolmentClient};
use tonic::{Code, Status};

use crate::channel;
use crate::error::ConnectError;
use crate::identity::{Bundle, ClientIdentity, IdentityError, JoinToken, NewKey};

/// How long one coordinator may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to follow the members' word for who leads.
const HOPS: usize = 3;

/// Why nobody was let in.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// There is no connection to the enrolment address, or the other end is not to be trusted.
    #[error("cannot enrol: {0}")]
    Connect(#[from] ConnectError),
    /// No key could be made, or what came back does not fit it.
    #[error("cannot enrol: {0}")]
    Identity(#[from] IdentityError),
    /// The answer is no: the join token is used up, has expired, or is for something else.
    #[error("the mesh refuses to enrol {identity}: {message}")]
    Refused { identity: Identity, message: String },
    /// Nobody could answer: there is no leader, or the connection broke.
    #[error("the mesh cannot enrol {identity} now: {message}")]
    Unavailable { identity: Identity, message: String },
}

impl EnrolError {
    /// Whether trying again later may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            EnrolError::Connect(error) => !error.is_about_certificates(),
            EnrolError::Unavailable { .. } => true,
            EnrolError::Identity(_) | EnrolError::Refused { .. } => false,
        }
    }
}

/// A pod's own token, and the root that the mesh is to have.
#[derive(Clone, PartialEq, Eq)]
pub struct PodToken {
    /// The SHA-256 of the mesh's root certificate, in hexadecimal.
    pub root_sha256: String,
    pub token: String,
}

/// Without the token.
impl fmt::Debug for PodToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PodToken({})", self.root_sha256)
    }
}

/// By what somebody is let in.
enum Proof<'a> {
    Join(&'a JoinToken),
    Pod(&'a PodToken),
}

impl Proof<'_> {
    fn root_sha256(&self) -> &str {
        match self {
            Proof::Join(token) => token.root_sha256(),
            Proof::Pod(token) => &token.root_sha256,
        }
    }
}

/// What a newcomer has after enrolment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    pub bundle: Bundle,
    /// gRPC addresses of the coordinators, as they call themselves.
    pub members: Vec<String>,
}

/// Asks the enrolment listeners in turn, until one answers for the mesh.
pub async fn enrol_at_any(addresses: &[String], token: &JoinToken, identity: &Identity) -> Result<Enrolled, EnrolError> {
    let mut last = None;
    for address in addresses {
        match ask(address, &Proof::Join(token), identity).await {
            Err(error) if error.is_transient() => last = Some(error),
            answer => return answer,
        }
    }
    Err(last.unwrap_or_else(|| EnrolError::Unavailable { identity: identity.clone(), message: "no enrolment address is known".into() }))
}

/// Asks the enrolment listener at `address` for a certificate of `identity`. The key is made here and stays.
pub async fn enrol(address: &str, token: &JoinToken, identity: &Identity) -> Result<Bundle, EnrolError> {
    Ok(ask(address, &Proof::Join(token), identity).await?.bundle)
}

/// As [`enrol`], for the agent of the node that the pod runs on. A cluster agent of its cluster is asked whose token it is.
pub async fn enrol_as_pod(address: &str, token: &PodToken, identity: &Identity) -> Result<Bundle, EnrolError> {
    Ok(ask(address, &Proof::Pod(token), identity).await?.bundle)
}

async fn ask(address: &str, proof: &Proof<'_>, identity: &Identity) -> Result<Enrolled, EnrolError> {
    let key = NewKey::generate()?;
    let (secret, pod_token) = match proof {
        Proof::Join(token) => (token.secret().to_owned(), String::new()),
        Proof::Pod(token) => (String::new(), token.token.clone()),
    };
    let request = EnrolRequest { secret, identity: identity.to_string(), csr_pem: key.csr_pem()?, pod_token };
    let mut address = address.to_owned();
    let mut message = String::new();
    for _ in 0..HOPS {
        let channel = channel::connect_pinned(&address, proof.root_sha256()).await?;
        let answer = tokio::time::timeout(PATIENCE, EnrolmentClient::new(channel).enrol(request.clone())).await;
        match answer.unwrap_or_else(|_| Err(Status::unavailable(format!("{address} gave no answer within {PATIENCE:?}")))) {
            Ok(certificate) => {
                let certificate = certificate.into_inner();
                let bundle = key.into_bundle(certificate.chain_pem, certificate.roots_pem);
                if !bundle.trusts(proof.root_sha256()) {
                    return Err(EnrolError::Refused {
                        identity: identity.clone(),
                        message: "the roots it was given do not hold the one that was pinned".into(),
                    });
                }
                let (_, named) = bundle.identity()?;
                if named != *identity {
                    let message = format!("the certificate it was given is {named}'s");
                    return Err(EnrolError::Refused { identity: identity.clone(), message });
                }
                // Proves that key, chain and roots fit together, before anything is stored.
                ClientIdentity::new(bundle.clone())?;
                return Ok(Enrolled { bundle, members: certificate.members });
            }
            Err(status) if status.code() == Code::Unavailable => {
                status.message().clone_into(&mut message);
                match status
                    .metadata()
                    .get(LEADER_HEADER)
                    .and_then(|leader| leader.to_str().ok())
                    .filter(|leader| !leader.is_empty() && *leader != address)
                {
                    Some(leader) => leader.clone_into(&mut address),
                    None => break,
                }
            }
            Err(status) if crate::error::is_broken_connection(&status) || status.code() == Code::DeadlineExceeded => {
                return Err(EnrolError::Unavailable { identity: identity.clone(), message: status.message().to_owned() });
            }
            Err(status) => return Err(EnrolError::Refused { identity: identity.clone(), message: status.message().to_owned() }),
        }
    }
    Err(EnrolError::Unavailable { identity: identity.clone(), message })
}
