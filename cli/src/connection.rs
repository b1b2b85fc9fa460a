//! From a mesh that was found to a client of it: reads the identity, and renews it when it is time.

use std::time::Duration;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::identity::{Bundle, ClientIdentity, NewKey};
use mainstay_client::{CallError, Mesh};
use mainstay_proto::v1::RenewCertificateRequest;

use crate::args::Global;
use crate::error::CliError;
use crate::exit::Exit;
use crate::mesh_finder::{self, Found};

/// A person waits this long for a mesh that changes its leader, and not for one that is gone.
const DEADLINE: Duration = Duration::from_secs(8);

/// A client of the mesh that flags and surroundings mean.
pub async fn connect(global: &Global) -> Result<Mesh, CliError> {
    let found = mesh_finder::find(global)?;
    let bundle = Bundle::load(&found.identity).map_err(|error| {
        CliError::new(Exit::Unreachable, format!("no identity to show to the mesh: {error}")).with_next(match &found.local {
            Some(dir) => format!("start the mesh, which makes one:  mainstay up --dir {}", dir.display()),
            None => "get one with a join token:  mainstay context add NAME --enrol HOST:PORT --as operator/NAME --token-file FILE …".to_owned(),
        })
    })?;
    let is_due = bundle.renew_at(0.0).is_ok_and(|due| SystemClock.wall() >= due);
    let identity = ClientIdentity::new(bundle).map_err(|error| CliError::usage(format!("the identity in {}: {error}", found.identity.display())))?;
    let mesh = Mesh::new(found.members.clone(), identity).with_deadline(DEADLINE);
    if is_due && let Err(error) = renew(&mesh, &found).await {
        // The old one may still do; if not, the call itself says so.
        tracing::warn!(error = error.message, "the certificate was not renewed");
    }
    Ok(mesh)
}

/// Puts a new certificate in the place of one that is due.
async fn renew(mesh: &Mesh, found: &Found) -> Result<(), CliError> {
    let failed = |error: mainstay_client::identity::IdentityError| CliError::failed(error.to_string());
    let key = NewKey::generate().map_err(failed)?;
    let request = RenewCertificateRequest { csr_pem: key.csr_pem().map_err(failed)? };
    let certificate = mesh.renew_certificate(request).await?;
    let bundle = key.into_bundle(certificate.chain_pem, certificate.roots_pem);
    bundle.store(&found.identity).map_err(failed)?;
    mesh.identity().replace(bundle).map_err(failed)?;
    mesh.reconnect();
    Ok(())
}

/// Adds to an error what the surroundings know: a mesh of this machine that does not run can be started.
#[must_use]
pub fn explain(error: CliError, global: &Global) -> CliError {
    if error.exit != Exit::Unreachable {
        return error;
    }
    match mesh_finder::find(global) {
        Ok(Found { local: Some(dir), .. }) if !crate::up::layout::Layout::new(&dir).is_alive() => {
            let message = format!("the mesh in {} does not run", dir.display());
            CliError::new(Exit::Unreachable, message).with_next(format!("start it:  mainstay up --dir {}", dir.display()))
        }
        _ => error,
    }
}

/// Whether it is worth asking the same again a little later.
#[must_use]
pub fn may_pass(error: &CallError) -> bool {
    error.is_transient()
}
