//! Commands that die at each step of each of their writes. Typed again, they do their work, or say in words what is in
//! the way and what to do; what a file holds is whole at any time.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;

use mainstay_client::failpoint::Point;
use mainstay_client::files;
use mainstay_client::identity::Issuer;
use mainstay_core::snapshot;
use mainstay_tests::up::binaries;
use mainstay_tests::{Options, Up};
use tempfile::TempDir;

use crate::bytes::{self, Image, image_options};

/// Commands at one time: they wait for the disk.
const AT_ONCE: usize = 4;

/// A command, and what must be so after it was typed again.
struct Job<'a> {
    args: Vec<String>,
    /// What is there before.
    place: &'a (dyn Fn() -> TempDir + Sync),
    /// After it was typed again, and what that said.
    judge: &'a (dyn Fn(&Path, &Output) -> Result<(), String> + Sync),
}

impl Job<'_> {
    fn run(&self, place: &Path, variable: &str, value: &str) -> Output {
        let mut command = Command::new(binaries().join("mainstay"));
        let args = self.args.iter().map(|arg| arg.replace("PLACE", &place.display().to_string()));
        command.args(args).env("XDG_CONFIG_HOME", place.join("config")).env_remove("MAINSTAY_CONTEXT").current_dir(place);
        if !variable.is_empty() {
            command.env(variable, value).env("MAINSTAY_FAILPOINT_FIRED", place.join("fired"));
        }
        command.stdin(Stdio::null()).output().expect("the command runs")
    }

    /// Dies everywhere; all these points must be among them.
    fn everywhere(&self, points: &[Point], at_once: usize) -> Vec<String> {
        let place = (self.place)();
        let seen = place.path().join("seen");
        let whole = self.run(place.path(), "MAINSTAY_FAILPOINTS_SEEN", &seen.display().to_string());
        assert!(whole.status.success(), "{:?}: {}", self.args, text(&whole));
        let pairs: BTreeSet<String> = fs::read_to_string(&seen).unwrap_or_default().lines().map(|line| line.replace(' ', ":")).collect();
        let missed: Vec<&str> =
            points.iter().map(|point| point.name()).filter(|name| !pairs.iter().any(|pair| pair.starts_with(&format!("{name}:")))).collect();
        assert!(missed.is_empty(), "{:?} does not come by {missed:?}", self.args);
        let orders = pairs.iter().flat_map(|pair| ["", ":lose", ":lose:nth=2"].map(|more| format!("{pair}{more}")));
        let (left, problems) = (Mutex::new(orders.collect::<Vec<_>>()), Mutex::new(Vec::new()));
        let next = || left.lock().unwrap().pop();
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    while let Some(order) = next() {
                        let problem = self.die(&order).err();
                        problems.lock().unwrap().extend(problem.map(|problem| format!("{:?} {order}: {problem}", self.args[0])));
                    }
                });
            }
        });
        problems.into_inner().unwrap()
    }

    /// Dies as ordered, and is typed again.
    fn die(&self, order: &str) -> Result<(), String> {
        let place = (self.place)();
        let first = self.run(place.path(), "MAINSTAY_FAILPOINT", order);
        match place.path().join("fired").exists() {
            true => {}
            // Not everything is done twice.
            false if order.contains("nth") => return Ok(()),
            false => return Err(format!("it did not die: {}", text(&first))),
        }
        let again = self.run(place.path(), "", "");
        let judged = if text(&again).contains("panicked") { Err("it panicked".to_owned()) } else { (self.judge)(place.path(), &again) };
        judged.map_err(|problem| format!("{problem}: {}", text(&again)))
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

fn place() -> TempDir {
    tempfile::Builder::new().prefix("command-").tempdir().expect("a directory")
}

/// It went well, or what is there already is in its way, and it says so.
fn done_or_told(_: &Path, again: &Output) -> Result<(), String> {
    let told = text(again);
    match again.status.code() {
        Some(0) => Ok(()),
        Some(1 | 2) if told.contains("is there already") || told.contains("already") => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn commands_that_lay_out_a_mesh_can_be_typed_again() {
    let init = ["init", "--name", "prod", "--advertise", "127.0.0.1:7400", "--operator", "ana", "--dir", "PLACE/var/dir"];
    let init = [&init[..], &["--config", "PLACE/etc/coordinator.toml", "--root-key", "PLACE/root.pem"]].concat();
    let job = Job { args: words(&init), place: &place, judge: &done_or_told };
    let mut problems =
        job.everywhere(&[Point::RootKey, Point::CliDirectory, Point::Provision, Point::Identity, Point::Settings, Point::Contexts], AT_ONCE);
    let new = Job { args: words(&["mesh", "root", "new", "--mesh", "prod", "--to", "PLACE/new"]), place: &place, judge: &done_or_told };
    problems.extend(new.everywhere(&[Point::RootKey, Point::CliDirectory], AT_ONCE));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_saved_is_whole_and_a_recovery_can_be_typed_again() {
    let image = Image::make().await;
    let made = place();
    let up = Up::start_at(made.path(), image_options()).await;
    let run = up.start_run("long", &bytes::plan());
    up.ended(&run).await;
    let dir = up.dir().display().to_string();
    let whole = |name: &'static str, bytes: usize| {
        move |place: &Path, again: &Output| {
            done_or_told(place, again)?;
            // Another process writes at the same time, so the length of a snapshot is not always the same.
            match fs::metadata(place.join(name)) {
                Ok(meta) if meta.len() > 0 && (bytes == 0 || meta.len() == bytes as u64) => Ok(()),
                other => Err(format!("{name}: {other:?}")),
            }
        }
    };
    let mut problems = Vec::new();
    // The mesh hands out one snapshot at a time.
    let snapshot_args = words(&["--dir", &dir, "mesh", "snapshot", "--to", "PLACE/saved"]);
    problems.extend(Job { args: snapshot_args, place: &place, judge: &whole("saved", 0) }.everywhere(&[Point::Saved], 1));
    let artifact_args = words(&["--dir", &dir, "run", "artifacts", &run, "--get", "output.log", "--to", "PLACE/output"]);
    problems.extend(Job { args: artifact_args, place: &place, judge: &whole("output", 4_000 * 17) }.everywhere(&[Point::SavedArtifact], AT_ONCE));
    drop(up);

    let recovered = |place: &Path, again: &Output| {
        if !again.status.success() {
            return Err("the recovery does not go on".to_owned());
        }
        let seed = files::read_bounded(&place.join("mesh/c1").join(snapshot::SEED_FILE), snapshot::BYTES_MAX).map_err(|error| error.to_string())?;
        snapshot::decode(&seed).map(|_| ()).map_err(|error| error.to_string())
    };
    let copy = || {
        let copy = place();
        image.copy_to(&copy.path().join("mesh"));
        fs::copy(image.snapshot(), copy.path().join("snapshot")).expect("the snapshot");
        copy
    };
    let issuer = words(&["member", "issuer", "--dir", "PLACE/mesh/c1", "--name", "c1", "--root-key", "PLACE/mesh/ca/root.key"]);
    let signs = |place: &Path, again: &Output| {
        let read = |name: &str| files::read_sealed(&place.join("mesh/c1").join(name), 1 << 20).map_err(|error| error.to_string());
        if !again.status.success() {
            return Err("it cannot be given another issuer".to_owned());
        }
        Issuer::from_pem(&read("issuer.pem")?, &read("issuer.key")?).map(drop).map_err(|error| error.to_string())
    };
    problems.extend(Job { args: issuer, place: &copy, judge: &signs }.everywhere(&[Point::Provision, Point::ProvisionDrop], AT_ONCE));
    let recover = words(&["--dir", "PLACE/mesh", "mesh", "recover", "--from", "PLACE/snapshot", "--replace"]);
    problems.extend(
        Job { args: recover, place: &copy, judge: &recovered }.everywhere(&[Point::RecoverSetAside, Point::RecoverSeed, Point::UpRecord], AT_ONCE),
    );
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// The first member of a recovered mesh dies while it begins with what the snapshot holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovered_mesh_begins_whenever_its_first_member_dies() {
    let image = Image::make().await;
    for order in
        [format!("{}:name", Point::SeedDrop.name()), format!("{}:named:lose", Point::SeedDrop.name()), "snapshot.build:named:lose".to_owned()]
    {
        let made = place();
        image.copy_to(&made.path().join("mesh"));
        let snapshot = image.snapshot().display().to_string();
        let dir = made.path().join("mesh").display().to_string();
        let recovered = Command::new(binaries().join("mainstay"))
            .args(["--dir", &dir, "mesh", "recover", "--from", &snapshot, "--replace"])
            .stdin(Stdio::null())
            .output()
            .expect("the command runs");
        assert!(recovered.status.success(), "{}", text(&recovered));
        let fired = made.path().join("fired");
        let environment =
            vec![("MAINSTAY_FAILPOINT".to_owned(), order.clone()), ("MAINSTAY_FAILPOINT_FIRED".to_owned(), fired.display().to_string())];
        let up = Up::begin_at(made.path(), &Options { environment, ..image_options() });
        up.ready(1, 1).await;
        assert!(fired.exists(), "{order}: nobody died");
        let status = up.json(&["status"]);
        assert!(status["incarnation"].as_u64() > Some(1), "{order}: it is the recovered mesh: {status}");
        assert_eq!(up.json(&["run", "show", "long-1"])["state"], "completed", "{order}");
    }
}
