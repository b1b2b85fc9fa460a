#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use age::secrecy::ExposeSecret;
use futures::FutureExt;
use futures::future::BoxFuture;
use mainstay_backup::check::{Checked, CheckedPart};
use mainstay_backup::keys::Identities;
use mainstay_backup::receipt::SigningKey;
use mainstay_client::CallError;
use mainstay_core::backup::BackupNote;
use mainstay_core::id::LedgerId;
use mainstay_core::report::{Report, Verdict};
use mainstay_proto::convert::backup_note_from_wire;
use mainstay_proto::v1;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::super::{Context, Ended, Labels, Output, Policy, StepError, execute};
use super::*;
use crate::connections::Connections;
use crate::observe::readings::Readings;

mod looks;
mod objects;
mod restores;

/// A directory that is backed up to another one.
struct Place {
    dir: TempDir,
    context: Context,
    clerk: Option<Arc<Fake>>,
}

/// A catalogue that has what it is given, and keeps what it is told.
#[derive(Default)]
struct Fake {
    known: Mutex<v1::BackupTarget>,
    told: Mutex<Vec<BackupNote>>,
    /// How it answers instead.
    refuses: Mutex<Option<(Code, bool)>>,
    /// How it answers the next notes, the last one first.
    refuses_next: Mutex<Vec<Option<Code>>>,
    /// The mesh's own snapshot, where this attempt is given it.
    snapshot: Mutex<Option<Vec<u8>>>,
}

impl Fake {
    fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().drain(..).map(|note| note.to_string()).collect()
    }

    /// Answers so from now on: also who only asks.
    fn refuse(&self, how: Option<(Code, bool)>) {
        *self.refuses.lock().unwrap() = how;
    }

    /// Answers the next notes so, in this order.
    fn refuse_next(&self, codes: &[Option<Code>]) {
        *self.refuses_next.lock().unwrap() = codes.iter().rev().copied().collect();
    }

    fn refusal(&self, asks: bool) -> Result<(), CallError> {
        let once = if asks { None } else { self.refuses_next.lock().unwrap().pop().flatten() };
        let always = self.refuses.lock().unwrap().filter(|(_, both)| *both || !asks).map(|(code, _)| code);
        match once.or(always) {
            Some(code) => Err(CallError::Refused { code, message: "as the test says".into() }),
            None => Ok(()),
        }
    }
}

impl Clerk for Fake {
    fn recall(&self, _: v1::RecallBackupsRequest) -> BoxFuture<'_, Result<v1::RecallBackupsResponse, CallError>> {
        let answer = self.refusal(true).map(|()| v1::RecallBackupsResponse { target: Some(self.known.lock().unwrap().clone()) });
        async move { answer }.boxed()
    }

    fn note(&self, request: v1::NoteBackupsRequest) -> BoxFuture<'_, Result<(), CallError>> {
        let answer = self.refusal(false).map(|()| {
            let note = backup_note_from_wire(&request.target.parse().unwrap(), request.note.unwrap()).unwrap();
            self.told.lock().unwrap().push(note);
        });
        async move { answer }.boxed()
    }

    fn read_mesh(&self, request: v1::ReadMeshRequest) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        let is_its_own = (request.attempt.as_str(), request.ledger.as_str()) == ("1.1", "l") && request.token.starts_with("1.");
        let answer = self.snapshot.lock().unwrap().clone().filter(|_| is_its_own).ok_or_else(|| "as the test says".to_owned());
        async move { answer }.boxed()
    }
}

impl Place {
    fn new(store: &str) -> Place {
        let dir = tempfile::tempdir().unwrap();
        for name in ["etc", "store", "scratch"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("etc/app.conf"), "workers = 4\n").unwrap();
        let (keys, file) = Identities::generate();
        fs::write(dir.path().join("drill.txt"), file.expose_secret()).unwrap();
        fs::write(dir.path().join("sign.der"), SigningKey::generate().unwrap().as_slice()).unwrap();
        let place = dir.path().display();
        let store = store.replace("KEY", &keys.public()[0]);
        let declared = format!(
            "[connections.etc]\nkind = \"files\"\nurl = \"file://{place}/etc\"\n[connections.mesh]\nkind = \"mesh\"\n[connections.backups]\nkind = \"store\"\nurl = \"file://{place}/store\"\n{store}"
        );
        let (connections, problems) = Connections::parse(&dir.path().join("connections.toml"), &declared);
        assert_eq!(problems, Vec::<String>::new());
        let policy = Policy::parse("[policy]\nallow = [\"*\"]").unwrap();
        let context = Context::new(Arc::default(), Readings::default(), Arc::default(), Arc::new(policy)).unwrap().with_connections(connections);
        Place { dir, context, clerk: None }
    }

    /// With a catalogue in the mesh.
    fn catalogued() -> (Place, Arc<Fake>) {
        let clerk = Arc::new(Fake::default());
        (Place { clerk: Some(Arc::clone(&clerk)), ..Place::whole() }, clerk)
    }

    fn whole() -> Place {
        Place::new("breakGlass = [\"KEY\"]\nsign = { file = \"sign.der\" }\nidentity = { file = \"drill.txt\" }\n")
    }

    async fn done(&self, kind: &str, with: Value, token: &str) -> Result<Report, StepError> {
        self.done_to("etc", kind, with, token).await
    }

    async fn done_to(&self, connection: &str, kind: &str, with: Value, token: &str) -> Result<Report, StepError> {
        let labels = Labels {
            cluster: Some("prod".parse().unwrap()),
            connection: Some(connection.parse().unwrap()),
            token: (!token.is_empty()).then(|| token.to_owned()),
            ..Labels::default()
        };
        let clerk = self.clerk.as_ref().map(|clerk| Arc::clone(clerk) as Arc<dyn Clerk>);
        let catalogue = clerk.map_or_else(Catalogue::default, |clerk| Catalogue::of(clerk, "1.1".parse().unwrap(), LedgerId("l".into())));
        let context = self.context.for_attempt(labels, Output::unwatched(), CancellationToken::new()).with_catalogue(catalogue);
        let with: Map<String, Value> = with.as_object().unwrap().clone();
        execute(kind, &with, &context).await
    }

    fn backups(&self) -> Vec<PathBuf> {
        let all = fs::read_dir(self.dir.path().join("store/prod/etc")).into_iter().flatten().flatten();
        // Beside them are the target's keys.
        let mut all: Vec<PathBuf> = all.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        all.sort();
        all
    }
}

fn verdicts(report: &Report) -> Vec<(&str, Verdict)> {
    report.checks.iter().map(|check| (check.id.as_str(), check.verdict)).collect()
}

fn is_there(backup: &Path, object: &str) -> bool {
    backup.join(object).is_file()
}

#[test]
fn what_writes_is_done_under_the_lease_of_its_target() {
    let labels = Labels { cluster: Some("prod".parse().unwrap()), connection: Some("orders-db".parse().unwrap()), ..Labels::default() };
    let lease = |kind: &str, with: Value| lease(kind, with.as_object().unwrap(), &labels).map(|name| name.as_str().to_owned());
    assert_eq!(lease("backup.run", json!({})).as_deref(), Some("backup/prod/orders-db"));
    assert_eq!(lease("backup.prune", json!({ "dryRun": false })).as_deref(), Some("backup/prod/orders-db"));
    assert_eq!(lease("backup.run", json!({ "dryRun": true })), None);
    assert_eq!(lease("backup.check", json!({})), None);
    assert_eq!(lease("backup.restore", json!({})).as_deref(), Some("backup/prod/orders-db"));
}

#[test]
fn how_far_it_is_is_said_in_bytes() {
    let progress = Progress { part: "database".to_owned(), plain_bytes: 3 << 20, stored_bytes: 1 << 20, of: None };
    let said = "writing database: 3.0 MiB as it is, 1.0 MiB as it is stored";
    assert_eq!(far("writing", &progress, Duration::from_secs(10)), said);
    let known = Progress { of: Some(4 << 20), ..progress };
    assert_eq!(far("writing", &known, Duration::from_secs(1)), format!("{said}; about 25 %"));
    assert_eq!(far("writing", &known, Duration::from_secs(60)), format!("{said}; about 25 %, 3 min left"));
}

#[tokio::test]
async fn a_backup_is_made_checked_drilled_and_thinned_out() {
    let place = Place::whole();
    let dry = place.done("backup.run", json!({ "dryRun": true }), "").await.unwrap();
    assert_eq!((verdicts(&dry), place.backups().len()), (vec![("backup.dryRun", Verdict::Ok)], 0));

    let made = place.done("backup.run", json!({}), "1.1").await.unwrap();
    assert_eq!(verdicts(&made), [("backup.made", Verdict::Ok)]);
    assert_eq!((&made.outputs["counts"], &made.outputs["counted"]), (&json!(true), &json!(1)));
    let first = place.backups().remove(0);
    assert!(first.ends_with(made.outputs["backup"].as_str().unwrap().rsplit('/').next().unwrap()) && is_there(&first, "receipt.json"));

    let checked = place.done("backup.check", json!({}), "").await.unwrap();
    assert_eq!(verdicts(&checked), [("backup.age", Verdict::Ok), ("backup.keys", Verdict::Ok), ("backup.content", Verdict::Ok)]);

    let scratch = place.dir.path().join("scratch");
    let drilled = place.done("recovery.drill", json!({ "scratch": scratch.display().to_string() }), "").await.unwrap();
    assert_eq!(verdicts(&drilled), [("drill.restored", Verdict::Ok), ("drill.rto", Verdict::Ok), ("drill.rpo", Verdict::Ok)]);
    assert_eq!((&drilled.outputs["proven"], fs::read_dir(&scratch).unwrap().count()), (&json!(true), 0));

    // A lesser token comes late.
    place.done("backup.run", json!({}), "1.3").await.unwrap();
    let late = place.done("backup.run", json!({}), "1.2").await.unwrap_err();
    assert!(late.ended == Ended::Failed && late.message.contains("counts no more"), "{late}");

    let pruned = place.done("backup.prune", json!({ "last": 1 }), "1.4").await.unwrap();
    assert_eq!((&pruned.outputs["kept"], is_there(&first, "manifest.json")), (&json!(1), false), "{pruned:?}");
    let newest = place.backups().pop().unwrap();
    assert!(is_there(&newest, "receipt.json"), "{newest:?}");
}

#[tokio::test]
async fn a_changed_byte_is_found_with_a_key_and_without() {
    for store in [
        "breakGlass = [\"KEY\"]\nsign = { file = \"sign.der\" }\nidentity = { file = \"drill.txt\" }\n",
        "drill = [\"KEY\"]\nsign = { file = \"sign.der\" }\n",
    ] {
        let place = Place::new(store);
        place.done("backup.run", json!({}), "1.1").await.unwrap();
        let part = place.backups().remove(0).join("files.zst.age");
        let mut bytes = fs::read(&part).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&part, bytes).unwrap();
        let checked = place.done("backup.check", json!({}), "").await.unwrap();
        let content = checked.checks.iter().find(|check| check.id == "backup.content").unwrap();
        assert!(content.verdict == Verdict::Critical && content.message.contains("damaged"), "{content:?}");
        assert_eq!(checked.outputs["damaged"], json!(1));
    }
}

#[test]
fn what_a_store_did_not_let_be_read_is_not_damaged() {
    let part = |name: &str, wrong: Option<&str>, unread| CheckedPart { name: name.into(), wrong: wrong.map(str::to_owned), unread };
    let (whole, late, changed) = (part("a", None, false), part("b", Some("no answer within 30 s"), true), part("c", Some("it is changed"), false));
    for (parts, verdict, message, details) in [
        (vec![whole.clone()], Verdict::Ok, "read in", 0),
        (vec![whole.clone(), late.clone()], Verdict::Unknown, "it could not be read: b: no answer within 30 s", 0),
        (vec![late.clone(), late.clone()], Verdict::Unknown, "it could not be read: b", 1),
        (vec![late, changed, whole], Verdict::Critical, "it is damaged: c: it is changed", 1),
    ] {
        let check = check::was_read("prod/etc/20261130T020000Z-3.42", &Checked { parts, took_ms: 1 }, true);
        assert_eq!((check.verdict, check.details.len()), (verdict, details), "{check:?}");
        assert!(check.message.starts_with(message), "{check:?}");
    }
}

#[tokio::test]
async fn what_is_missing_is_said_before_anything_is_written() {
    let refused = async |place: &Place, kind: &str, with: Value| place.done(kind, with, "1.1").await.unwrap_err();
    let without_keys = Place::new("sign = { file = \"sign.der\" }\n");
    let error = refused(&without_keys, "backup.run", json!({})).await;
    assert!(error.ended == Ended::Refused && error.message.contains("breakGlass = [\"age1…\"]"), "{error}");
    assert!(without_keys.backups().is_empty());

    // Unsigned it is written and does not count; nothing is known to be good then, and nothing goes.
    let unsigned = Place::new("breakGlass = [\"KEY\"]\n");
    let made = unsigned.done("backup.run", json!({}), "1.1").await.unwrap();
    assert_eq!(verdicts(&made), [("backup.made", Verdict::Ok), ("backup.signed", Verdict::Warning)]);
    let checked = unsigned.done("backup.check", json!({}), "").await.unwrap();
    assert_eq!(verdicts(&checked), [("backup.age", Verdict::Critical)]);
    let error = refused(&unsigned, "backup.prune", json!({ "last": 1 })).await;
    assert!(error.ended == Ended::Refused && error.message.contains("signers = "), "{error}");
    let error = refused(&unsigned, "recovery.drill", json!({})).await;
    assert!(error.message.contains("identity = "), "{error}");

    let place = Place::whole();
    let error = place.done("backup.run", json!({}), "").await.unwrap_err();
    assert!(error.message.contains("under a lease"), "{error}");
    fs::remove_dir(place.dir.path().join("store")).unwrap();
    let error = refused(&place, "backup.run", json!({})).await;
    assert!(error.message.contains("is no directory: make it, or mount"), "{error}");
}

#[tokio::test]
async fn what_was_overtaken_before_it_was_signed_does_not_count() {
    let (place, clerk) = Place::catalogued();
    clerk.refuse(Some((Code::FailedPrecondition, false)));
    let error = place.done("backup.run", json!({}), "1.1").await.unwrap_err();
    assert!(error.ended == Ended::Failed && error.message.contains("does not count: the mesh's catalogue does not take it"), "{error}");
    let first = place.backups().remove(0);
    assert!(is_there(&first, "manifest.json") && !is_there(&first, "receipt.json"));
    // A mesh without one does not mind.
    clerk.refuse(Some((Code::Unimplemented, true)));
    let made = place.done("backup.run", json!({}), "1.2").await.unwrap();
    assert_eq!((verdicts(&made), clerk.told()), (vec![("backup.made", Verdict::Ok)], vec![]));
    clerk.refuse(None);
    let made = place.done("backup.run", json!({}), "1.3").await.unwrap();
    let name = made.outputs["backup"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert_eq!(
        (verdicts(&made), clerk.told()),
        (vec![("backup.made", Verdict::Ok)], vec![format!("{name} is written to backups"), format!("{name} counts")])
    );
    let newest = place.backups().pop().unwrap();
    assert!(is_there(&newest, "receipt.json"));
}

#[tokio::test]
async fn seconds_without_a_leader_do_not_cost_a_backup() {
    let (place, clerk) = Place::catalogued();
    let away = Some(Code::Unavailable);
    clerk.refuse_next(&[away, away, None, away, away]);
    let made = place.done("backup.run", json!({}), "1.1").await.unwrap();
    let name = made.outputs["backup"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    assert_eq!(
        (verdicts(&made), clerk.told()),
        (vec![("backup.made", Verdict::Ok)], vec![format!("{name} is written to backups"), format!("{name} counts")])
    );
    // Another answer is one.
    clerk.refuse_next(&[away, Some(Code::FailedPrecondition)]);
    let error = place.done("backup.run", json!({}), "1.2").await.unwrap_err();
    assert!(error.ended == Ended::Failed && error.message.contains("does not count: the mesh's catalogue does not take it"), "{error}");
    assert_eq!(clerk.told(), Vec::<String>::new());
}

#[tokio::test]
async fn a_check_names_what_the_catalogue_misses_and_tells_what_there_is() {
    let (place, clerk) = Place::catalogued();
    place.done("backup.run", json!({}), "1.5").await.unwrap();
    clerk.told();
    let gone = |name: &str, missing_unix_ms: i64| v1::Backup {
        id: format!("prod/etc/{name}"),
        store: "backups".into(),
        begun_unix_ms: 1_000,
        counts: true,
        missing_unix_ms,
        ..v1::Backup::default()
    };
    let elsewhere = v1::Backup { store: "other".into(), ..gone("19700101T000001Z-1.3", 0) };
    let known = v1::BackupTarget {
        backups: vec![gone("19700101T000001Z-1.1", 0), gone("19700101T000001Z-1.2", 7), elsewhere],
        removals: 4,
        ..Default::default()
    };
    *clerk.known.lock().unwrap() = known;
    let with = json!({ "drillWithin": { "warning": "30d" } });
    let checked = place.done("backup.check", with.clone(), "").await.unwrap();
    let vanished = |report: &Report| -> Vec<(String, Verdict)> {
        report.checks.iter().filter(|check| check.id == "backup.vanished").map(|check| (check.subject.clone(), check.verdict)).collect()
    };
    let (first, second) = ("prod/etc/19700101T000001Z-1.1".to_owned(), "prod/etc/19700101T000001Z-1.2".to_owned());
    assert_eq!(vanished(&checked), [(first, Verdict::Critical), (second, Verdict::Warning)], "news, and what was said before");
    let drill = checked.checks.iter().find(|check| check.id == "backup.drill").unwrap();
    assert!(drill.verdict == Verdict::Warning && drill.message.contains("ever been restored"), "{drill:?}");
    assert_eq!(clerk.told(), ["backups has 1, 2 are missing"]);

    // Somebody removed some while it looked: it looks once more, and says what is missing then, with what it has read.
    clerk.refuse_next(&[Some(Code::FailedPrecondition)]);
    let checked = place.done("backup.check", with.clone(), "").await.unwrap();
    assert_eq!(vanished(&checked).len(), 2);
    let told: Vec<BackupNote> = clerk.told.lock().unwrap().drain(..).collect();
    let [BackupNote::Found { backups, removals: 4, .. }] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(backups.iter().map(|backup| backup.read).collect::<Vec<_>>(), [Some(Verdict::Ok)]);
    // And once only: then nothing is said to have vanished.
    clerk.refuse(Some((Code::FailedPrecondition, false)));
    let checked = place.done("backup.check", with.clone(), "").await.unwrap();
    assert_eq!(vanished(&checked), []);
    // Who cannot be asked is unknown, and what the store has is said all the same.
    clerk.refuse(Some((Code::Unavailable, true)));
    let checked = place.done("backup.check", with.clone(), "").await.unwrap();
    let all = verdicts(&checked);
    assert!(all.contains(&("backup.catalogue", Verdict::Unknown)) && all.contains(&("backup.content", Verdict::Ok)), "{all:?}");
    clerk.refuse(None);
    clerk.known.lock().unwrap().drill =
        Some(v1::BackupDrill { at_unix_ms: place.context.host.wall().0 - 60_000, proven: true, ..Default::default() });
    let checked = place.done("backup.check", with, "").await.unwrap();
    let drill = checked.checks.iter().find(|check| check.id == "backup.drill").unwrap();
    assert!(drill.verdict == Verdict::Ok && drill.message.contains("restored in a drill"), "{drill:?}");
}

#[tokio::test]
async fn what_went_while_the_catalogue_was_asked_has_not_vanished_when_it_is_not() {
    let (place, clerk) = Place::catalogued();
    let look = async |refuses: Option<(Code, bool)>| {
        clerk.refuse(refuses);
        place.done("backup.check", json!({ "read": "none" }), "").await.unwrap()
    };
    let away = Some((Code::Unavailable, true));
    place.done("backup.run", json!({}), "1.1").await.unwrap();
    look(away).await;
    clerk.refuse(None);
    place.done("backup.run", json!({}), "1.2").await.unwrap();
    fs::remove_dir_all(place.backups().remove(0)).unwrap();
    look(None).await;
    let checked = look(away).await;
    let all = verdicts(&checked);
    assert!(all.contains(&("backup.catalogue", Verdict::Unknown)) && all.iter().all(|(id, _)| *id != "backup.vanished"), "{all:?}");
}

#[tokio::test]
async fn what_is_held_stays_and_nothing_goes_while_that_is_not_known() {
    let (place, clerk) = Place::catalogued();
    for token in ["1.1", "1.2", "1.3"] {
        place.done("backup.run", json!({}), token).await.unwrap();
    }
    clerk.told();
    let all = place.backups();
    let id = |backup: &Path| format!("prod/etc/{}", backup.file_name().unwrap().to_string_lossy());
    let held = v1::Backup { id: id(&all[0]), hold: Some(v1::BackupHold { by: "operator/ana".into(), ..Default::default() }), ..Default::default() };
    clerk.known.lock().unwrap().backups = vec![held];
    for how in [(Code::Unavailable, true), (Code::FailedPrecondition, false)] {
        clerk.refuse(Some(how));
        let error = place.done("backup.prune", json!({ "last": 1 }), "1.4").await.unwrap_err();
        assert!(error.message.contains("catalogue was not told") || error.message.contains("not asked what is held"), "{error}");
        assert!(all.iter().all(|backup| is_there(backup, "manifest.json")));
    }
    clerk.refuse(None);
    let pruned = place.done("backup.prune", json!({ "last": 1 }), "1.5").await.unwrap();
    assert_eq!((&pruned.outputs["removed"], &pruned.outputs["kept"]), (&json!(1), &json!(2)), "{pruned:?}");
    let are_there: Vec<bool> = all.iter().map(|backup| is_there(backup, "manifest.json")).collect();
    assert_eq!((are_there, clerk.told()), (vec![true, false, true], vec!["1 are removed".to_owned(); 2]));
}

#[tokio::test]
async fn what_the_catalogue_was_told_is_what_is_gone() {
    let (place, clerk) = Place::catalogued();
    for token in ["1.1", "1.2", "1.3", "1.4"] {
        place.done("backup.run", json!({}), token).await.unwrap();
    }
    clerk.told();
    let all = place.backups();
    clerk.refuse_next(&[None, Some(Code::FailedPrecondition)]);
    let error = place.done("backup.prune", json!({ "last": 1 }), "1.5").await.unwrap_err();
    assert!(error.message.contains("so nothing more does"), "{error}");
    let are_there: Vec<bool> = all.iter().map(|backup| is_there(backup, "manifest.json")).collect();
    assert_eq!((are_there, clerk.told()), (vec![false, false, true, true], vec!["2 are removed".to_owned()]));
}

#[tokio::test]
async fn a_drill_tells_what_came_of_it() {
    let (place, clerk) = Place::catalogued();
    let scratch = place.dir.path().join("scratch").display().to_string();
    place.done("recovery.drill", json!({ "scratch": scratch }), "").await.unwrap();
    assert_eq!(clerk.told(), ["not restored in a drill"], "there is none to restore");
    place.done("backup.run", json!({}), "1.1").await.unwrap();
    clerk.told();
    place.done("recovery.drill", json!({ "scratch": scratch }), "").await.unwrap();
    assert_eq!(clerk.told(), ["restored in a drill"]);
}

#[tokio::test]
async fn objects_of_a_cluster_are_exported_by_its_own_agents() {
    let place = Place::new("breakGlass = [\"KEY\"]\nsign = { file = \"sign.der\" }\n");
    let declared = "[connections.etc]\nkind = \"kubernetes\"\nnamespaces = [\"shop\"]\n";
    let (objects, problems) = Connections::parse(Path::new("objects.toml"), declared);
    assert_eq!(problems, Vec::<String>::new());
    let etc: mainstay_core::id::ConnectionName = "etc".parse().unwrap();
    let ask = mainstay_backup::source::postgres::Ask::default();
    let error = source::of(objects.get(&etc).unwrap(), ask, std::time::Duration::from_secs(1), &place.context).await.err().unwrap();
    assert!(error.contains("speaks for a node") && error.contains("objects.toml line 1"), "{error}");
}

/// A snapshot of a mesh that has just been formed, with so many entries.
fn snapshot_of_a_mesh(applied: u64) -> Vec<u8> {
    use mainstay_core::snapshot::{Taken, encode};
    use mainstay_core::{Actor, Command, Entry, MeshTime, State, WallTime};
    let mut state = State::default();
    let command = Command::FormMesh { mesh: "prod".parse().unwrap(), incarnation: 3 };
    state.apply(&Entry { at: MeshTime(5), wall: WallTime(6), by: Actor::Mesh, key: None, command });
    encode(&state, Taken { applied, wall: WallTime(8), version: "0.1.0".into(), roots: vec!["ab".into()], survivor: None }).unwrap().concat()
}

#[tokio::test]
async fn the_mesh_is_backed_up_checked_and_begun_again_in_a_drill() {
    let (place, clerk) = Place::catalogued();
    let dry = place.done_to("mesh", "backup.run", json!({ "mesh": true, "dryRun": true }), "").await.unwrap();
    assert_eq!(verdicts(&dry), [("backup.dryRun", Verdict::Ok)], "nothing is read for that");
    let back_up = |applied: u64, token: &'static str| {
        *clerk.snapshot.lock().unwrap() = Some(snapshot_of_a_mesh(applied));
        place.done_to("mesh", "backup.run", json!({ "mesh": true }), token)
    };
    let made = back_up(91, "1.1").await.unwrap();
    assert_eq!((&made.outputs["counts"], &made.outputs["counted"], &made.outputs["parts"]), (&json!(true), &json!(91), &json!(1)));
    let said = |report: &Report| {
        let mesh = report.checks.iter().find(|check| check.id == "backup.mesh").unwrap();
        (mesh.verdict, mesh.message.clone())
    };
    let check = || place.done_to("mesh", "backup.check", json!({}), "");
    let checked = check().await.unwrap();
    assert_eq!(said(&checked), (Verdict::Ok, "mesh prod, incarnation 3, 91 entries applied".to_owned()));
    assert!(checked.checks.iter().any(|check| check.id == "backup.content" && check.verdict == Verdict::Ok), "{checked:?}");

    let drilled = place.done_to("mesh", "recovery.drill", json!({ "scratch": "/there/is/none" }), "").await.unwrap();
    let restored = drilled.checks.iter().find(|check| check.id == "drill.restored").unwrap();
    assert!(restored.verdict == Verdict::Ok && restored.message.contains("mesh prod, 91 entries applied"), "{restored:?}");
    assert_eq!(drilled.outputs["proven"], json!(true));

    // Another mesh, or an older state of it, writes there.
    back_up(80, "1.2").await.unwrap();
    let (verdict, message) = said(&check().await.unwrap());
    assert!(verdict == Verdict::Warning && message.contains("80 entries") && message.contains("gone back"), "{message}");
}

#[tokio::test]
async fn a_snapshot_that_is_not_given_or_not_whole_is_no_backup() {
    let (place, clerk) = Place::catalogued();
    let back_up = |token: &'static str| place.done_to("mesh", "backup.run", json!({ "mesh": true }), token);
    let error = back_up("1.1").await.unwrap_err();
    assert!(error.message.contains("as the test says"), "{error}");
    let mut damaged = snapshot_of_a_mesh(91);
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    *clerk.snapshot.lock().unwrap() = Some(damaged);
    let error = back_up("1.2").await.unwrap_err();
    assert!(error.message.contains("not usable") && error.message.contains("checksum of its state"), "{error}");
    let checked = place.done_to("mesh", "backup.check", json!({}), "").await.unwrap();
    assert_eq!(checked.outputs["good"], json!(0));
    assert!(clerk.told().iter().all(|told| !told.contains("is written to")));
    let alone = Place::whole();
    let error = alone.done_to("mesh", "backup.run", json!({ "mesh": true }), "1.1").await.unwrap_err();
    assert!(error.message.contains("this agent is of none"), "{error}");
}

#[tokio::test]
async fn the_mesh_is_backed_up_by_a_step_that_says_so_and_nothing_else_is() {
    let (place, clerk) = Place::catalogued();
    *clerk.snapshot.lock().unwrap() = Some(snapshot_of_a_mesh(91));
    for (connection, with, part) in [("mesh", json!({}), "by  mesh: true"), ("etc", json!({ "mesh": true }), "etc is of kind files")] {
        let error = place.done_to(connection, "backup.run", with, "1.1").await.unwrap_err();
        assert!(error.ended == Ended::Refused && error.message.contains(part), "{error}");
    }
}
