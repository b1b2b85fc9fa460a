//! `mainstay backup run`

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use mainstay_backup::keys::Recipients;
use mainstay_backup::manifest::Role;
use mainstay_backup::receipt::{Sign, SigningKey};
use mainstay_backup::seam::Stopwatch;
use mainstay_backup::source::Source;
use mainstay_backup::source::files::Files;
use mainstay_backup::source::postgres::queries::Queries;
use mainstay_backup::source::postgres::{Ask, Postgres};
use mainstay_backup::source::redis::{Dial, Duplex, Login, Redis, Server};
use mainstay_backup::store::CreateIfAbsent;
use mainstay_backup::write::{Order, confirm, write};
use mainstay_backup::{Store, Token};
use mainstay_client::{files, random};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{KEYS_MAX, places, progress, target, worker};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::host;
use crate::render::units;
use crate::verbs::{Screen, now};

/// Makes a backup, reads it back, and has it count if that went well.
pub async fn run(args: &args::backup::Run, screen: Screen) -> Result<Exit, CliError> {
    if let Some(order) = &args.worker {
        return worker::run(args, order).await;
    }
    let roles = [(Role::BreakGlass, &args.break_glass), (Role::Drill, &args.drill)];
    let keys = roles.into_iter().flat_map(|(role, keys)| keys.iter().map(move |key| (role, key.as_str())));
    let recipients = Recipients::read(keys).map_err(|error| CliError::usage(error.to_string()))?;
    let signer = args.sign.as_deref().map(signing_key).transpose()?.map(Arc::new);
    // The target's key is one for which this signer vouches, or a new one.
    let recipients = match &signer {
        Some(by) => recipients.vouched_by(Arc::clone(by) as Arc<dyn Sign>, Arc::new(vec![by.public()])),
        None => recipients,
    };
    let target = target(&args.target)?;
    let mut source = source(&args.source, ask(&args.asked)?, Duration::from_millis(args.deadline.0))?;
    let store = places::store(&args.store)?;
    let probe = store.probe().await.map_err(failed)?;
    note(screen, !recipients.has_break_glass(), "there is no break-glass key: who loses the drill key loses this backup")?;
    note(
        screen,
        probe.create_if_absent == CreateIfAbsent::Ignored,
        "this store overwrites what it is to create only once: two writers at one instant cannot be told apart",
    )?;
    if args.dry_run {
        let versions = source.look().await.map_err(failed)?;
        let words = format!("✔ {target} could be backed up to {}; nothing was written", store.place());
        screen.done(&json!({ "target": target, "versions": versions, "probe": probe }), &words)?;
        return Ok(Exit::Success);
    }
    let time = Timestamp::from_millisecond(now().0).map_err(|error| CliError::failed(format!("the clock of this machine: {error}")))?;
    // Without a mesh nobody gives out tokens: the clock's are below all of a mesh's, and grow as it does.
    let token = Token { incarnation: 0, counter: u64::try_from(now().0).unwrap_or_default() };
    let order = Order { target, time, token, writer: random::token(16), set: args.set.clone(), recipients, key: None };
    let cancel = CancellationToken::new();
    let (tell, shown) = progress::shown(screen, "writing");
    let watch = Stopwatch::start();
    let writing = write(&store, order, source.as_mut(), &tell, &cancel);
    tokio::pin!(writing);
    let written = tokio::select! {
        written = &mut writing => written,
        _ = tokio::signal::ctrl_c() => {
            cancel.cancel();
            writing.await
        }
    };
    let written = written.map_err(failed)?;
    drop(shown);
    let (tell, shown) = progress::shown(screen, "reading back");
    let checked = mainstay_backup::check(&store, &written.manifest, &written.check, &tell).await;
    drop(shown);
    let id = &written.manifest.backup;
    if let Some((part, wrong)) = checked.parts.iter().find_map(|part| Some((&part.name, part.wrong.as_ref()?))) {
        return Err(CliError::failed(format!("{id} was written and read back, and is not good: {part}: {wrong}")));
    }
    confirmed(&store, id, &written.digest, signer.as_deref()).await?;
    let (plain, stored) = written.manifest.parts.iter().fold((0, 0), |(plain, stored), part| (plain + part.plain.bytes, stored + part.stored.bytes));
    let public = signer.as_ref().map(|key| key.public().to_string());
    let counts = match &public {
        Some(key) => format!("counts by the word of {key}"),
        None => "unconfirmed: without --sign nothing says that it counts".to_owned(),
    };
    let words = format!(
        "✔ {id} · {} stored as {} · written in {} · read back in {}\n  {counts}",
        units::bytes(plain as f64),
        units::bytes(stored as f64),
        units::duration_ms(written.manifest.took_ms),
        units::duration_ms(checked.took_ms)
    );
    let total_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
    let told = json!({ "backup": id, "plainBytes": plain, "storedBytes": stored, "tookMs": written.manifest.took_ms, "checkMs": checked.took_ms,
        "totalMs": total_ms, "signer": public, "sealed": written.sealed, "probe": probe, "manifest": written.manifest });
    screen.done(&told, &words)?;
    Ok(Exit::Success)
}

pub(super) fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::failed(error.to_string())
}

pub(super) fn note(screen: Screen, is: bool, words: &str) -> Result<(), CliError> {
    if !is || screen.is_json() {
        return Ok(());
    }
    host::print_error(&format!("▲ {words}\n")).map_err(|error| CliError::failed(format!("nothing can be printed: {error}")))
}

pub(super) fn signing_key(file: &std::path::Path) -> Result<SigningKey, CliError> {
    let kept = files::read_bounded(file, KEYS_MAX).map_err(|error| CliError::usage(format!("{}: {error}", file.display())))?;
    SigningKey::read(&kept, file).map_err(CliError::usage)
}

async fn confirmed(store: &Store, id: &mainstay_backup::Id, digest: &str, signer: Option<&SigningKey>) -> Result<(), CliError> {
    let Some(signer) = signer else { return Ok(()) };
    let by: &dyn Sign = signer;
    confirm(store, id, digest, by)
        .await
        .map(drop)
        .map_err(|error| CliError::failed(format!("{id} was written and is good, and is unconfirmed: {error}")))
}

/// What is asked for of a database.
pub(super) fn ask(args: &args::backup::Asked) -> Result<Ask, CliError> {
    let queries = args.query.iter().map(|query| {
        let named = query.split_once('=').map(|(name, statement)| (name.to_owned(), statement.to_owned()));
        named.ok_or_else(|| CliError::usage(format!("`{query}` is no query: --query NAME=SELECT…")))
    });
    let queries = Queries::of(&queries.collect::<Result<_, _>>()?).map_err(CliError::usage)?;
    Ok(Ask { content: args.content, queries, streams: args.streams })
}

pub(super) fn source(args: &args::backup::Source, ask: Ask, deadline: Duration) -> Result<Box<dyn Source>, CliError> {
    if let Some(url) = &args.postgres {
        return Ok(Box::new(Postgres::new(places::postgres(url)?, ask.options(deadline))));
    }
    if let Some(url) = &args.redis {
        let parts = places::parts(url, "redis", 6379, "REDISCLI_AUTH")?;
        let login = Login { user: parts.user.map(str::to_owned), password: host::variable("REDISCLI_AUTH").map(Into::into) };
        return Ok(Box::new(Redis::new(url, dial(format!("{}:{}", parts.host, parts.port)), login, deadline)));
    }
    Ok(Box::new(Files::new(args.files.clone())))
}

fn dial(named: String) -> Dial {
    Box::new(move |server| {
        let address = match server {
            Server::Named => named.clone(),
            Server::Other { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Server::Other { host, port } => format!("{host}:{port}"),
        };
        async move {
            let socket = host::connect(&address).await?;
            Ok::<_, io::Error>(Box::new(socket) as Box<dyn Duplex>)
        }
        .boxed()
    })
}
