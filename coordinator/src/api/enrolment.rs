//! Enrolment: a join token's secret, or a pod's own token, and a certificate request for a certificate. The only call
//! that takes no certificate, so that nothing of it reaches the log before the secret is known to be good, or the token
//! to be that of the node's agent.

use std::sync::Arc;

use mainstay_client::identity::JoinToken;
use mainstay_core::voucher::{self, VOUCHED, audience};
use mainstay_core::{Actor, Command, Identity, Reply, RequestKey};
use mainstay_proto::convert::parsed;
use mainstay_proto::v1;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::front::Front;
use super::status;
use crate::leader::Office;
use crate::store::ProposeError;

/// Enrolments at one time: each costs a signature.
const AT_ONCE: usize = 16;
/// Longest secret that is looked at.
const SECRET_MAX: usize = 256;
/// Pods' tokens that are looked at at one time: each is a question to a cluster's agent and its API server, and whoever
/// has a secret does not wait for them.
const REVIEWS_AT_ONCE: usize = 8;
/// Longest token of a pod that is looked at; they have about 1,200 bytes.
const POD_TOKEN_MAX: usize = 8 << 10;
/// Longest certificate request.
const CSR_MAX: usize = 16 << 10;

pub struct EnrolmentApi {
    front: Arc<Front>,
    room: Semaphore,
    reviews: Semaphore,
}

impl EnrolmentApi {
    #[must_use]
    pub fn new(front: Arc<Front>) -> EnrolmentApi {
        EnrolmentApi { front, room: Semaphore::new(AT_ONCE), reviews: Semaphore::new(REVIEWS_AT_ONCE) }
    }

    /// The leader's enrolment listener, for a newcomer who asked another member.
    fn elsewhere(&self) -> Status {
        let leader = self.front.consensus.leadership().borrow().leader.clone();
        let state = self.front.consensus.state().state;
        let address = leader
            .filter(|leader| leader.id != self.front.consensus.member())
            .and_then(|leader| state.members.get(&leader.id).map(|member| member.enrol_address.clone()));
        status::not_leader("this member does not lead, and only the leader enrols", address.as_deref())
    }

    fn agreed(&self, answer: Result<Reply, ProposeError>) -> Result<(), Status> {
        let reply = answer.map_err(|error| match status::not_proposed(error, self.front.consensus.member()) {
            refused if refused.code() == tonic::Code::Unavailable => self.elsewhere(),
            refused => refused,
        })?;
        status::done(reply).map(drop)
    }

    /// A certificate for the agent of a node, or for its hands, for which an agent of its cluster vouches. To repeat it is harmless: who
    /// is who it was before may have another certificate.
    async fn vouched(&self, office: &Office, identity: Identity, token: &str, csr_pem: &str) -> Result<v1::Certificate, Status> {
        let mesh = self.front.home.mesh();
        let Some(agent) = identity.agent().filter(|agent| agent.on_node().is_some()) else {
            return Err(Status::permission_denied(voucher::NotVouched::NotANode(identity).to_string()));
        };
        if office.state().feature_level < VOUCHED {
            return Err(Status::unavailable(format!(
                "a pod's own token lets nobody in before all members know that: the mesh needs level {VOUCHED}"
            )));
        }
        let reviewed = office.review(&agent.cluster, token, &audience(&mesh)).await;
        let (by, reviewed) = reviewed.map_err(|error| Status::unavailable(error.to_string()))?;
        let voucher = voucher::judge(&identity, &by, &mesh, reviewed).map_err(|error| {
            tracing::info!(%identity, %by, %error, "not enrolled");
            Status::permission_denied(error.to_string())
        })?;
        let certificate = self.front.certificate(csr_pem, &identity).await?;
        let command = Command::EnrolVouched { identity: identity.clone(), voucher };
        self.agreed(office.propose(Actor::Identity(identity.clone()), None, command).await)?;
        tracing::info!(%identity, %by, "enrolled, vouched for by an agent of its cluster");
        Ok(certificate)
    }
}

#[tonic::async_trait]
impl v1::enrolment_server::Enrolment for EnrolmentApi {
    async fn enrol(&self, request: Request<v1::EnrolRequest>) -> Result<Response<v1::Certificate>, Status> {
        let v1::EnrolRequest { secret, identity, csr_pem, pod_token } = request.into_inner();
        let identity: Identity = parsed("identity", &identity).map_err(status::invalid)?;
        if secret.len() > SECRET_MAX || csr_pem.len() > CSR_MAX || pod_token.len() > POD_TOKEN_MAX {
            return Err(Status::invalid_argument("the secret, the token or the certificate request is too long"));
        }
        let room = if pod_token.is_empty() { &self.room } else { &self.reviews };
        let Ok(_room) = room.try_acquire() else {
            return Err(Status::unavailable("many are enrolling right now: try again a little later"));
        };
        let office = self.front.leader.office().ok_or_else(|| self.elsewhere())?;
        if !pod_token.is_empty() {
            return Ok(Response::new(self.vouched(&office, identity, &pod_token, &csr_pem).await?));
        }
        let id = JoinToken::id_of(&secret);
        // Only who knows the secret can name this key, so a kept reply gives nothing away; and a newcomer
        // whose answer was lost repeats the request without using the token up twice.
        let key = key_of(&secret, &identity, &csr_pem);
        if !office.state().joins.contains_key(&id) && !office.remembers_enrolment(&key) {
            return Err(Status::not_found(
                "there is no such join token: it was used up, has expired or was revoked; make one with `mainstay token create`",
            ));
        }
        if let Identity::Coordinator(id) = &identity
            && office.state().members.contains_key(id)
        {
            return Err(Status::already_exists(format!("there is a member {id} already: an id is random and used for one disk only")));
        }
        // Signed before the token is used: a request that cannot be signed costs nothing.
        let certificate = self.front.certificate(&csr_pem, &identity).await?;
        office.remember_enrolment(key.clone());
        let command = Command::Enrol { id, identity: identity.clone() };
        self.agreed(office.propose(Actor::Identity(identity.clone()), Some(RequestKey(key)), command).await)?;
        tracing::info!(%identity, "enrolled");
        Ok(Response::new(certificate))
    }
}

fn key_of(secret: &str, identity: &Identity, csr_pem: &str) -> String {
    let mut hasher = Sha256::new();
    for part in [secret, &identity.to_string(), csr_pem] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_depends_on_all_of_the_request() {
        let identity: Identity = "cluster/prod/node/n1".parse().unwrap();
        let key = key_of("secret", &identity, "csr");
        assert_eq!(key.len(), 32);
        assert_eq!(key, key_of("secret", &identity, "csr"));
        assert_ne!(key, key_of("secretc", &identity, "sr"));
        assert_ne!(key, key_of("other", &identity, "csr"));
    }
}
