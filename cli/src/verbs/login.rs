//! `mainstay login`: a token becomes an identity and a context; without one, the identity in use is renewed.

use std::path::{Path, PathBuf};

use mainstay_client::enrol::{self, EnrolError};
use mainstay_client::failpoint::Point;
use mainstay_client::identity::{IdentityError, Invitation, JoinToken};
use mainstay_client::{ClientIdentity, files};
use mainstay_core::Identity;
use mainstay_core::id::MeshName;
use serde::Serialize;

use super::{Screen, now, zone};
use crate::args::Global;
use crate::args::identity::Login;
use crate::connection;
use crate::contexts::{Context, Contexts, Source, config_dir, directory_name};
use crate::error::CliError;
use crate::exit::Exit;
use crate::host;
use crate::render::time;

/// A token is about 200 characters.
const TOKEN_MAX: u64 = 4 << 10;

/// `-o json` of `login`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LoggedIn {
    /// The context that is in use now; nothing where an identity was renewed in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    mesh: String,
    identity: String,
    members: Vec<String>,
    /// End of the certificate; 0 in a dry run of an enrolment.
    not_after_unix_ms: i64,
}

pub async fn login(login: &Login, global: &Global, screen: Screen) -> Result<Exit, CliError> {
    match token(login)? {
        Some(token) => enrolled(&token, login, screen).await,
        None => renewed(login, global, screen).await,
    }
}

fn token(login: &Login) -> Result<Option<JoinToken>, CliError> {
    match (&login.token, &login.token_file) {
        (Some(text), _) => text.parse().map(Some).map_err(not_a_token),
        (None, Some(file)) => token_from(Some(file)).map(Some),
        (None, None) => host::variable("MAINSTAY_JOIN_TOKEN").map(|text| text.parse().map_err(not_a_token)).transpose(),
    }
}

/// A join token from a file, from standard input (`-`) or from the environment.
pub fn token_from(file: Option<&str>) -> Result<JoinToken, CliError> {
    let text = match file {
        Some("-") => host::standard_input(TOKEN_MAX).map_err(|error| CliError::usage(format!("standard input: {error}")))?,
        Some(file) => files::read_text(Path::new(file), TOKEN_MAX).map_err(|error| CliError::usage(format!("{file}: {error}")))?,
        None => host::variable("MAINSTAY_JOIN_TOKEN").ok_or_else(|| {
            CliError::usage("a join token is needed: --token-file FILE, or the variable MAINSTAY_JOIN_TOKEN")
                .with_next("an admin of the mesh makes one:  mainstay operator add NAME --role ROLE")
        })?,
    };
    text.parse().map_err(not_a_token)
}

#[allow(clippy::needless_pass_by_value, reason = "what map_err gives")]
fn not_a_token(error: IdentityError) -> CliError {
    CliError::usage(error.to_string())
}

/// What an enrolment that did not come off is for a person.
pub fn not_enrolled(error: &EnrolError) -> CliError {
    let exit = if error.is_transient() { Exit::Unreachable } else { Exit::Failed };
    CliError::new(exit, error.to_string())
}

async fn enrolled(token: &JoinToken, login: &Login, screen: Screen) -> Result<Exit, CliError> {
    let Some(Invitation { identity, addresses }) = token.invitation() else {
        return Err(CliError::usage("this join token does not say for whom it is and where to enrol")
            .with_next("one that does comes from:  mainstay operator add NAME --role ROLE")
            .with_next("say it yourself:           mainstay context add NAME --members … --enrol … --as operator/NAME --token-file FILE"));
    };
    let config = config_dir()?;
    let mut contexts = Contexts::load(&config)?;
    if let Some(name) = &login.name {
        place(&contexts, &config, name, token.root_sha256(), identity)?;
    }
    if login.dry_run {
        let words = format!("✔ would enrol as {identity} at {}; nothing was done", addresses.join(", "));
        let told =
            LoggedIn { context: login.name.clone(), mesh: String::new(), identity: identity.to_string(), members: Vec::new(), not_after_unix_ms: 0 };
        screen.done(&told, &words)?;
        return Ok(Exit::Success);
    }
    let enrolled = enrol::enrol_at_any(addresses, token, identity).await.map_err(|error| not_enrolled(&error))?;
    let (mesh, _) = enrolled.bundle.identity().map_err(|error| CliError::failed(error.to_string()))?;
    let (_, not_after) = enrolled.bundle.validity().map_err(|error| CliError::failed(error.to_string()))?;
    // From here on the token is used up: the identity is stored whatever the name may come to.
    let (name, dir) = match &login.name {
        Some(name) => (name.clone(), config.join(directory_name(name)?)),
        None => free_place(&contexts, &config, &mesh, token.root_sha256(), identity)?,
    };
    files::create_private_dir(Point::CliDirectory, &dir).map_err(|error| CliError::failed(format!("{}: {error}", dir.display())))?;
    enrolled.bundle.store(&dir).map_err(|error| CliError::failed(error.to_string()))?;
    contexts.contexts.insert(name.clone(), Context { members: enrolled.members.clone(), identity: Source::Dir(dir) });
    contexts.current = Some(name.clone());
    contexts.store(&config)?;
    let words = format!("✔ logged in to {mesh} as {identity}; context {name} is in use\n  mainstay status");
    let told = LoggedIn {
        context: Some(name),
        mesh: mesh.to_string(),
        identity: identity.to_string(),
        members: enrolled.members,
        not_after_unix_ms: not_after.0,
    };
    screen.done(&told, &words)?;
    Ok(Exit::Success)
}

/// Whether a context may have this name: it is free, or it is the same identity's of the same mesh. Says where
/// it goes.
fn place(contexts: &Contexts, config: &Path, name: &str, root: &str, identity: &Identity) -> Result<PathBuf, CliError> {
    let own = config.join(directory_name(name)?);
    let Some(present) = contexts.contexts.get(name) else { return Ok(own) };
    let taken = match present.identity.load().and_then(|bundle| Ok((bundle.identity()?, bundle))) {
        Ok(((_, who), bundle)) if who == *identity && present.identity.dir() == Some(own.as_path()) && bundle.trusts(root) => return Ok(own),
        Ok(((mesh, who), _)) => format!("there is a context {name} already: {who} of mesh {mesh}"),
        Err(_) => format!("there is a context {name} already, and its identity cannot be read"),
    };
    Err(CliError::usage(taken).with_next("give this one another name:  mainstay login TOKEN --name CONTEXT"))
}

/// The mesh's own name, or that and a number.
fn free_place(contexts: &Contexts, config: &Path, mesh: &MeshName, root: &str, identity: &Identity) -> Result<(String, PathBuf), CliError> {
    let base = mesh.as_str().replace('.', "-");
    let mut names = std::iter::once(base.clone()).chain((2..100).map(|number| format!("{base}-{number}")));
    let found = names.find_map(|name| place(contexts, config, &name, root, identity).ok().map(|dir| (name, dir)));
    found.ok_or_else(|| CliError::failed(format!("there are too many contexts whose name begins with {base}: remove some from contexts.toml")))
}

async fn renewed(login: &Login, global: &Global, screen: Screen) -> Result<Exit, CliError> {
    let (mesh, found) = connection::open(global)?;
    let (of, ends) = (mesh.identity().mesh(), |identity: &ClientIdentity| identity.bundle().validity().map(|(_, end)| end.0));
    let failed = |error: IdentityError| CliError::failed(error.to_string());
    if !login.dry_run {
        connection::renew(&mesh, &found).await?;
    }
    let not_after_unix_ms = ends(mesh.identity()).map_err(failed)?;
    let identity = mesh.identity().identity();
    let until = time::local(not_after_unix_ms, now(), &zone());
    let words = if login.dry_run {
        format!("✔ would renew the certificate of {identity} in {of}, which ends at {until}; nothing was done")
    } else {
        format!("✔ {identity} in {of}: the certificate is good until {until}")
    };
    let told = LoggedIn { context: None, mesh: of.to_string(), identity: identity.to_string(), members: found.members, not_after_unix_ms };
    screen.done(&told, &words)?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use mainstay_client::clock::{Clock, SystemClock};
    use mainstay_client::identity::{LEAF_LIFE, NewKey, Root, root_sha256};

    use super::*;

    /// An identity on disk; the digest of its root.
    fn store(dir: &Path, mesh: &str, identity: &str) -> String {
        let (mesh, now): (MeshName, _) = (mesh.parse().unwrap(), SystemClock.wall());
        let root = Root::create(&mesh, now).unwrap();
        let key = NewKey::generate().unwrap();
        let issuer = root.issuer("c1", now).unwrap();
        let chain = issuer.issue(&key.csr_pem().unwrap(), &mesh, &identity.parse().unwrap(), now, LEAF_LIFE).unwrap();
        files::create_private_dir(Point::CliDirectory, dir).unwrap();
        key.into_bundle(chain, root.cert_pem().to_owned()).store(dir).unwrap();
        root_sha256(root.cert_pem()).unwrap()
    }

    #[test]
    fn a_context_is_not_taken_from_somebody_else() {
        let config = tempfile::tempdir().unwrap();
        let dir = |name: &str| config.path().join(name);
        let root = store(&dir("prod"), "prod", "operator/ana");
        let mut contexts = Contexts::default();
        contexts.contexts.insert("prod".into(), Context { members: Vec::new(), identity: Source::Dir(dir("prod")) });
        let (ana, ben): (Identity, Identity) = ("operator/ana".parse().unwrap(), "operator/ben".parse().unwrap());
        let (prod, lab): (MeshName, MeshName) = ("prod".parse().unwrap(), "lab".parse().unwrap());

        let free = |mesh: &MeshName, who: &Identity| free_place(&contexts, config.path(), mesh, &root, who).unwrap();
        assert_eq!(free(&prod, &ana), ("prod".into(), dir("prod")), "the same again takes its place");
        let other = free_place(&contexts, config.path(), &prod, "another root", &ana).unwrap();
        assert_eq!(other.0, "prod-2", "another mesh of that name does not");
        assert_eq!(free(&prod, &ben), ("prod-2".into(), dir("prod-2")));
        assert_eq!(free(&lab, &ben), ("lab".into(), dir("lab")));
        assert_eq!(free(&"a.b".parse().unwrap(), &ben).0, "a-b");
        let error = place(&contexts, config.path(), "prod", &root, &ben).unwrap_err();
        assert_eq!(error.message, "there is a context prod already: operator/ana of mesh prod");
        assert!(place(&contexts, config.path(), "../x", &root, &ben).is_err());
    }
}
