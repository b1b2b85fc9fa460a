//! `mainstay context`

use std::path::Path;

use mainstay_client::failpoint::Point;
use mainstay_client::identity::{Bundle, ClientIdentity, IdentityFiles};
use mainstay_client::{enrol, files};
use mainstay_core::Identity;
use serde_json::{Value, json};

use super::Screen;
use super::login::{not_enrolled, token_from};
use crate::args;
use crate::contexts::{Context, Contexts, Source, config_dir, directory_name};
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::{Entry, Table, Tone};

pub async fn context(verb: &args::context::Context, screen: Screen) -> Result<Exit, CliError> {
    let dir = config_dir()?;
    let mut contexts = Contexts::load(&dir)?;
    match verb {
        args::context::Context::List => screen.show(&contexts, |contexts| render(contexts, screen))?,
        args::context::Context::Use { name, dry_run } => {
            contexts.named(name)?;
            if *dry_run {
                return told_only(&json!({ "current": contexts.current }), &format!("{name} be the mesh that is meant"), screen);
            }
            contexts.current = Some(name.clone());
            contexts.store(&dir)?;
            screen.done(&json!({ "current": name }), &format!("✔ {name} is the mesh that is meant from now on"))?;
        }
        args::context::Context::Add(add) => {
            if add.dry_run {
                let by = checked(add)?;
                return told_only(&json!({ "current": contexts.current }), &format!("{} be known, with {by}", add.name), screen);
            }
            let identity = source(add, &dir).await?;
            contexts.contexts.insert(add.name.clone(), Context { members: add.members.clone(), identity });
            contexts.current.get_or_insert_with(|| add.name.clone());
            contexts.store(&dir)?;
            let used = contexts.current.as_deref() == Some(&add.name);
            let next =
                if used { "it is the mesh that is meant from now on".to_owned() } else { format!("use it:  mainstay context use {}", add.name) };
            screen.done(&json!({ "added": add.name, "current": contexts.current }), &format!("✔ {} is known; {next}", add.name))?;
        }
    }
    Ok(Exit::Success)
}

fn told_only(answer: &Value, what: &str, screen: Screen) -> Result<Exit, CliError> {
    screen.done(answer, &format!("✔ would have {what}; nothing was changed"))?;
    Ok(Exit::Success)
}

/// What would be the identity of a new context, in words; everything is looked at but the mesh itself.
fn checked(add: &args::context::Add) -> Result<String, CliError> {
    directory_name(&add.name)?;
    let (Some(address), Some(name)) = (&add.enrol, &add.identity_name) else {
        return given(add)?.map(|source| format!("the identity in {source}")).ok_or_else(no_identity);
    };
    let identity = named(name)?;
    token_from(add.token_file.as_deref())?;
    Ok(format!("an identity as {identity} from {address}, for which a join token would be used"))
}

/// Where the identity of a new context lies; by a join token, it is made first.
async fn source(add: &args::context::Add, config: &Path) -> Result<Source, CliError> {
    if let Some(source) = given(add)? {
        return Ok(source);
    }
    let (Some(address), Some(name)) = (&add.enrol, &add.identity_name) else { return Err(no_identity()) };
    let own = config.join(directory_name(&add.name)?);
    enrolled(address, name, add.token_file.as_deref()).await?.store_in(&own)?;
    Ok(Source::Dir(own))
}

/// An identity that is there already, and can be used.
fn given(add: &args::context::Add) -> Result<Option<Source>, CliError> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|error| CliError::usage(format!("{}: {error}", path.display())));
    if let Some(given) = &add.identity {
        Bundle::load(given).map_err(|error| CliError::usage(format!("--identity: {error}")))?;
        return Ok(Some(Source::Dir(absolute(given)?)));
    }
    let (Some(chain), Some(key), Some(roots)) = (&add.chain, &add.key, &add.roots) else { return Ok(None) };
    let files = IdentityFiles { chain: absolute(chain)?, key: absolute(key)?, roots: absolute(roots)? };
    // Proves that they fit together before a verb stumbles over them.
    files.load().and_then(ClientIdentity::new).map_err(|error| CliError::usage(format!("--chain, --key and --roots: {error}")))?;
    Ok(Some(Source::Files(files)))
}

fn no_identity() -> CliError {
    CliError::usage("an identity is needed: --identity DIR, --chain with --key and --roots, or --enrol HOST:PORT with --as IDENTITY")
}

fn named(identity: &str) -> Result<Identity, CliError> {
    identity.parse().map_err(|error| CliError::usage(format!("--as: {error}")))
}

/// An identity fresh from the mesh, not on disk yet.
struct Enrolled(Bundle);

impl Enrolled {
    fn store_in(self, dir: &Path) -> Result<(), CliError> {
        files::create_private_dir(Point::CliDirectory, dir).map_err(|error| CliError::failed(format!("{}: {error}", dir.display())))?;
        self.0.store(dir).map_err(|error| CliError::failed(error.to_string()))
    }
}

async fn enrolled(address: &str, identity: &str, token_file: Option<&str>) -> Result<Enrolled, CliError> {
    let identity = named(identity)?;
    let token = token_from(token_file)?;
    let bundle = enrol::enrol(address, &token, &identity).await.map_err(|error| not_enrolled(&error))?;
    Ok(Enrolled(bundle))
}

fn render(contexts: &Contexts, screen: Screen) -> String {
    if contexts.contexts.is_empty() {
        return "no contexts yet: add one with  mainstay context add NAME --members HOST:PORT …\n".to_owned();
    }
    let mut table = Table::new(screen.terminal, &["in use", "context", "members", "identity"]).wrapping(&[2, 3]);
    for (name, context) in &contexts.contexts {
        let used: Entry = if contexts.current.as_deref() == Some(name) { Entry::toned("✔", Tone::Good) } else { "".into() };
        table.row(vec![used, name.as_str().into(), context.members.join(", ").into(), context.identity.to_string().into()]);
    }
    table.render()
}
