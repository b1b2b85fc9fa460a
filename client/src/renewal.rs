//! A new certificate for whoever calls: asked for, tried, stored, and used from then on.

use std::path::Path;

use mainstay_proto::v1::RenewCertificateRequest;

use crate::error::CallError;
use crate::identity::{IdentityError, NewKey};
use crate::mesh::Mesh;
use crate::work;

/// Why a certificate was not renewed. The former one is used on.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("storing the renewed certificate did not come to its end: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// Renews the identity of `mesh`, which is stored in `dir`, with a new key.
pub async fn renew(mesh: &Mesh, dir: &Path) -> Result<(), RenewError> {
    let key = NewKey::generate()?;
    let certificate = mesh.renew_certificate(RenewCertificateRequest { csr_pem: key.csr_pem()? }).await?;
    let bundle = key.into_bundle(certificate.chain_pem, certificate.roots_pem);
    // First whether it works, then the disk: a file that does not work would be found at the next start only.
    mesh.identity().replace(bundle.clone())?;
    let dir = dir.to_owned();
    work::blocking(move || bundle.store(&dir)).await??;
    mesh.reconnect();
    mesh.renewal_done();
    Ok(())
}
