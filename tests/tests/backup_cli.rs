//! `mainstay backup` with a store and no mesh at all: what a person has left on the day on which everything else is lost.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use mainstay_tests::clock;
use mainstay_tests::up::binaries;
use serde_json::{Value, json};
use tempfile::TempDir;

struct Place {
    dir: TempDir,
    /// Public halves: of the key that is kept offline, and of the one that signs.
    recipient: String,
    signer: String,
}

fn made(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().expect("it is installed: tests/packages");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::Builder::new().prefix("backup-cli-").tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).display().to_string();
        for name in ["store", "etc", "scratch"] {
            fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        made("age-keygen", &["-o", &path("break-glass.txt")]);
        made("openssl", &["genpkey", "-algorithm", "ed25519", "-outform", "DER", "-out", &path("sign.der")]);
        let recipient = String::from_utf8_lossy(&made("age-keygen", &["-y", &path("break-glass.txt")])).trim().to_owned();
        let public = made("openssl", &["pkey", "-inform", "DER", "-in", &path("sign.der"), "-pubout", "-outform", "DER"]);
        let signer = format!("ed25519:{}", public[public.len() - 32..].iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        Place { dir, recipient, signer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// On a machine whose clock is ahead, and which knows of no mesh.
    fn cli_ahead(&self, by: &str, words: &[&str]) -> Output {
        let mut command = Command::new(binaries().join("mainstay"));
        clock::ahead(&mut command, by);
        command.env("XDG_CONFIG_HOME", self.path("no-config")).env_remove("MAINSTAY_CONTEXT").current_dir("/");
        let store = self.text("store");
        command.arg("backup").args(words).args(["--store", &store]).stdin(Stdio::null()).output().expect("the CLI runs")
    }

    /// With whose word counts.
    fn cli(&self, words: &[&str]) -> Output {
        self.cli_ahead("", &[words, &["--signer", &self.signer]].concat())
    }

    fn opened(&self, words: &[&str]) -> Output {
        self.cli(&[words, &["--identity", &self.text("break-glass.txt")]].concat())
    }

    /// Backs up what is there, as of so much later; the backup's name.
    fn run(&self, ahead: &str, set: &str) -> String {
        self.run_of("local/etc", ahead, set)
    }

    /// The same, as a backup of this target.
    fn run_of(&self, target: &str, ahead: &str, set: &str) -> String {
        let (etc, sign) = (self.text("etc"), self.text("sign.der"));
        let words = ["run", target, "--files", &etc, "--break-glass", &self.recipient, "--sign", &sign, "--set", set, "-o", "json"];
        let output = self.cli_ahead(ahead, &words);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", said(&output));
        json_of(&output)["backup"].as_str().expect("its name").to_owned()
    }

    /// What `app.conf` was in what is restored.
    fn restored(&self, to: &str, more: &[&str]) -> String {
        let output = self.opened(&[&["restore", "local/etc", "--to", &self.text(to)][..], more].concat());
        assert!(output.status.success(), "{}", said(&output));
        fs::read_to_string(self.path(to).join("etc/app.conf")).expect("the file")
    }
}

#[test]
fn a_store_alone_is_enough_to_back_up_and_to_restore() {
    let place = Place::new();
    fs::write(place.path("etc/app.conf"), "workers = 4\n").expect("a file");
    let first = place.run("", "night-1");
    fs::write(place.path("etc/app.conf"), "workers = 8\n").expect("a file");
    let second = place.run("+2h", "night-2");

    what_is_there_is_listed_and_shown(&place, &first, &second);
    what_is_no_record_takes_nothing_from_the_others(&place, &first, &second);
    nothing_is_removed_that_is_only_looked_at(&place, &first, &second);
    each_is_restored_as_of_its_time(&place, &first);
    a_set_stays_whole_whichever_target_is_named(&place, &first);
    it_is_proven_by_a_drill_and_what_is_damaged_is_not(&place, &second);
}

fn what_is_there_is_listed_and_shown(place: &Place, first: &str, second: &str) {
    let listed = json_of(&place.cli(&["list", "-o", "json"]));
    let states: Vec<(&str, &str)> =
        listed["backups"].as_array().into_iter().flatten().filter_map(|backup| Some((backup["id"].as_str()?, backup["state"].as_str()?))).collect();
    assert_eq!(states, [(first, "good"), (second, "good")]);
    let sets: Vec<(&Value, &Value)> = listed["sets"].as_array().into_iter().flatten().map(|set| (&set["name"], &set["backups"])).collect();
    assert_eq!(sets, [(&json!("night-1"), &json!([first])), (&json!("night-2"), &json!([second]))]);
    let told = said(&place.cli(&["list"]));
    assert!(told.contains("✔ good") && told.contains("set night-1  1 target · ") && told.contains("span "), "{told}");
    // Nobody's word counts: then none is good.
    let doubted = json_of(&place.cli_ahead("", &["list", "-o", "json"]));
    assert!(doubted["backups"][0]["state"] == "unconfirmed" && doubted["sets"] == json!([]), "{doubted}");

    let shown = place.cli(&["show", first]);
    assert!(shown.status.success() && said(&shown).contains("in set night-1") && said(&shown).contains("application/x-tar"), "{}", said(&shown));
    let manifest = &json_of(&place.cli(&["show", first, "-o", "json"]))["manifest"];
    let taken = [&manifest["taken"]["from"], &manifest["taken"]["to"]].map(|at| at.as_str().unwrap_or_default());
    assert!(!taken[0].is_empty() && taken[0] <= taken[1], "{manifest}");
    let keys = json_of(&place.cli(&["keys", "-o", "json"]));
    assert_eq!((&keys["keys"][0]["key"], &keys["withoutBreakGlass"]), (&json!(place.recipient), &json!([])), "{keys}");
    assert_eq!(keys["targetKeys"][0]["backups"], json!([first, second]), "{keys}");
}

fn what_is_no_record_takes_nothing_from_the_others(place: &Place, first: &str, second: &str) {
    let receipt = place.path("store").join(first).join("receipt.json");
    let whole = fs::read(&receipt).expect("a receipt");
    // Larger than any record; the file has a hole.
    fs::OpenOptions::new().write(true).open(&receipt).and_then(|file| file.set_len(1 << 30)).expect("it grows");
    let output = place.cli(&["list", "-o", "json"]);
    let listed = json_of(&output);
    let states: Vec<(&Value, &Value)> = listed["backups"].as_array().into_iter().flatten().map(|backup| (&backup["id"], &backup["state"])).collect();
    assert_eq!(states, [(&json!(first), &json!("damaged")), (&json!(second), &json!("good"))], "{listed}");
    assert!(output.status.code() == Some(1) && listed["backups"][0]["what"].to_string().contains("receipt.json: it has more than"), "{listed}");
    assert_eq!(place.restored("beside-damaged", &[]), "workers = 8\n");
    fs::write(&receipt, whole).expect("it is as it was");
}

fn nothing_is_removed_that_is_only_looked_at(place: &Place, first: &str, second: &str) {
    // Which mesh holds what is to be asked, unless somebody says that there is none.
    for words in [&["prune", "--last", "1"][..], &["prune", "--last", "1", "--dry-run"]] {
        let unasked = place.cli(words);
        assert!(unasked.status.code() == Some(3) && said(&unasked).contains("--without-mesh"), "{}", said(&unasked));
    }
    let dry_run = ["prune", "--without-mesh", "--last", "1", "--dry-run"];
    let dry = json_of(&place.cli(&[&dry_run[..], &["-o", "json"]].concat()));
    let fates: Vec<(&Value, &Value)> = dry["backups"].as_array().into_iter().flatten().map(|one| (&one["backup"], &one["is"])).collect();
    assert_eq!(fates, [(&json!(first), &json!("would go")), (&json!(second), &json!("stays"))], "{dry}");
    assert_eq!(dry["holdsKnown"], false, "{dry}");
    assert!(said(&place.cli(&dry_run)).contains("no mesh was asked"));
    assert!(place.path("store").join(first).join("receipt.json").is_file());
    let keeps_nothing = place.cli(&["prune", "--without-mesh", "--dry-run"]);
    assert_eq!(keeps_nothing.status.code(), Some(2), "{}", said(&keeps_nothing));
}

fn a_set_stays_whole_whichever_target_is_named(place: &Place, first: &str) {
    let other = place.run_of("local/other", "", "night-1");
    let prune = ["prune", "local/etc", "--without-mesh", "--last", "1", "-o", "json"];
    let pruned = json_of(&place.cli(&prune));
    let stays = |one: &Value| one["backup"] == first && one["is"] == "stays";
    let named: Vec<&Value> = pruned["backups"].as_array().into_iter().flatten().collect();
    assert!(named.len() == 2 && named.iter().any(|one| stays(one)), "the other target's newest one is of its set: {pruned}");
    assert!([first, &other].iter().all(|id| place.path("store").join(id).join("receipt.json").is_file()));
}

fn each_is_restored_as_of_its_time(place: &Place, first: &str) {
    let time = first.rsplit('/').next().and_then(|name| name.split_once('-')).expect("its time").0;
    // An hour after the first, and before the second.
    let (date, hour) = (&time[..8], time[9..11].parse::<u32>().expect("an hour"));
    let between = match hour {
        23 => format!("{}-{}-{}T23:59:59Z", &date[..4], &date[4..6], &date[6..]),
        hour => format!("{}-{}-{}T{:02}:{}:{}Z", &date[..4], &date[4..6], &date[6..], hour + 1, &time[11..13], &time[13..15]),
    };
    assert_eq!(place.restored("newest", &[]), "workers = 8\n");
    assert_eq!(place.restored("between", &["--at", &between]), "workers = 4\n");
    assert_eq!(place.restored("of-set", &["--set", "night-1"]), "workers = 4\n");
    let nothing = |more: &[&str]| {
        let output = place.opened(&[&["restore", "local/etc", "--to", &place.text("nothing")][..], more].concat());
        assert!(!output.status.success() && !place.path("nothing").exists(), "{}", said(&output));
        said(&output)
    };
    assert!(nothing(&["--at", "2020-01-01T00:00:00Z"]).contains("has no good backup at or before 2020-01-01T00:00:00Z"));
    assert!(nothing(&["--set", "night-3"]).contains("has no good backup in the set night-3"));
    assert!(nothing(&["--jobs", "2"]).contains("--jobs is for a database, and this is files"));
    let over = place.opened(&["restore", first, "--to", &place.text("newest")]);
    assert_eq!(over.status.code(), Some(1), "{}", said(&over));
    assert_eq!(fs::read_to_string(place.path("newest/etc/app.conf")).expect("the file"), "workers = 8\n", "nothing was touched");
}

fn it_is_proven_by_a_drill_and_what_is_damaged_is_not(place: &Place, second: &str) {
    let checked = place.opened(&["check", second]);
    assert!(checked.status.success() && checked.stderr.is_empty(), "no progress in a pipe: {}", said(&checked));
    let scratch = place.text("scratch");
    let drill = |more: &[&str]| place.opened(&[&["drill", "local/etc", "--scratch", &scratch][..], more].concat());
    let drilled = drill(&["-o", "json"]);
    let told = json_of(&drilled);
    assert!(drilled.status.success() && told["backup"] == second && told["proven"] == true && told["differs"] == json!([]), "{told}");
    assert!(told["compared"].as_str().is_some_and(|compared| compared.contains("1 files, 12 bytes")), "{told}");
    assert!(told["rtoMs"].as_u64() <= told["tookMs"].as_u64() && told["rpoMs"].is_u64(), "{told}");
    let words = said(&drill(&[]));
    assert!(words.contains("is what it was: 1 files, 12 bytes") && words.contains("RTO  ") && words.contains("RPO  "), "{words}");
    assert_eq!(fs::read_dir(&scratch).expect("the directory").count(), 0, "what was restored is removed");

    let part = place.path("store").join(second).join("files.zst.age");
    let mut bytes = fs::read(&part).expect("a part");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&part, bytes).expect("a byte is flipped");
    let checked = place.opened(&["check", second]);
    assert!(checked.status.code() == Some(1) && said(&checked).contains("✖ files"), "{}", said(&checked));
    let drilled = drill(&["-o", "json"]);
    let told = json_of(&drilled);
    assert_eq!((drilled.status.code(), &told["proven"]), (Some(1), &json!(false)), "{told}");
    assert!(told["notRestored"].as_str().is_some_and(|why| why.contains("damaged")), "{told}");
    let untried = place.opened(&["drill", "local/etc", "--scratch", &place.text("nowhere")]);
    assert!(untried.status.code() == Some(1) && said(&untried).contains("was not tried"), "{}", said(&untried));
}
