//! `backup.run`: looks at source, keys and store, writes, reads back what was written, and confirms it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use mainstay_backup::manifest::{Manifest, Role};
use mainstay_backup::receipt::Sign;
use mainstay_backup::source::postgres::Ask;
use mainstay_backup::source::postgres::queries::Queries;
use mainstay_backup::source::{Source, kubernetes};
use mainstay_backup::store::{CreateIfAbsent, Probe};
use mainstay_backup::worker::WorkOrder;
use mainstay_backup::write::{Order, WriteError, confirm, write, written_by};
use mainstay_backup::{Id, Target, target_key};
use mainstay_client::random;
use mainstay_core::backup::{BackupNote, ListedBackup};
use mainstay_core::catalogue::BACKUP_RUN as KIND;
use mainstay_core::report::{Check, Report, Verdict};
use mainstay_core::{Millis, WallTime};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::params::{self, Size, Span};
use super::super::{Context, StepError, wording};
use super::store::Opened;
use super::worker::{Task, Worker};
use super::{catalogue, mesh, not_told, source, subject, token, told, unless_called_off};

/// Random bytes of a writer's name: nobody else draws the same.
const WRITER_BYTES: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    connection: Option<String>,
    store: Option<String>,
    set: Option<String>,
    #[serde(default)]
    content: bool,
    #[serde(default)]
    streams: u8,
    #[serde(default)]
    queries: BTreeMap<String, String>,
    #[serde(default)]
    mesh: bool,
    limit: Option<Size>,
    #[serde(default = "four_hours")]
    deadline: Span,
    #[serde(default)]
    dry_run: bool,
}

fn four_hours() -> Span {
    Span(Millis::from_secs(4 * 3_600))
}

impl Params {
    /// What is asked for of a database.
    fn ask(&self) -> Result<Ask, String> {
        let queries = Queries::of(&self.queries).map_err(|why| format!("{KIND}: `queries`: {why}"))?;
        Ok(Ask { content: self.content, queries, streams: self.streams })
    }
}

/// What is known before anything is written.
struct Looked {
    target: Target,
    /// Read by this process; nothing where a worker does that.
    source: Option<Box<dyn Source>>,
    versions: BTreeMap<String, String>,
    probe: Probe,
    has_break_glass: bool,
}

/// A backup that was written and read back, and of which nobody has said yet that it counts.
struct Made {
    manifest: Manifest,
    digest: String,
    /// Unfinished ones that were made void.
    sealed: Vec<Id>,
    check_ms: u64,
}

pub(in super::super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let (connection, target) = subject(KIND, params.connection.as_deref(), context)?;
    mesh::is_meant(connection, params.mesh).map_err(StepError::refused)?;
    let opened = unless_called_off(KIND, context, Opened::of(KIND, params.store.as_deref(), params.limit.map(|limit| limit.0), context)).await??;
    let (recipients, signs) = (opened.recipients()?, opened.signs()?.map(Arc::new));
    // The target's key is one for which somebody vouches whose word counts here, or a new one.
    let recipients = match &signs {
        Some(by) => recipients.vouched_by(Arc::clone(by) as Arc<dyn Sign>, Arc::new(opened.signers()?)),
        None => recipients,
    };
    let failed = |why: &dyn std::fmt::Display| StepError::failed(format!("{KIND}: {}: {why}", connection.name));
    let worker = Worker::of(connection, &opened, context)?;
    let (ask, deadline) = (params.ask().map_err(StepError::refused)?, params.deadline.0.as_duration());
    let looking = async {
        // First the store: where nothing could be put, nothing is asked of the source.
        let probe = opened.store.probe().await.map_err(|error| failed(&error))?;
        let (source, versions) = match &worker {
            Some(worker) => (None, worker.look().await.map_err(|why| failed(&why))?),
            None => {
                let mut source = source::of(connection, ask, deadline, context).await.map_err(|why| failed(&why))?;
                let versions = source.look().await.map_err(|error| failed(&error))?;
                (Some(source), versions)
            }
        };
        Ok::<_, StepError>((source, versions, probe))
    };
    let (source, versions, probe) = unless_called_off(KIND, context, looking).await??;
    let mut looked = Looked { target, source, versions, probe, has_break_glass: recipients.has_break_glass() };
    let mut checks = remarks(&looked, &opened, signs.is_some());
    if params.dry_run {
        checks.insert(0, would(&looked, &opened));
        return Ok(Report { checks, ..Report::default() });
    }
    let time = Timestamp::from_millisecond(context.host.wall().0).map_err(|error| failed(&format!("the clock of this machine: {error}")))?;
    let order = Order {
        target: looked.target.clone(),
        time,
        token: token(KIND, context)?,
        writer: random::token(WRITER_BYTES),
        set: params.set.clone().filter(|set| !set.is_empty()),
        recipients,
        key: None,
    };
    let made = match (looked.source.as_deref_mut(), &worker) {
        (Some(source), _) => here(source, order, &opened, context, &failed).await?,
        (None, Some(worker)) => elsewhere(worker, order, &params, &opened, context, &failed).await?,
        (None, None) => return Err(failed(&"nothing reads it")),
    };
    let id = &made.manifest.backup;
    let uncounted =
        |error: &dyn std::fmt::Display| failed(&format!("{id} is written and is good, and does not count: {error}; the next run makes another one"));
    // Who has been overtaken hears so here, before anything says that it counts. Who loses the lease meanwhile is called off.
    if let Some(note) = note(&made, &opened) {
        let told = context.cancel.run_until_cancelled(context.catalogue.note_until_answered(&looked.target, &note)).await;
        told.ok_or_else(|| StepError::cancelled(format!("{KIND} was called off: {id} is written and is good, and does not count")))?
            .map_err(|why| uncounted(&format!("the mesh's catalogue does not take it: {why}")))?;
    }
    if let Some(by) = &signs {
        confirm(&opened.store, id, &made.digest, by).await.map_err(|error| uncounted(&error))?;
        if let Some(backup) = catalogue::name(id) {
            let note = BackupNote::Confirmed { backup };
            match context.cancel.run_until_cancelled(context.catalogue.note_until_answered(&looked.target, &note)).await {
                Some(told) => checks.extend(told.err().map(|why| not_told(&looked.target, &why))),
                None => checks.push(not_told(&looked.target, &"it was called off")),
            }
        }
    }
    checks.insert(0, told_of(&made));
    Ok(Report { checks, outputs: outputs(&made, signs.is_some()), ..Report::default() })
}

type Failed<'f> = dyn Fn(&dyn std::fmt::Display) -> StepError + Send + Sync + 'f;

/// This process reads the source, writes, and reads back.
async fn here(source: &mut dyn Source, order: Order, opened: &Opened<'_>, context: &Context, failed: &Failed<'_>) -> Result<Made, StepError> {
    let store = &opened.store;
    let written = told("writing", context, async |tell| write(store, order, source, tell, &context.cancel).await).await.map_err(not_written)?;
    let id = &written.manifest.backup;
    let checked = told("reading back", context, async |tell| {
        context.cancel.run_until_cancelled(mainstay_backup::check(store, &written.manifest, &written.check, tell)).await
    });
    let checked = checked
        .await
        .ok_or_else(|| StepError::cancelled(format!("{KIND} was called off: {id} is written, was not read back, and does not count")))?;
    if let Some((part, wrong)) = checked.parts.iter().find_map(|part| Some((part, part.wrong.as_ref()?))) {
        let what = if part.unread { "could not be read back" } else { "is not what was written when it is read back" };
        return Err(failed(&format!("{id} was written, and {what}: {}: {wrong}; it does not count", part.name)));
    }
    Ok(Made { manifest: written.manifest, digest: written.digest, sealed: written.sealed, check_ms: checked.took_ms })
}

/// A worker does the same. What it has made is what the store has under its name.
async fn elsewhere(
    worker: &Worker<'_>,
    order: Order,
    params: &Params,
    opened: &Opened<'_>,
    context: &Context,
    failed: &Failed<'_>,
) -> Result<Made, StepError> {
    let store = &opened.store;
    let key =
        unless_called_off(KIND, context, target_key::for_worker(store, &order.target, &order.recipients)).await?.map_err(|error| failed(&error))?;
    let Order { target, time, token, writer, set, recipients, .. } = order;
    let work = WorkOrder { time, token, writer, key, recipients: recipients.who_can_open() };
    let task = Task {
        target: &target,
        order: &work,
        set: set.as_deref(),
        limit: params.limit.map(|limit| limit.0),
        deadline: params.deadline.0.as_duration(),
        content: params.content,
        streams: params.streams,
        queries: &params.queries,
    };
    let made = worker.make(&task, opened).await?;
    let id = Id::new(target.clone(), time, token);
    let (manifest, digest) = written_by(store, &id, &work.writer).await.map_err(not_written)?;
    // It chooses nothing: to whom it is encrypted, and what it belongs to, is what was ordered.
    let opens = manifest.recipients.iter().filter(|one| one.role != Role::Check);
    if manifest.key.as_ref() != Some(&work.key) || !opens.eq(&work.recipients) || manifest.set != set {
        return Err(failed(&format!(
            "{id} is not what its worker was told to make: its key, its recipients or its set is another; it does not count"
        )));
    }
    Ok(Made { manifest, digest, sealed: made.sealed, check_ms: made.check_ms })
}

/// What the catalogue is told of it; nothing where it could not have it.
fn note(made: &Made, opened: &Opened<'_>) -> Option<BackupNote> {
    let manifest = &made.manifest;
    let backup = ListedBackup {
        name: catalogue::name(&manifest.backup)?,
        begun: WallTime(manifest.backup.time.as_millisecond()),
        stored_bytes: sizes(manifest).1,
        checksum: made.digest.clone(),
        counts: false,
        read: Some(Verdict::Ok),
    };
    Some(BackupNote::Made { store: opened.connection.name.clone(), backup })
}

fn not_written(error: WriteError) -> StepError {
    match error {
        WriteError::Cancelled => StepError::cancelled(format!("{KIND} was called off: nothing of it counts, and it is marked as void")),
        WriteError::Overtaken { .. } | WriteError::Sealed { .. } | WriteError::Taken(_) => {
            StepError::failed(format!("{KIND}: {error}; nothing of it counts"))
        }
        error => StepError::failed(format!("{KIND}: {error}")),
    }
}

/// What speaks against it, and does not stop it.
fn remarks(looked: &Looked, opened: &Opened<'_>, is_signed: bool) -> Vec<Check> {
    let (name, at) = (opened.connection.name.as_str(), &opened.connection.declared_at);
    let mut checks = Vec::new();
    if !looked.has_break_glass {
        let message = "there is no break-glass key: who loses the drill key loses these backups";
        checks.push(Check::stated("backup.keys", name, Verdict::Warning, message).with_hint(format!("at {at}:  breakGlass = [\"age1…\"]")));
    }
    if !is_signed {
        let message = "nothing signs that a backup counts: each stays unconfirmed, and none is taken for good";
        checks.push(Check::stated("backup.signed", name, Verdict::Warning, message).with_hint(format!("at {at}:  sign = {{ file = \"sign.der\" }}")));
    }
    if looked.probe.create_if_absent == CreateIfAbsent::Ignored {
        let message = "it overwrites what it is to create only once: two writers at one instant cannot be told apart";
        checks.push(Check::stated("backup.store", name, Verdict::Warning, message));
    }
    checks
}

fn would(looked: &Looked, opened: &Opened<'_>) -> Check {
    let versions: Vec<String> = looked.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let message = format!("would be backed up to {}; nothing was written", opened.store.place());
    Check::stated("backup.dryRun", &looked.target.to_string(), Verdict::Ok, message).with_details(versions)
}

fn told_of(made: &Made) -> Check {
    let manifest = &made.manifest;
    let (plain, stored) = sizes(manifest);
    let took = |ms: u64| wording::seconds(Millis(ms).as_secs_f64());
    let message = format!(
        "{} is stored as {}, written in {} and read back in {}",
        wording::bytes(plain),
        wording::bytes(stored),
        took(manifest.took_ms),
        took(made.check_ms)
    );
    let sealed = made.sealed.iter().take(4).map(|id: &Id| format!("{id} had not come to its end, and was made void"));
    Check::stated("backup.made", &manifest.backup.to_string(), Verdict::Ok, message).with_details(sealed)
}

fn sizes(manifest: &Manifest) -> (u64, u64) {
    manifest.parts.iter().fold((0, 0), |(plain, stored), part| (plain + part.plain.bytes, stored + part.stored.bytes))
}

/// Tables, keys, files, objects or entries of the mesh's log, whatever the source counts.
fn counted(manifest: &Manifest) -> Option<u64> {
    let of = |name: &str| manifest.source.counted.get(name);
    let tables = || of("tables").and_then(Value::as_object).map(|tables| tables.len() as u64);
    // By database.
    let keys = || of("keysAfter").and_then(Value::as_object).map(|keys| keys.values().filter_map(Value::as_u64).sum());
    let objects = || of(kubernetes::OBJECTS).map(|counted| kubernetes::Tally::of(counted).count());
    let either = || of("files").or_else(|| of("applied")).and_then(Value::as_u64);
    tables().or_else(keys).or_else(objects).or_else(either)
}

fn outputs(made: &Made, is_signed: bool) -> BTreeMap<String, Value> {
    let manifest = &made.manifest;
    let (plain, stored) = sizes(manifest);
    let outputs = [
        ("backup", Some(Value::from(manifest.backup.to_string()))),
        ("counts", Some(Value::from(is_signed))),
        ("plainBytes", Some(Value::from(plain))),
        ("storedBytes", Some(Value::from(stored))),
        ("checksum", Some(Value::from(made.digest.clone()))),
        ("tookMs", Some(Value::from(manifest.took_ms))),
        ("checkMs", Some(Value::from(made.check_ms))),
        ("parts", Some(Value::from(manifest.parts.len()))),
        ("counted", counted(manifest).map(Value::from)),
    ];
    outputs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
