//! Enrolment: a join token's secret and a certificate request for a certificate. The only call that takes
//! no certificate, so that nothing of it reaches the log before the secret is known to be good.

use std::sync::Arc;

use mainstay_client::identity::JoinToken;
use mainstay_core::{Actor, Command, Identity, RequestKey};
use mainstay_proto::convert::parsed;
use mainstay_proto::v1;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::front::Front;
use super::status;

/// Enrolments at one time: each costs a signature.
const AT_ONCE: usize = 16;
/// Longest secret that is looked at.
const SECRET_MAX: usize = 256;
/// Longest certificate request.
const CSR_MAX: usize = 16 << 10;

pub struct EnrolmentApi {
    front: Arc<Front>,
    room: Semaphore,
}

impl EnrolmentApi {
    #[must_use]
    pub fn new(front: Arc<Front>) -> EnrolmentApi {
        EnrolmentApi { front, room: Semaphore::new(AT_ONCE) }
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
}

#[tonic::async_trait]
impl v1::enrolment_server::Enrolment for EnrolmentApi {
    async fn enrol(&self, request: Request<v1::EnrolRequest>) -> Result<Response<v1::Certificate>, Status> {
        let Ok(_room) = self.room.try_acquire() else {
            return Err(Status::unavailable("many are enrolling right now: try again a little later"));
        };
        let v1::EnrolRequest { secret, identity, csr_pem } = request.into_inner();
        let identity: Identity = parsed("identity", &identity).map_err(status::invalid)?;
        if secret.len() > SECRET_MAX || csr_pem.len() > CSR_MAX {
            return Err(Status::invalid_argument("the secret or the certificate request is too long"));
        }
        let office = self.front.leader.office().ok_or_else(|| self.elsewhere())?;
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
        let answer = office.propose(Actor::Identity(identity.clone()), Some(RequestKey(key)), command).await;
        let reply = answer.map_err(|error| match status::not_proposed(error, self.front.consensus.member()) {
            refused if refused.code() == tonic::Code::Unavailable => self.elsewhere(),
            refused => refused,
        })?;
        status::done(reply)?;
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
