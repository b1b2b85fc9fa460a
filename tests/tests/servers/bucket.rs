//! Backups in a bucket: a real S3 server that looks at signatures and rights, with TLS by an authority of its own. The bundled
//! plans make, look at, thin out and drill them, a step restores them, and the CLI alone does too. What is wrong with a bucket
//! is said before anything is asked of a source.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mainstay_tests::servers::{Login, S3};
use mainstay_tests::up::binaries;
use serde_json::Value;

use super::backups::{PASSWORD, Said, Stage};

const POLICY: &str = "[policy]\nallow = [\"backup.run\", \"backup.prune\", \"backup.restore\", \"recovery.drill\"]\n";
const BUCKET: &str = "s3://backups/mesh/prod";
const WRONG_SECRET: &str = "canary-T8mK3p-word";

const ONE: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: one }\nspec:\n  inputs:\n    \
     of: { type: text, description: What }\n    store: { type: text, description: Where to }\n  steps:\n    \
     - { name: run, uses: backup.run, with: { connection: \"${{ inputs.of }}\", store: \"${{ inputs.store }}\" } }\n";
const RESTORE: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: restore }\nspec:\n  inputs:\n    \
     of: { type: text, description: What }\n    into: { type: text, description: Where }\n  steps:\n    \
     - { name: restore, uses: backup.restore, with: { connection: \"${{ inputs.into }}\", backup: \"${{ inputs.of }}\", store: bucket } }\n";

/// A server that counts who comes, and says nothing.
struct Counting {
    port: u16,
    came: Arc<AtomicUsize>,
}

impl Counting {
    fn start() -> Counting {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (port, came) = (listener.local_addr().expect("its number").port(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&came);
        std::thread::spawn(move || {
            for _ in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Counting { port, came }
    }

    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }
}

struct Place {
    stage: Stage,
    server: S3,
    all: Login,
    untouched: Counting,
}

impl Place {
    async fn start() -> Place {
        let (server, untouched) = (S3::start().await, Counting::start());
        server.bucket("backups").await;
        let allow = |actions: &str| format!("{{\"Effect\": \"Allow\", \"Action\": [{actions}], \"Resource\": \"*\"}}");
        let all = server.user("all", &allow("\"s3:*\"")).await;
        let reads = server.user("reads", &allow("\"s3:ListBucket\", \"s3:GetObject\"")).await;
        server.looks_at_rights().await;
        let keys = server.root_file().with_file_name("keys");
        fs::create_dir(&keys).expect("a directory");
        let store = |name: &str, url: &str, login: &Login| {
            let secret = keys.join(name);
            fs::write(&secret, &login.password).expect("the secret's file");
            format!(
                "[connections.{name}]\nkind = \"store\"\nurl = \"{url}\"\nendpoint = \"{}\"\nca = \"{}\"\nusername = \"{}\"\n\
                 password = {{ file = \"{}\" }}\nbreakGlass = [\"BREAK-GLASS\"]\nsign = {{ file = \"PLACE/sign.der\" }}\n\
                 identity = {{ file = \"PLACE/break-glass.txt\" }}\n",
                server.endpoint(),
                server.root_file().display(),
                login.user,
                secret.display(),
            )
        };
        let more = [
            store("bucket", BUCKET, &all),
            store("nowhere", "s3://nothing/mesh", &all),
            store("read-only", BUCKET, &reads),
            store("wrong-secret", BUCKET, &Login::new(&all.user, WRONG_SECRET)),
            format!(
                "[connections.untouched]\nkind = \"postgres\"\nurl = \"postgres://app@127.0.0.1:{}/orders\"\npassword = {{ file = \"PLACE/password\" }}\n",
                untouched.port
            ),
            "[connections.orders-new]\nkind = \"postgres\"\nurl = \"postgres://app@127.0.0.1:PORT/orders_new\"\npassword = { file = \"PLACE/password\" }\n".to_owned(),
            "[connections.settings-new]\nkind = \"files\"\nurl = \"file://PLACE/settings-new\"\n".to_owned(),
        ];
        let stage = Stage::start_with(POLICY, &more.concat()).await;
        for (name, plan) in [("one", ONE), ("restore", RESTORE)] {
            stage.up.apply(name, plan);
        }
        Place { stage, server, all, untouched }
    }

    /// A run that comes off.
    async fn run(&self, plan: &str, with: &[&str]) -> Vec<Said> {
        let (state, all) = self.stage.run_of(plan, with).await;
        assert_eq!(state, "completed", "{plan} {with:?}: {all:#?}");
        all
    }

    /// The CLI by itself: no mesh, no settings.
    fn alone(&self, words: &[&str]) -> Output {
        let mut command = Command::new(binaries().join("mainstay"));
        command.env("XDG_CONFIG_HOME", self.stage.path("nobody")).env_remove("MAINSTAY_CONTEXT").current_dir(self.stage.place.path());
        command.env("AWS_ACCESS_KEY_ID", &self.all.user).env("AWS_SECRET_ACCESS_KEY", &self.all.password).stdin(Stdio::null());
        command.arg("backup").args(words).args(["--store", BUCKET, "--endpoint", &self.server.endpoint()]);
        command.arg("--ca").arg(self.server.root_file()).args(["-o", "json"]).output().expect("the CLI runs")
    }

    fn told(&self, words: &[&str]) -> Value {
        let output = self.alone(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The public half of what signs there.
    fn signer(&self) -> String {
        let mut command = Command::new("openssl");
        command.args(["pkey", "-inform", "DER", "-pubout", "-outform", "DER", "-in"]).arg(self.stage.path("sign.der"));
        let public = command.output().expect("openssl").stdout;
        let key: String = public[public.len() - 32..].iter().map(|byte| format!("{byte:02x}")).collect();
        format!("ed25519:{key}")
    }
}

fn of<'s>(all: &'s [Said], step: &str, target: &str) -> &'s Said {
    all.iter().find(|said| said.step == step && said.target == target).unwrap_or_else(|| panic!("{step} of {target}: {all:#?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_a_store_for_the_mesh_and_for_whoever_is_left_alone() {
    let place = Place::start().await;
    what_is_wrong_is_said_before_the_source_is_asked(&place).await;
    each_is_backed_up_looked_at_and_thinned_out(&place).await;
    each_is_drilled_and_restored(&place).await;
    who_has_no_mesh_has_the_bucket(&place);
    let told = place.stage.up.log();
    let is_told = |secret: &str| told.contains(secret);
    assert!(![place.all.password.as_str(), WRONG_SECRET, PASSWORD, "AGE-SECRET-KEY"].into_iter().any(is_told), "a secret is told");
}

async fn what_is_wrong_is_said_before_the_source_is_asked(place: &Place) {
    // The mesh has looked at what it has connections to.
    let before = place.untouched.came();
    for (store, words) in [
        ("nowhere", "make the bucket, or correct its name"),
        ("read-only", "AccessDenied: Access Denied; give whoever asks the rights to list, read, write and delete there"),
        ("wrong-secret", "look at the id of the access key and at its secret"),
    ] {
        let said = place.stage.run_of("one", &["of=untouched", &format!("store={store}")]).await.1.remove(0);
        assert!(said.state == "failed" && said.message.contains(words), "{store}: {said:?}");
        assert!(said.message.contains("s3://") && !said.message.contains("<Error>"), "{store}: {said:?}");
        assert!(!said.message.contains(WRONG_SECRET) && !said.message.contains(&place.all.password), "{store}: {said:?}");
    }
    assert_eq!(place.untouched.came(), before, "nothing was asked of the source");
    // Which would have been counted.
    let said = place.stage.run_of("one", &["of=untouched", "store=bucket"]).await.1.remove(0);
    assert!(said.state == "failed" && place.untouched.came() > before, "{said:?}");
    let listed = place.told(&["list"]);
    assert_eq!(listed["backups"], serde_json::json!([]), "nothing of any of them is there");
}

async fn each_is_backed_up_looked_at_and_thinned_out(place: &Place) {
    for (target, counted) in [("orders-db", 2), ("settings", 1)] {
        let with = [format!("connection={target}"), "store=bucket".to_owned()];
        let all = place.run("backup", &with.each_ref().map(String::as_str)).await;
        let (run, check, prune) = (of(&all, "run", target), of(&all, "check", target), of(&all, "prune", target));
        assert_eq!((run.output("counts"), run.output("counted")), (Value::from(true), Value::from(counted)), "{run:?}");
        let read = check.check("backup.content");
        assert!(read["verdict"] == "ok" && read["message"].as_str().is_some_and(|message| message.contains("opened")), "{check:?}");
        assert_eq!((check.output("newest"), check.output("good")), (run.output("backup"), Value::from(1)), "{check:?}");
        assert_eq!((prune.output("removed"), prune.output("kept")), (Value::from(0), Value::from(1)), "{prune:?}");
    }
    let once = ["connection=settings", "store=bucket", "last=1", "daily=0", "weekly=0", "monthly=0"];
    let all = place.run("backup", &once).await;
    let prune = of(&all, "prune", "settings");
    assert_eq!((prune.output("removed"), prune.output("kept")), (Value::from(1), Value::from(1)), "{prune:?}");
}

async fn each_is_drilled_and_restored(place: &Place) {
    let stage = &place.stage;
    let scratch = stage.path("scratch");
    fs::create_dir(&scratch).expect("a directory");
    // Servers run as somebody else there, who has to come by.
    fs::set_permissions(stage.place.path(), fs::Permissions::from_mode(0o711)).expect("its permissions");
    let scratch = format!("scratch={}", scratch.display());
    for (target, compared) in [("orders-db", "2 tables, 20500 rows"), ("settings", "1 files, 12 bytes")] {
        let all = place.run("recovery-drill", &[&format!("connection={target}"), "store=bucket", &scratch, "rto=10m"]).await;
        let verdict = of(&all, "drill", target).check("drill.restored");
        assert!(verdict["verdict"] == "ok" && verdict["message"].as_str().is_some_and(|message| message.contains(compared)), "{all:?}");
    }
    let login = Login::new("app", PASSWORD);
    let sum = "SELECT count(*) || ' ' || md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o";
    let before = stage.postgres.sql_as(&login, "orders", sum).await.expect("the rows");
    stage.postgres.sql("CREATE DATABASE orders_new OWNER app").await.expect("a database");
    for (from, into, counted) in [("orders-db", "orders-new", 20_500), ("settings", "settings-new", 1)] {
        let all = place.run("restore", &[&format!("of={from}"), &format!("into={into}")]).await;
        assert_eq!((all[0].output("counted"), all[0].output("same")), (Value::from(counted), Value::from(true)), "{all:?}");
    }
    assert_eq!(stage.postgres.sql_as(&login, "orders_new", sum).await, Ok(before));
    assert_eq!(fs::read_to_string(stage.path("settings-new/app.conf")).expect("the file"), "workers = 4\n");
}

fn who_has_no_mesh_has_the_bucket(place: &Place) {
    let (stage, signer) = (&place.stage, place.signer());
    let listed = place.told(&["list", "--signer", &signer]);
    let backups = listed["backups"].as_array().expect("backups");
    assert!(backups.len() == 2 && backups.iter().all(|backup| backup["state"] == "good"), "{listed}");
    let identity = stage.path("break-glass.txt").display().to_string();
    for backup in backups {
        let id = backup["id"].as_str().expect("its name");
        place.told(&["check", id, "--signer", &signer, "--identity", &identity]);
    }
    let target = backups.iter().find_map(|backup| backup["id"].as_str()?.split_once("/settings/")).expect("one of the settings").0;
    let (target, to) = (format!("{target}/settings"), stage.path("alone").display().to_string());
    place.told(&["restore", &target, "--signer", &signer, "--identity", &identity, "--to", &to]);
    assert_eq!(fs::read_to_string(stage.path("alone/settings/app.conf")).expect("the file"), "workers = 4\n");
    // What is wrong is said here too.
    let without = place.alone(&["list", "--region", "us-east-1", "--kms-key", "k", "--sse", "AES256"]);
    let said = String::from_utf8_lossy(&without.stderr);
    assert!(without.status.code() == Some(2) && said.contains("leave the key out"), "{said}");
}
