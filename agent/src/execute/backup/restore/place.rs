//! Where a backup is put: a database, a directory, or namespaces of a cluster.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_backup::keys::Identities;
use mainstay_backup::manifest::{Manifest, Part};
use mainstay_backup::place::files::Counted;
use mainstay_backup::place::postgres::{Mark, Options, Parallel, Ready};
use mainstay_backup::place::some::{Paths, Tables};
use mainstay_backup::place::whole::Whole;
use mainstay_backup::place::{files as of_files, named, postgres as of_postgres, redis as of_redis};
use mainstay_backup::progress::Teller;
use mainstay_backup::source::{files, kubernetes, postgres, redis};
use mainstay_client::files as disk;
use mainstay_core::report::Check;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::super::super::{Context, dial, wording};
use super::super::source::{self, CONNECT_WITHIN};
use super::super::store::Opened;
use super::objects::{Asked, Objects};
use crate::connections::{Connection, ConnectionKind, Place as Address};

/// What is put, and how.
pub(super) struct Order<'o> {
    pub opened: &'o Opened<'o>,
    pub manifest: &'o Manifest,
    pub keys: &'o Identities,
    /// What of it, where not all is wanted.
    pub only: &'o Only,
    /// PostgreSQL: all objects belong to who restores, and rights are left out.
    pub without_owners: bool,
    /// PostgreSQL: connections at a time, and where scratch space is for that; one in one transaction where there is nothing.
    pub parallel: Option<Parallel>,
    pub deadline: Duration,
}

/// What of a backup is wanted; all of it where nothing is named.
#[derive(Debug, Clone, Default)]
pub(super) struct Only {
    names: Vec<String>,
    tables: Option<Tables>,
    paths: Option<Paths>,
    /// Of Kubernetes: which, and where.
    objects: Asked,
}

impl Only {
    /// # Errors
    /// In words: a name is none.
    pub fn of(tables: &[String], paths: &[String], objects: Asked) -> Result<Only, String> {
        if !tables.is_empty() && !paths.is_empty() {
            return Err("a database has `tables`, and a directory has `paths`: name one of the two".to_owned());
        }
        Ok(Only {
            names: tables.iter().chain(paths).cloned().collect(),
            tables: if tables.is_empty() { None } else { Some(Tables::of(tables)?) },
            paths: if paths.is_empty() { None } else { Some(Paths::of(paths)?) },
            objects,
        })
    }
}

/// What is at a place before anything is put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    /// Nothing.
    Free,
    /// This backup, put there by an earlier try.
    Restored,
    /// An earlier try had begun, and something is there: this backup, or somebody else's.
    Begun,
    /// Some of this backup, and nothing else: an earlier try has begun, and this one goes on.
    Half,
}

impl Is {
    /// Whether something is still to be put there.
    pub fn is_open(self) -> bool {
        matches!(self, Is::Free | Is::Half)
    }
}

/// Why nothing can be put there, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Not {
    /// As it is: somebody has to change something.
    Refused(String),
    /// Now: it may be otherwise at the next try.
    Failed(String),
}

/// Why it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotPut {
    Failed(String),
    /// With what is left of it, in words.
    CalledOff(String),
}

/// What was held against what the source had counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compared {
    /// `2 tables, 20500 rows`
    pub words: String,
    /// Rows, keys or files, as the source had counted them.
    pub counted: Option<u64>,
    /// What differs, in words.
    pub differs: Vec<String>,
}

impl Compared {
    /// Whether there was something to compare, and it is the same.
    pub fn is_same(&self) -> bool {
        self.counted.is_some_and(|counted| counted > 0) && self.differs.is_empty()
    }
}

/// Where it is put.
pub(super) enum Place {
    /// With the directory of the client programs, where the connection names one.
    Database(postgres::Connection, Option<PathBuf>),
    /// A directory that becomes what the one was that was backed up.
    Directory(Whole, PathBuf),
    /// A directory that gets the snapshot of a Redis.
    Snapshot(Whole, PathBuf),
    /// Namespaces of the agent's own cluster.
    Objects(Box<Objects>),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Database(database, _) => write!(f, "{database}"),
            Place::Directory(_, dir) | Place::Snapshot(_, dir) => write!(f, "{}", dir.display()),
            Place::Objects(objects) => write!(f, "{objects}"),
        }
    }
}

impl Place {
    /// What a connection leads to, if that backup can be put there.
    ///
    /// # Errors
    /// In words: it is of another kind, or is not reached.
    pub async fn of(into: &Connection, manifest: &Manifest, only: &Only, context: &Context) -> Result<Place, String> {
        let kind = manifest.source.kind.as_str();
        match (kind, into.kind, &into.address.place) {
            ("postgres.dump", ConnectionKind::Postgres, _) => {
                // By its own programs it would also go where this agent may not.
                drop(dial::socket(into, context, CONNECT_WITHIN).await.map_err(|error| error.to_string())?);
                Ok(Place::Database(source::postgres(into, context)?, into.programs.clone()))
            }
            ("files", ConnectionKind::Files, Address::Dir(dir)) => Ok(Place::Directory(whole(dir)?, dir.clone())),
            ("redis.dump", ConnectionKind::Files, Address::Dir(dir)) => Ok(Place::Snapshot(whole(dir)?, dir.clone())),
            (kubernetes::KIND, ConnectionKind::Kubernetes, _) => {
                Objects::of(into, manifest, &only.objects, context).map(|objects| Place::Objects(Box::new(objects)))
            }
            ("postgres.dump", ..) => Err(format!("{} is a database, and goes into a connection of kind postgres", manifest.backup)),
            ("files", ..) => Err(format!("{} is a directory, and goes into a connection of kind files", manifest.backup)),
            ("redis.dump", ..) => {
                Err(format!("{} is a snapshot of Redis, and goes into a connection of kind files: start a server there", manifest.backup))
            }
            (kubernetes::KIND, ..) => Err(format!("{} is of objects, and goes into a connection of kind kubernetes", manifest.backup)),
            (kind, ..) => Err(format!("how {kind} is restored is not known here; docs/backup-format.md says how {} is opened", manifest.backup)),
        }
    }

    /// Whether that can be had of what goes here.
    ///
    /// # Errors
    /// In words.
    pub fn takes(&self, manifest: &Manifest, only: &Only) -> Result<(), String> {
        match self {
            Place::Objects(_) if !only.names.is_empty() => {
                Err("objects have no `tables` and no `paths`: name `only`, such as ConfigMap/web-*, or `labels`".to_owned())
            }
            Place::Database(..) | Place::Directory(..) | Place::Snapshot(..) if only.objects.is_said() => {
                Err("`namespace`, `only` and `labels` are for objects of Kubernetes".to_owned())
            }
            Place::Database(..) if let Some(tables) = &only.tables => {
                tables.only(manifest.source.counted.get("tables").unwrap_or(&Value::Null)).map(drop)
            }
            Place::Database(..) if only.paths.is_some() => Err("a database has no `paths`: name its `tables`".to_owned()),
            Place::Directory(..) if only.tables.is_some() => Err("a directory has no `tables`: name `paths` within it".to_owned()),
            Place::Snapshot(..) if !only.names.is_empty() => Err("a snapshot of Redis is restored as a whole".to_owned()),
            _ => Ok(()),
        }
    }

    /// What is there.
    ///
    /// # Errors
    /// Something is there that this backup does not go over, or it cannot be asked.
    pub async fn is(&self, order: &Order<'_>) -> Result<Is, Not> {
        let backup = &named(&order.manifest.backup, &order.only.names);
        let refused = |error: mainstay_backup::place::PlaceError| Not::Refused(error.to_string());
        match self {
            Place::Database(database, programs) => match of_postgres::ready(database, programs.as_deref(), backup).await.map_err(refused)? {
                Ready::Empty => Ok(Is::Free),
                Ready::Restored => Ok(Is::Restored),
                Ready::Begun => Ok(Is::Begun),
            },
            Place::Directory(whole, _) | Place::Snapshot(whole, _) => {
                let has = whole.has(backup).map_err(refused)?;
                Ok(if has { Is::Restored } else { Is::Free })
            }
            Place::Objects(objects) => objects.is(order).await,
        }
    }

    /// Whether it goes where it came from, as far as the place itself can tell; `own` is whether that is of this cluster.
    pub fn is_its_own(&self, own: bool) -> bool {
        matches!(self, Place::Objects(objects) if own && objects.stays())
    }

    /// How much would be put there.
    pub fn size(&self, manifest: &Manifest) -> String {
        let plain = || wording::bytes(manifest.parts.iter().map(|part| part.plain.bytes).sum());
        if let Place::Objects(objects) = self { objects.size().unwrap_or_else(plain) } else { plain() }
    }

    /// What else is to be said of what is put there: in lines, and as a check where somebody should look.
    pub fn remarks(&self) -> (Vec<String>, Option<Check>) {
        if let Place::Objects(objects) = self { objects.remarks() } else { (Vec::new(), None) }
    }

    /// Whether there is room for it, where this machine can tell: for what is put, or for what is put there by way of scratch
    /// space.
    pub fn has_room(&self, order: &Order<'_>) -> Result<(), String> {
        let (above, needs) = match (self, &order.parallel) {
            (Place::Directory(_, dir) | Place::Snapshot(_, dir), _) => {
                (dir.parent().unwrap_or(dir), order.manifest.parts.iter().map(|part| part.plain.bytes).sum())
            }
            (Place::Database(..), Some(how)) => (how.scratch.as_path(), of_postgres::room(&of_postgres::Dump::of(order.manifest)?)),
            _ => return Ok(()),
        };
        let free = disk::free_bytes(above).map_err(|error| format!("{}: {error}", above.display()))?;
        if free >= needs {
            return Ok(());
        }
        Err(format!("{} has {} left, and {} are needed; nothing was touched", above.display(), wording::bytes(free), wording::bytes(needs)))
    }

    /// Puts it there. What was packed of the paths that are wanted, where some are.
    ///
    /// # Errors
    /// In words; nothing of it is there then, or they say what is.
    pub async fn put(&self, order: &Order<'_>, progress: &Teller, cancel: &CancellationToken) -> Result<Option<Counted>, NotPut> {
        if let Place::Objects(objects) = self {
            // It ends between two objects, and takes back what it has made.
            return objects.put(order, progress, cancel).await.map(|()| None);
        }
        if let Some(put) = cancel.run_until_cancelled(self.put_whole(order, progress)).await {
            return put.map_err(NotPut::Failed);
        }
        self.throw_away().await;
        let backup = &order.manifest.backup;
        Err(NotPut::CalledOff(match order.parallel {
            None => format!("nothing of {backup} is there"),
            Some(_) => format!("{backup} is not restored, and some of it may be there: make the database anew (dropdb, createdb)"),
        }))
    }

    async fn put_whole(&self, order: &Order<'_>, progress: &Teller) -> Result<Option<Counted>, String> {
        let (manifest, said) = (order.manifest, |error: mainstay_backup::place::PlaceError| error.to_string());
        let broken = |error: std::io::Error| error.to_string();
        let what = named(&manifest.backup, &order.only.names);
        progress.expect(manifest.stored_bytes());
        let open = of_postgres::stored(&order.opened.store, manifest, order.keys, progress);
        match self {
            Place::Database(database, programs) => {
                let dump = of_postgres::Dump::of(manifest)?;
                let begun = if order.parallel.is_some() { Mark::InPieces } else { Mark::Begun };
                of_postgres::mark(database, programs.as_deref(), &what, begun).await.map_err(said)?;
                let options = Options {
                    without_owners: order.without_owners,
                    deadline: order.deadline,
                    tables: order.only.tables.clone(),
                    parallel: order.parallel.clone(),
                };
                if let Err(error) = of_postgres::restore_dump(&dump, open, database, programs.as_deref(), &options).await {
                    // While it is empty. What is there meanwhile the next try compares, or refuses where it came in pieces.
                    if of_postgres::ready(database, programs.as_deref(), &what).await.is_ok_and(|ready| ready == Ready::Empty) {
                        of_postgres::unmark(database, programs.as_deref()).await.map_err(said)?;
                    }
                    return Err(error.to_string());
                }
                of_postgres::mark(database, programs.as_deref(), &what, Mark::Done).await.map_err(said).map(|()| None)
            }
            Place::Directory(whole, _) => {
                let plain = open(self.part(manifest)?).await.map_err(broken)?;
                of_files::restore(plain, whole, &what, order.only.paths.as_ref()).await.map_err(said)
            }
            // Of a cluster there are several.
            Place::Snapshot(whole, _) => {
                of_redis::restore(&order.opened.store, manifest, order.keys, progress, whole, &what).await.map_err(said).map(|()| None)
            }
            Place::Objects(_) => Err("objects are made one after the other".to_owned()),
        }
    }

    /// What an earlier try has done is known to be done.
    pub async fn settle(&self, manifest: &Manifest, only: &Only) -> Result<(), String> {
        let Place::Database(database, programs) = self else { return Ok(()) };
        of_postgres::mark(database, programs.as_deref(), &named(&manifest.backup, &only.names), Mark::Done).await.map_err(|error| error.to_string())
    }

    /// What it leaves where it is called off.
    async fn throw_away(&self) {
        // A program of PostgreSQL's ends with who started it, and the server undoes what it did.
        if let Place::Directory(whole, _) | Place::Snapshot(whole, _) = self {
            whole.throw_away().await;
        }
    }

    /// Holds what is there against what the source had counted; of some paths, against what was `packed` of them, which is
    /// known only to who has unpacked them.
    ///
    /// # Errors
    /// In words, when it cannot be looked at.
    pub async fn compared(&self, manifest: &Manifest, deadline: Duration, only: &Only, packed: Option<Counted>) -> Result<Compared, String> {
        let counted = &manifest.source.counted;
        let said = |error: mainstay_backup::place::PlaceError| error.to_string();
        match self {
            Place::Database(database, programs) => {
                let Some(tables) = counted.get("tables") else {
                    return Ok(Compared { words: "its tables were not counted".to_owned(), counted: None, differs: Vec::new() });
                };
                let chosen = only.tables.as_ref().map(|chosen| chosen.only(tables)).transpose()?;
                let tables = chosen.as_ref().unwrap_or(tables);
                let mut differs = of_postgres::compare(tables, database, programs.as_deref(), deadline).await.map_err(said)?;
                if let (Some(answers), None) = (counted.get(postgres::queries::NAME), &only.tables) {
                    differs.extend(of_postgres::compare_queries(answers, database, programs.as_deref(), deadline).await.map_err(said)?);
                }
                let (count, rows) = rows(tables);
                let words = format!("{count} {}, {rows} rows", if count == 1 { "table" } else { "tables" });
                Ok(Compared { words, counted: Some(rows), differs })
            }
            Place::Directory(_, dir) => {
                let (is, differs) = of_files::compare(counted, dir).await.map_err(said)?;
                if only.paths.is_some() {
                    let differs = packed.filter(|was| (was.files, was.links, was.bytes) != (is.files, is.links, is.bytes));
                    let differs =
                        differs.map(|was| format!("it has {} files and {} bytes, and had {} and {}", is.files, is.bytes, was.files, was.bytes));
                    let words = format!("{} files, {} bytes of it", is.files, is.bytes);
                    return Ok(Compared { words, counted: Some(packed.unwrap_or(is).files), differs: differs.into_iter().collect() });
                }
                let words = format!("{} files, {} bytes", is.files, is.bytes);
                Ok(Compared { words, counted: counted.get("files").and_then(Value::as_u64), differs })
            }
            Place::Snapshot(_, dir) => {
                let differs = of_redis::compare(manifest, dir).await.map_err(said)?;
                let keys = counted.get("keysAfter").and_then(Value::as_object);
                let keys: Option<u64> = keys.map(|keys| keys.values().filter_map(Value::as_u64).sum());
                let words = keys.map_or_else(|| "every byte".to_owned(), |keys| format!("every byte; its source had {keys} keys"));
                Ok(Compared { words, counted: keys, differs })
            }
            Place::Objects(objects) => objects.compared().await,
        }
    }

    /// The part that is put there.
    fn part<'m>(&self, manifest: &'m Manifest) -> Result<&'m Part, String> {
        let content = match self {
            Place::Database(..) => postgres::CONTENT,
            Place::Directory(..) => files::CONTENT,
            Place::Snapshot(..) => redis::CONTENT,
            Place::Objects(_) => kubernetes::CONTENT,
        };
        manifest.parts.iter().find(|part| part.content == content).ok_or_else(|| format!("{} has no part of {content}", manifest.backup))
    }
}

fn whole(dir: &Path) -> Result<Whole, String> {
    Whole::of(dir).map_err(|error| error.to_string())
}

/// Tables, and the rows of all of them.
fn rows(tables: &Value) -> (u64, u64) {
    let all = tables.as_object().into_iter().flat_map(|tables| tables.values());
    all.fold((0, 0), |(count, rows), table| (count + 1, rows + table["rows"].as_u64().unwrap_or_default()))
}
