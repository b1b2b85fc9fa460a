//! The mesh backs itself up into a store, loses all coordinators, and begins again from what the store alone has. Nobody else
//! is given its snapshot, what is damaged is not taken, and a step that is to come after a backup comes also when it failed.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mainstay_proto::v1;
use mainstay_tests::{Options, Up, scripts};
use serde_json::Value;
use tempfile::TempDir;
use tonic::Code;

const POLICY: &str = "[policy]\nallow = [\"node.exec\", \"backup.run\", \"recovery.drill\"]\n\n[[policy.exec]]\ncommand = [\"/bin/sh\", \"**\"]\n";

struct Stage {
    up: Up,
    place: TempDir,
    signer: String,
    settings: String,
}

fn made(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().expect("it is installed: tests/packages");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A plan with a step before a backup of the mesh and one after it, which comes also when the backup failed.
fn plan(name: &str, store: &str, hooks: &Path) -> String {
    let hooks = hooks.display();
    let line = |word: &str| format!("[/bin/sh, -c, \"echo {word} >> {hooks}\"]");
    format!(
        r"apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: {{ name: {name} }}
spec:
  steps:
    - name: before
      uses: node.exec
      runOn: once
      with: {{ command: {before} }}
      undo: {{ uses: node.exec, with: {{ command: {after} }} }}
    - name: run
      uses: backup.run
      needs: [before]
      with: {{ connection: mesh, mesh: true, store: {store} }}
    - name: after
      uses: node.exec
      runOn: once
      needs: [run]
      with: {{ command: {after} }}
",
        before = line("before"),
        after = line("after")
    )
}

impl Stage {
    async fn start() -> Stage {
        let place = tempfile::Builder::new().prefix("bucket-").tempdir().expect("a directory");
        let path = |name: &str| place.path().join(name).display().to_string();
        fs::create_dir(place.path().join("store")).expect("a directory");
        for key in ["break-glass.txt", "drill.txt", "strange.txt"] {
            made("age-keygen", &["-o", &path(key)]);
        }
        made("openssl", &["genpkey", "-algorithm", "ed25519", "-outform", "DER", "-out", &path("sign.der")]);
        let public = made("openssl", &["pkey", "-inform", "DER", "-in", &path("sign.der"), "-pubout", "-outform", "DER"]);
        let signer: String = public[public.len() - 32..].iter().map(|byte| format!("{byte:02x}")).collect();
        let recipient = |name: &str| String::from_utf8_lossy(&made("age-keygen", &["-y", &path(name)])).trim().to_owned();
        let settings = format!(
            r#"[connections.mesh]
kind = "mesh"
[connections.backups]
kind = "store"
url = "file://{}"
breakGlass = ["{}"]
drill = ["{}"]
sign = {{ file = "{}" }}
identity = {{ file = "{}" }}
"#,
            path("store"),
            recipient("break-glass.txt"),
            recipient("drill.txt"),
            path("sign.der"),
            path("drill.txt"),
        );
        let up = Up::start(Stage::options(&settings)).await;
        Stage { up, place, signer: format!("ed25519:{signer}"), settings }
    }

    fn options(settings: &str) -> Options {
        Options { agents: 1, policy: POLICY.to_owned(), settings: settings.to_owned(), ..Options::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// A run that has ended, and what its steps came to, by their names.
    async fn run(&self, plan: &str) -> Value {
        let id = self.up.json(&["run", "start", plan])["run"].as_str().expect("a run's id").to_owned();
        self.up.ended(&id).await
    }

    /// Backs the mesh up; the backup's name.
    async fn back_up(&self) -> String {
        let ended = self.run("own-backup").await;
        assert_eq!(ended["state"], "completed", "{ended:#}");
        let name = output(&ended, "run", "backup");
        name.as_str().unwrap_or_else(|| panic!("no name in {ended:#}")).to_owned()
    }

    fn part(&self, backup: &str) -> PathBuf {
        self.path("store").join(backup).join("mesh.zst.age")
    }

    fn recover(&self, more: &[&str]) -> Output {
        self.recover_with("break-glass.txt", more)
    }

    fn recover_with(&self, identity: &str, more: &[&str]) -> Output {
        let (store, identity) = (self.path("store").display().to_string(), self.path(identity).display().to_string());
        let words = ["mesh", "recover", "--from-store", &store, "--identity", &identity, "--signer", &self.signer, "-o", "json"];
        self.up.cli(&[&words[..], more].concat())
    }

    /// That it is refused, in these words, and nothing is touched.
    fn is_refused(&self, output: &Output, parts: &[&str]) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for part in parts {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
        assert!(!self.up.dir().join("c1").exists(), "nothing is touched");
    }
}

fn told(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

fn work<'r>(run: &'r Value, step: &str) -> &'r Value {
    let all = run["work"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().find(|work| work["step"] == step).unwrap_or(&Value::Null)
}

fn last_attempt<'r>(run: &'r Value, step: &str) -> &'r Value {
    work(run, step)["attempts"].as_array().and_then(|attempts| attempts.last()).unwrap_or(&Value::Null)
}

/// Values travel as JSON texts.
fn output(run: &Value, step: &str, name: &str) -> Value {
    let value = &last_attempt(run, step)["outcome"]["report"]["outputs"][name];
    value.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| value.clone())
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Files in which a snapshot stands in plain.
fn plain_copies(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(plain_copies(&path));
        } else if fs::read(&path).is_ok_and(|bytes| bytes.starts_with(b"MAINMESH")) {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_begins_again_from_what_a_store_alone_has() {
    let mut stage = Stage::start().await;
    let hooks = stage.up.scratch().join("hooks");
    stage.up.apply("own-backup", &plan("own-backup", "backups", &hooks));
    let first = stage.back_up().await;
    assert_eq!(lines(&hooks), ["before", "after"]);
    what_comes_after_comes_also_when_the_backup_failed(&stage, &hooks).await;

    let note = stage.up.start_run("note", &scripts::plan("note", "note", "true"));
    assert_eq!(stage.up.ended(&note).await["state"], "completed");
    let second = stage.back_up().await;
    let third = only_an_attempt_that_is_at_it_is_given_the_snapshot(&stage).await;
    a_drill_begins_it_again_in_memory(&stage).await;
    let before = stage.up.json(&["status"]);

    stage.up.kill_all();
    for name in ["c1", "c2", "c3"] {
        fs::remove_dir_all(stage.up.dir().join(name)).expect("a coordinator's directory");
    }
    what_is_not_good_is_not_taken(&stage, &first, &second, &third);

    let planned = told(&stage.recover(&["--dry-run"]));
    assert_eq!((planned["dryRun"].as_bool(), planned["backup"]["id"].as_str()), (Some(true), Some(second.as_str())), "{planned:#}");
    assert!(!stage.up.dir().join("c1").exists(), "nothing was changed");
    let done = told(&stage.recover(&[]));
    assert_eq!((done["mesh"].as_str(), done["backup"]["newer"].as_array().map(Vec::len)), (Some("local"), Some(0)), "{done:#}");
    let copies = [plain_copies(&stage.up.dir()), plain_copies(stage.place.path())].concat();
    assert_eq!(copies, [stage.up.dir().join("c1/recovered.snapshot")], "one copy in plain, from which the mesh begins");

    let options = Stage::options(&stage.settings);
    stage.up.start_again(options).await;
    let status = stage.up.json(&["status"]);
    assert!(status["incarnation"].as_u64() > before["incarnation"].as_u64(), "{status:#}");
    let plans = stage.up.json(&["plan", "list"]).to_string();
    assert!(plans.contains("own-backup") && plans.contains("\"note\""), "{plans}");
    assert_eq!(stage.up.run(&note)["state"], "completed", "the run of before the last backup is there");
}

/// The same plan, into a store that there is not.
async fn what_comes_after_comes_also_when_the_backup_failed(stage: &Stage, hooks: &Path) {
    stage.up.apply("into-nothing", &plan("into-nothing", "nowhere", hooks));
    let ended = stage.run("into-nothing").await;
    assert_eq!((ended["state"].as_str(), work(&ended, "run")["state"].as_str()), (Some("failed"), Some("failed")), "{ended:#}");
    assert_eq!(lines(hooks), ["before", "after", "before", "after"], "the undo of the step before it: {ended:#}");
}

/// The agent's own identity opens nothing by itself, and the audit log has each time that it was given one.
/// A third one is made for that; its name.
async fn only_an_attempt_that_is_at_it_is_given_the_snapshot(stage: &Stage) -> String {
    let audit = stage.up.json(&["audit", "--limit", "500"]);
    let given = |record: &&Value| record["what"].as_str().is_some_and(|what| what.starts_with("give the mesh's snapshot to attempt"));
    assert_eq!(audit["records"].as_array().into_iter().flatten().filter(given).count(), 2, "{audit:#}");
    let agent = stage.up.client_of(&stage.up.dir().join("a1"));
    let code = |answer: Result<_, mainstay_client::CallError>| answer.err().and_then(|error| error.code());
    assert_eq!(code(agent.read_snapshot(v1::ReadSnapshotRequest {}).await.map(drop)), Some(Code::PermissionDenied));
    let run = stage.run("own-backup").await;
    let over = last_attempt(&run, "run")["id"].as_str().unwrap_or_else(|| panic!("no attempt in {run:#}")).to_owned();
    for attempt in [over, "1.999999".to_owned()] {
        let request = v1::ReadMeshRequest { attempt, ledger: String::new(), token: "1.1".into() };
        assert_eq!(code(agent.read_mesh(request).await.map(drop)), Some(Code::FailedPrecondition));
    }
    let request = v1::ReadMeshRequest { attempt: "1.1".into(), ledger: String::new(), token: "1.1".into() };
    assert_eq!(code(stage.up.client().read_mesh(request).await.map(drop)), Some(Code::PermissionDenied), "nor an admin in an agent's name");
    output(&run, "run", "backup").as_str().expect("its name").to_owned()
}

async fn a_drill_begins_it_again_in_memory(stage: &Stage) {
    let text = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: rehearse }\nspec:\n  steps:\n    \
         - { name: drill, uses: recovery.drill, with: { connection: mesh } }\n    \
         - { name: check, uses: backup.check, needs: [drill], with: { connection: mesh } }\n";
    stage.up.apply("rehearse", text);
    let ended = stage.run("rehearse").await;
    assert_eq!((ended["state"].as_str(), output(&ended, "drill", "proven")), (Some("completed"), Value::Bool(true)), "{ended:#}");
    let said = last_attempt(&ended, "check")["outcome"]["report"]["checks"].to_string();
    assert!(said.contains("backup.mesh") && said.contains("mesh local, incarnation 1"), "{said}");
}

/// Each time nothing is touched, and what to say instead is said.
fn what_is_not_good_is_not_taken(stage: &Stage, first: &str, second: &str, newest: &str) {
    stage.is_refused(&stage.recover_with("strange.txt", &[]), &["none of these keys opens local/mesh/key-1.age"]);
    let strange = ["--signer", "ed25519:0000000000000000000000000000000000000000000000000000000000000000"];
    let (store, key) = (stage.path("store").display().to_string(), stage.path("break-glass.txt").display().to_string());
    let by_another = stage.up.cli(&[&["mesh", "recover", "--from-store", &store, "--identity", &key][..], &strange].concat());
    stage.is_refused(&by_another, &["nothing says that it counts", &format!("--backup {newest}")]);

    // Later ones that nobody needs here: what is newer than the second is taken out of the store, and comes not back.
    fs::remove_dir_all(stage.path("store").join(newest)).expect("the newest backup");
    let whole = fs::read(stage.part(second)).expect("its part");
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(stage.part(second), &damaged).expect("its part");
    stage.is_refused(&stage.recover(&[]), &[second, "damaged", &format!("--backup {first}")]);
    fs::remove_file(stage.part(second)).expect("its part");
    stage.is_refused(&stage.recover(&[]), &[second, "mesh.zst.age is missing", &format!("--backup {first}")]);
    let told_so = told(&stage.recover(&["--backup", first, "--dry-run"]));
    assert_eq!(told_so["backup"]["id"], *first, "{told_so:#}");
    assert!(told_so["backup"]["newer"][0]["id"] == *second && !stage.up.dir().join("c1").exists(), "{told_so:#}");
    fs::write(stage.part(second), &whole).expect("its part");
}
