//! Signing, by this member's own issuer or, where it has none, by another member's.
//!
//! A coordinator that joined with a token has a certificate and no issuer: only the root's key makes one, and that
//! is kept elsewhere. The mesh works all the same, as long as one member that answers has an issuer.

use std::sync::Arc;
use std::time::Duration;

use mainstay_core::Identity;
use mainstay_proto::v1;
use mainstay_proto::v1::identities_client::IdentitiesClient;

use super::{Home, IssueError};
use crate::peers::Peers;
use crate::store::Consensus;

/// How long another member may take to sign.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whoever signs for this member.
#[derive(Clone)]
pub struct Signing {
    home: Arc<Home>,
    peers: Peers,
    consensus: Consensus,
}

impl Signing {
    #[must_use]
    pub fn new(home: Arc<Home>, peers: Peers, consensus: Consensus) -> Signing {
        Signing { home, peers, consensus }
    }

    /// A certificate for an identity of this mesh. Whether it may have one has been decided.
    pub async fn sign(&self, csr_pem: &str, identity: &Identity) -> Result<v1::Certificate, IssueError> {
        // Where somebody else issues, no member does, and the refusal says so.
        if self.home.has_issuer() || self.home.files().is_some() {
            return self.home.issue(csr_pem, identity);
        }
        let group = self.consensus.group();
        let others = group.voters.iter().chain(&group.learners).filter(|(id, _)| **id != self.consensus.member());
        let mut refusals = Vec::new();
        for (id, peer) in others {
            let request = v1::SignRequest { identity: identity.to_string(), csr_pem: csr_pem.to_owned() };
            let asked = self.peers.ask(&peer.address, PATIENCE, |channel| async move { IdentitiesClient::new(channel).sign(request).await });
            match asked.await {
                Ok(certificate) => return Ok(certificate),
                Err(error) => refusals.push(format!("{id}: {error}")),
            }
        }
        Err(IssueError::Nobody {
            member: self.home.member(),
            asked: if refusals.is_empty() { "there is no other".into() } else { refusals.join("; ") },
        })
    }
}
