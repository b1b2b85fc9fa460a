//! What was backed up is put somewhere: whole, once, and over nothing.

use super::*;

/// Another agent's connections: what is restored into, and a store that opens.
fn with_place(place: &Place, more: &str) -> Context {
    let dir = place.dir.path().display();
    let declared = format!(
        "[connections.etc]\nkind = \"files\"\nurl = \"file://{dir}/etc\"\n[connections.same]\nkind = \"files\"\nurl = \"file://{dir}/etc\"\n\
         [connections.restored]\nkind = \"files\"\nurl = \"file://{dir}/restored\"\n[connections.backups]\nkind = \"store\"\nurl = \"file://{dir}/store\"\n{more}"
    );
    let (connections, problems) = Connections::parse(&place.dir.path().join("connections.toml"), &declared);
    assert_eq!(problems, Vec::<String>::new());
    let policy = Policy::parse("[policy]\nallow = [\"*\"]").unwrap();
    Context::new(Arc::default(), Readings::default(), Arc::default(), Arc::new(policy)).unwrap().with_connections(connections)
}

async fn restored(context: &Context, into: &str, with: Value) -> Result<Report, StepError> {
    let labels = Labels { cluster: Some("prod".parse().unwrap()), connection: Some(into.parse().unwrap()), ..Labels::default() };
    let context = context.for_attempt(labels, Output::unwatched(), CancellationToken::new());
    let mut with = with.as_object().unwrap().clone();
    with.insert("connection".to_owned(), Value::from(into));
    execute("backup.restore", &with, &context).await
}

const OPENS: &str = "sign = { file = \"sign.der\" }\nidentity = { file = \"drill.txt\" }\n";

#[tokio::test]
async fn a_directory_is_restored_whole_once_and_known_again() {
    let place = Place::whole();
    fs::create_dir(place.dir.path().join("etc/conf.d")).unwrap();
    fs::write(place.dir.path().join("etc/conf.d/more.conf"), "x = 1\n").unwrap();
    let made = place.done("backup.run", json!({}), "1.1").await.unwrap();
    let context = with_place(&place, OPENS);
    let into = place.dir.path().join("restored");

    let dry = restored(&context, "restored", json!({ "backup": "prod/etc", "dryRun": true })).await.unwrap();
    assert_eq!((verdicts(&dry), into.exists()), (vec![("restore.dryRun", Verdict::Ok)], false));
    assert!(dry.checks[0].message.contains("would be restored into"), "{dry:?}");

    let with = json!({ "backup": "etc", "rtoWithin": { "critical": "10m" }, "rpoWithin": { "warning": "1h" } });
    let report = restored(&context, "restored", with.clone()).await.unwrap();
    let all_well = [("restore.done", Verdict::Ok), ("restore.rto", Verdict::Ok), ("restore.rpo", Verdict::Ok)];
    assert_eq!(verdicts(&report), all_well, "{report:?}");
    assert_eq!((&report.outputs["backup"], &report.outputs["counted"], &report.outputs["same"]), (&made.outputs["backup"], &json!(2), &json!(true)));
    // What was in the directory is in the directory, without one of its name in between.
    assert_eq!(fs::read_to_string(into.join("app.conf")).unwrap(), "workers = 4\n");
    assert_eq!(fs::read_to_string(into.join("conf.d/more.conf")).unwrap(), "x = 1\n");

    // Tried again, it is known; what has changed since is said, and stays.
    let again = restored(&context, "restored", with.clone()).await.unwrap();
    assert_eq!(verdicts(&again), [("restore.done", Verdict::Ok), ("restore.rpo", Verdict::Ok)], "{again:?}");
    fs::write(into.join("app.conf"), "workers = 12\n").unwrap();
    let changed = restored(&context, "restored", with.clone()).await.unwrap();
    assert!(changed.checks[0].verdict == Verdict::Warning && changed.checks[0].message.contains("has changed since"), "{changed:?}");
    assert_eq!(fs::read_to_string(into.join("app.conf")).unwrap(), "workers = 12\n");

    // Another backup does not go over it, and the preview says so.
    place.done("backup.run", json!({}), "1.2").await.unwrap();
    for with in [with, json!({ "backup": "prod/etc", "dryRun": true })] {
        let error = restored(&context, "restored", with).await.unwrap_err();
        assert!(error.ended == Ended::Refused && error.message.contains("was restored there before; nothing was touched"), "{error}");
    }
    // The one of before, by its name.
    let named = restored(&context, "restored", json!({ "backup": made.outputs["backup"] })).await.unwrap();
    assert_eq!(named.outputs["backup"], made.outputs["backup"]);
}

#[tokio::test]
async fn what_an_earlier_try_left_half_is_made_anew() {
    let place = Place::whole();
    place.done("backup.run", json!({}), "1.1").await.unwrap();
    let half = place.dir.path().join(".restored.mainstay-restore/content/etc");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("half.conf"), "workers").unwrap();
    let report = restored(&with_place(&place, OPENS), "restored", json!({ "backup": "prod/etc" })).await.unwrap();
    assert_eq!(report.outputs["same"], json!(true), "{report:?}");
    let names = |dir: &str| {
        let all = fs::read_dir(place.dir.path().join(dir)).unwrap();
        let mut all: Vec<String> = all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        all.sort();
        all
    };
    assert_eq!(names("restored"), ["app.conf"]);
    assert!(!names(".").contains(&".restored.mainstay-restore".to_owned()));
}

#[tokio::test]
async fn what_was_backed_up_is_restored_into_only_by_who_says_it_twice_and_only_where_it_is_empty() {
    let place = Place::whole();
    place.done("backup.run", json!({}), "1.1").await.unwrap();
    let context = with_place(&place, OPENS);
    // By its own name, and by another one of the same place.
    for (into, overwrite) in [("etc", ""), ("same", ""), ("same", "etc")] {
        let error = restored(&context, into, json!({ "backup": "prod/etc", "overwrite": overwrite })).await.unwrap_err();
        assert!(error.ended == Ended::Refused && error.message.contains(&format!("name it twice:  overwrite: {into}")), "{error}");
    }
    let twice = json!({ "backup": "prod/etc", "overwrite": "etc" });
    let error = restored(&context, "etc", twice.clone()).await.unwrap_err();
    assert!(error.message.contains("it is not empty; nothing was touched"), "{error}");
    assert_eq!(fs::read_to_string(place.dir.path().join("etc/app.conf")).unwrap(), "workers = 4\n");
    fs::remove_file(place.dir.path().join("etc/app.conf")).unwrap();
    restored(&context, "etc", twice).await.unwrap();
    assert_eq!(fs::read_to_string(place.dir.path().join("etc/app.conf")).unwrap(), "workers = 4\n");
}

#[tokio::test]
async fn what_cannot_be_opened_found_or_read_touches_nothing() {
    let place = Place::whole();
    place.done("backup.run", json!({}), "1.1").await.unwrap();
    let (_, other) = Identities::generate();
    fs::write(place.dir.path().join("other.txt"), other.expose_secret()).unwrap();
    let wrong_key = with_place(&place, "sign = { file = \"sign.der\" }\nidentity = { file = \"other.txt\" }\n");
    let no_key = with_place(&place, "sign = { file = \"sign.der\" }\n");
    let context = with_place(&place, OPENS);
    let newest = json!({ "backup": "prod/etc" });
    for (context, with, ended, part) in [
        (&wrong_key, newest.clone(), Ended::Refused, "does not open prod/etc/"),
        (&no_key, newest.clone(), Ended::Refused, "identity = "),
        (&context, json!({ "backup": "prod/none" }), Ended::Failed, "prod/none has no good backup"),
        (&context, json!({ "backup": "prod/etc", "at": "2001-01-01T00:00:00Z" }), Ended::Failed, "no good backup at or before 2001"),
        (&context, json!({ "backup": "prod/etc", "at": "noon" }), Ended::Refused, "`at` is noon"),
    ] {
        let error = restored(context, "restored", with).await.unwrap_err();
        assert!(error.ended == ended && error.message.contains(part), "{part}: {error}");
    }
    let part = place.backups().remove(0).join("files.zst.age");
    let mut bytes = fs::read(&part).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&part, bytes).unwrap();
    let error = restored(&context, "restored", newest).await.unwrap_err();
    assert!(error.ended == Ended::Failed && error.message.contains("is damaged: files"), "{error}");
    let left: Vec<PathBuf> = fs::read_dir(place.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!left.iter().any(|path| path.display().to_string().contains("restored")), "{left:?}");
}

#[tokio::test]
async fn a_part_of_a_directory_is_what_was_chosen_of_it() {
    let place = Place::whole();
    let etc = place.dir.path().join("etc");
    fs::create_dir_all(etc.join("conf.d/deep")).unwrap();
    fs::write(etc.join("conf.d/a.conf"), "a = 1\n").unwrap();
    fs::write(etc.join("conf.d/deep/b.conf"), "b = 2\n").unwrap();
    place.done("backup.run", json!({}), "1.1").await.unwrap();
    let context = with_place(&place, OPENS);
    let into = place.dir.path().join("restored");
    for (with, ended, part) in [
        (json!({ "backup": "prod/etc", "paths": ["../etc"] }), Ended::Refused, "is no path within the directory"),
        (json!({ "backup": "prod/etc", "tables": ["public.a"] }), Ended::Refused, "a directory has no `tables`"),
        (json!({ "backup": "prod/etc", "paths": ["conf.d", "none"] }), Ended::Failed, "it has no none"),
    ] {
        let error = restored(&context, "restored", with).await.unwrap_err();
        assert!(error.ended == ended && error.message.contains(part) && !into.exists(), "{part}: {error}");
    }
    let some = json!({ "backup": "prod/etc", "paths": ["conf.d"] });
    let report = restored(&context, "restored", some.clone()).await.unwrap();
    assert_eq!((&report.outputs["counted"], &report.outputs["same"]), (&json!(2), &json!(true)), "{report:?}");
    assert_eq!(fs::read_to_string(into.join("conf.d/deep/b.conf")).unwrap(), "b = 2\n");
    assert!(!into.join("app.conf").exists());
    // It is known again as that part, and is not all of it.
    assert_eq!(verdicts(&restored(&context, "restored", some).await.unwrap())[0], ("restore.done", Verdict::Ok));
    let error = restored(&context, "restored", json!({ "backup": "prod/etc" })).await.unwrap_err();
    assert!(error.message.contains("(1 of it, ") && error.message.contains("was restored there before"), "{error}");
}
