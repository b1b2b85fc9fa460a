//! What is said of a connection that nobody backs up, where a plan looks at all of them.

use super::*;

#[tokio::test]
async fn nothing_is_said_of_what_was_never_backed_up() {
    let (place, clerk) = Place::catalogued();
    let quiet = json!({ "onlyBackedUp": true, "read": "none", "drillWithin": { "warning": "35d" } });
    assert_eq!(place.done("backup.check", quiet.clone(), "").await, Ok(Report::default()));
    assert_eq!(clerk.told(), Vec::<String>::new());
    let loud = place.done("backup.check", json!({}), "").await.unwrap();
    assert_eq!(verdicts(&loud)[0], ("backup.age", Verdict::Critical));

    // Of what was, all is said: also when the store has nothing of it any more.
    place.done("backup.run", json!({}), "1.1").await.unwrap();
    let said = place.done("backup.check", quiet.clone(), "").await.unwrap();
    let expected = [("backup.age", Verdict::Ok), ("backup.keys", Verdict::Ok), ("backup.drill", Verdict::Warning)];
    assert_eq!(verdicts(&said), expected);
    let name = said.outputs["newest"].as_str().unwrap().to_owned();
    clerk.known.lock().unwrap().backups.push(v1::Backup { id: name, store: "backups".into(), counts: true, ..v1::Backup::default() });
    fs::remove_dir_all(place.dir.path().join("store/prod")).unwrap();
    let said = place.done("backup.check", quiet.clone(), "").await.unwrap();
    assert!(verdicts(&said).contains(&("backup.vanished", Verdict::Critical)), "{said:?}");

    // Where the catalogue does not answer, it is not known whether there is something to say.
    clerk.refuse(Some((Code::Unavailable, true)));
    let said = place.done("backup.check", quiet, "").await.unwrap();
    assert_eq!(verdicts(&said), [("backup.catalogue", Verdict::Unknown)]);
}

#[tokio::test]
async fn an_agent_without_a_store_is_left_out() {
    let place = Place::whole();
    let declared = format!("[connections.etc]\nkind = \"files\"\nurl = \"file://{}/etc\"\n", place.dir.path().display());
    let (connections, problems) = Connections::parse(&place.dir.path().join("connections.toml"), &declared);
    assert_eq!(problems, Vec::<String>::new());
    let place = Place { context: place.context.clone().with_connections(connections), ..place };
    assert_eq!(place.done("backup.check", json!({ "onlyBackedUp": true }), "").await, Ok(Report::default()));
    let refused = place.done("backup.check", json!({}), "").await.unwrap_err();
    assert!(refused.message.contains("no connection of kind store"), "{refused}");
}

/// Where there are several stores, the one in which it was backed up.
#[tokio::test]
async fn of_several_stores_the_one_of_its_newest_backup_is_looked_at() {
    let (place, clerk) = Place::catalogued();
    let dir = place.dir.path().display().to_string();
    fs::create_dir(place.dir.path().join("other")).unwrap();
    let store = |name: &str, at: &str| {
        format!(
            "[connections.{name}]\nkind = \"store\"\nurl = \"file://{dir}/{at}\"\nsign = {{ file = \"sign.der\" }}\nidentity = {{ file = \"drill.txt\" }}\ndrill = [\"KEY\"]\n"
        )
    };
    let key = Identities::read(&fs::read_to_string(place.dir.path().join("drill.txt")).unwrap()).unwrap().public().remove(0);
    let declared =
        format!("[connections.etc]\nkind = \"files\"\nurl = \"file://{dir}/etc\"\n{}{}", store("backups", "store"), store("elsewhere", "other"));
    let (connections, problems) = Connections::parse(&place.dir.path().join("connections.toml"), &declared.replace("KEY", &key));
    assert_eq!(problems, Vec::<String>::new());
    let place = Place { context: place.context.clone().with_connections(connections), ..place };
    let quiet = json!({ "onlyBackedUp": true, "read": "none" });
    assert_eq!(place.done("backup.check", quiet.clone(), "").await, Ok(Report::default()));
    let made = place.done("backup.run", json!({ "store": "elsewhere" }), "1.1").await.unwrap();
    let name = made.outputs["backup"].as_str().unwrap().to_owned();
    clerk.known.lock().unwrap().backups.push(v1::Backup { id: name.clone(), store: "elsewhere".into(), counts: true, ..v1::Backup::default() });
    let said = place.done("backup.check", quiet, "").await.unwrap();
    assert_eq!(said.outputs["newest"], json!(name), "{said:?}");
}
