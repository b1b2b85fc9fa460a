//! From a mesh that was found to a client of it: reads the identity, and renews it when it is time.

use std::time::Duration;

use mainstay_client::identity::{Age, ClientIdentity, IdentityError};
use mainstay_client::renewal::{self, RenewError};
use mainstay_client::{CallError, Mesh};
use mainstay_core::{Identity, WallTime};

use crate::args::Global;
use crate::error::CliError;
use crate::exit::Exit;
use crate::mesh_finder::{self, Found};
use crate::render::time;

/// A person waits this long for a mesh that changes its leader, and not for one that is gone.
const DEADLINE: Duration = Duration::from_secs(8);

/// A client of the mesh that flags and surroundings mean, with a certificate that is in force: one that is
/// near its end or past it is renewed without a word.
pub async fn connect(global: &Global) -> Result<Mesh, CliError> {
    let (mesh, found) = open(global)?;
    let bundle = mesh.identity().bundle();
    let age = bundle.age(mesh.clock().wall()).map_err(|error| unusable(&found, &error))?;
    if found.identity.dir().is_none() {
        return if matches!(age, Age::Fresh | Age::Due) { Ok(mesh) } else { Err(not_renewed(&mesh, &found)) };
    }
    if let Age::TooOld { end } = age {
        return Err(too_old(&mesh, end));
    }
    if age == Age::Fresh {
        return Ok(mesh);
    }
    match renew(&mesh, &found).await {
        Ok(()) => {}
        // Who cannot be reached for this cannot be reached for anything else.
        Err(error) if age == Age::Expired || error.exit == Exit::Unreachable => return Err(error),
        // The old one may still do; if not, the call itself says so.
        Err(error) => tracing::warn!(error = error.message, "the certificate was not renewed"),
    }
    Ok(mesh)
}

/// The same with the certificate as it is.
pub fn open(global: &Global) -> Result<(Mesh, Found), CliError> {
    let found = mesh_finder::find(global)?;
    let bundle = found.identity.load().map_err(|error| {
        CliError::new(Exit::Unreachable, format!("no identity to show to the mesh: {error}")).with_next(match &found.local {
            Some(dir) => format!("start the mesh, which makes one:  mainstay up --dir {}", dir.display()),
            None if found.identity.dir().is_none() => "it is issued elsewhere: see to it that these files are there and can be read".to_owned(),
            None => "get one from an admin (mainstay operator add NAME --role ROLE), and then:  mainstay login TOKEN".to_owned(),
        })
    })?;
    let identity = ClientIdentity::new(bundle).map_err(|error| unusable(&found, &error))?;
    Ok((Mesh::new(found.members.clone(), identity).with_deadline(DEADLINE), found))
}

fn unusable(found: &Found, error: &IdentityError) -> CliError {
    CliError::usage(format!("the identity in {}: {error}", found.identity))
}

/// The mesh would end the connection without words that help.
fn too_old(mesh: &Mesh, end: WallTime) -> CliError {
    let identity = mesh.identity().identity();
    let ended = time::ago(end.0, mesh.clock().wall());
    let told = CliError::new(Exit::Unreachable, format!("the certificate of {identity} ended {ended}: after 30 days it is not renewed any more"));
    match &identity {
        Identity::Operator(name) => told
            .with_next(format!("an admin makes a new login:  mainstay operator add {name} --role ROLE"))
            .with_next("then, here:                  mainstay login TOKEN"),
        _ => told.with_next("enrol again with a join token:  mainstay context add NAME --token-file FILE …"),
    }
}

/// After a verb: renews where the mesh has asked for it with an answer, so that this identity learns of other roots
/// in time. Not worth a word: the next verb tries again.
pub async fn renew_if_asked(mesh: &Mesh, global: &Global) {
    if !mesh.is_renewal_asked() {
        return;
    }
    let renewed = match mesh_finder::find(global) {
        Ok(found) if found.identity.dir().is_some() => renew(mesh, &found).await,
        _ => return,
    };
    if let Err(error) = renewed {
        tracing::debug!(error = error.message, "the certificate was not renewed");
    }
}

/// Whoever issues it should have renewed it.
fn not_renewed(mesh: &Mesh, found: &Found) -> CliError {
    CliError::new(Exit::Unreachable, format!("the certificate of {} in {} has ended", mesh.identity().identity(), found.identity))
        .with_next("it is renewed by whoever issues it, not by the mesh: look there")
}

/// Puts a new certificate in the place of the present one.
pub async fn renew(mesh: &Mesh, found: &Found) -> Result<(), CliError> {
    let Some(dir) = found.identity.dir() else {
        return Err(CliError::usage(format!("the certificate in {} is renewed by whoever issues it, not by the mesh", found.identity)));
    };
    renewal::renew(mesh, dir).await.map_err(|error| match error {
        RenewError::Call(error) => error.into(),
        error => CliError::failed(error.to_string()),
    })
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
