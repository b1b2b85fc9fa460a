//! A whole mesh on one machine of which one process dies in the middle of a write, once, wherever it comes by first: as
//! `kill -9` does or as a power cut. It starts again, nothing is begun twice, what was acknowledged is there.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use mainstay_client::failpoint::Point;
use mainstay_core::Token;
use mainstay_proto::v1;
use mainstay_tests::{Options, Up, eventually, scripts};

/// One step that leaves a line, prints more than a report holds, and ends.
fn plan(name: &str, marker: &Path) -> String {
    scripts::plan(name, "mark", &format!("echo $MAINSTAY_ATTEMPT >> {}; yes 0123456789abcdef | head -n 4000", marker.display()))
}

/// Where a process dies. The first few come by in any start; the others while a run goes.
const ORDERS: [(Point, &str); 25] = [
    (Point::CliDirectory, "named:lose"),
    (Point::UpRecord, "named:lose"),
    (Point::UpPolicy, "sync:lose"),
    (Point::UpToken, "synced"),
    (Point::UpTokenDrop, "name"),
    (Point::UpLog, "write:lose:nth=9"),
    (Point::RootKey, "done:lose"),
    (Point::RootKeyDrop, "named:lose"),
    (Point::Provision, "done:lose"),
    (Point::Identity, "torn:lose"),
    (Point::Identity, "named:lose:nth=2"),
    (Point::MemberRecord, "named:lose"),
    (Point::Roots, "sync:lose"),
    (Point::StoreIdentity, "named:lose:nth=2"),
    (Point::ArtifactDirectory, "named:lose"),
    (Point::AgentDirectory, "named:lose"),
    (Point::LogAppend, "sync:lose=5:nth=12"),
    (Point::LedgerAccept, "synced"),
    (Point::LedgerBegin, "sync:lose"),
    (Point::LedgerBegin, "synced"),
    (Point::LedgerEnd, "sync:lose"),
    (Point::Spool, "torn"),
    (Point::SpoolRemove, "name"),
    (Point::ArtifactReceive, "sync:lose"),
    (Point::ArtifactReceive, "named:lose"),
];

async fn try_order(point: Point, how: &str) -> Result<(), String> {
    let place = tempfile::Builder::new().prefix("dying-").tempdir().expect("a directory");
    let fired = place.path().join("fired");
    let order = format!("{}:{how}", point.name());
    let options = Options {
        coordinators: 1,
        agents: 1,
        policy: if point == Point::UpPolicy { String::new() } else { scripts::POLICY.to_owned() },
        environment: vec![("MAINSTAY_FAILPOINT".to_owned(), order.clone()), ("MAINSTAY_FAILPOINT_FIRED".to_owned(), fired.display().to_string())],
        ..Options::default()
    };
    if point == Point::RootKeyDrop {
        // As an earlier start left it that died between the two files of a root.
        let ca = place.path().join("mesh/ca");
        fs::create_dir_all(&ca).expect("a directory");
        fs::write(ca.join("root.key"), "a key without a certificate").expect("the key");
    }
    let mut up = Up::begin_at(place.path(), &options);
    let marker = place.path().join("marker");
    let mut before = None;
    let mut tries = 0;
    loop {
        // `up` itself may have died: a person starts it again.
        let started = eventually(&format!("{order}: a mesh or an end"), || {
            let ended = up.has_ended();
            let status = if ended.is_none() { up.try_json(&["status"]) } else { Err(String::new()) };
            async move {
                match (ended, status) {
                    (Some(_), _) => Ok(false),
                    (None, Ok(status)) if status["agentsUp"] == 1 => Ok(true),
                    (None, status) => Err(format!("{status:?}")),
                }
            }
        })
        .await;
        tries += 1;
        if tries > 3 {
            return Err(format!("it does not stay up: {}", up.log()));
        }
        if !started {
            up.begin_again(&options);
            continue;
        }
        if before.is_none() {
            before = token(&up).await;
        }
        if fs::metadata(&marker).is_err() && point != Point::UpPolicy && up.has_ended().is_none() {
            one_run(&up, &marker).await?;
        }
        if point == Point::Roots && !fired.exists() {
            trust_another_root(&up, place.path(), &fired).await?;
            continue;
        }
        if up.has_ended().is_none() {
            break;
        }
    }
    if !fired.exists() {
        return Err("nobody died".into());
    }
    let after = token(&up).await.ok_or("no token afterwards")?;
    if before.is_some_and(|before| before >= after) {
        return Err(format!("the token was {before:?}, and is {after} now"));
    }
    let audit = up.json(&["audit", "--limit", "500"]);
    if audit["intact"] != true {
        return Err(format!("the audit is not whole: {audit}"));
    }
    if up.log().contains("panicked") {
        return Err(format!("something panicked: {}", up.log()));
    }
    Ok(())
}

/// Has the member that is to die write down whom it trusts.
async fn trust_another_root(up: &Up, place: &Path, fired: &Path) -> Result<(), String> {
    let to = place.join("new").display().to_string();
    for args in [vec!["mesh", "root", "new", "--mesh", "local", "--to", &to], vec!["mesh", "root", "add", &format!("{to}/root.pem")]] {
        let done = up.cli(&args);
        if !done.status.success() && !fired.exists() {
            return Err(format!("{args:?}: {}", String::from_utf8_lossy(&done.stderr)));
        }
    }
    eventually("the member dies", || async { if fired.exists() { Ok(()) } else { Err("not yet".to_owned()) } }).await;
    Ok(())
}

/// A run of which nothing is begun twice: the line is there once, or, where nobody knows, not at all.
async fn one_run(up: &Up, marker: &Path) -> Result<(), String> {
    let applied = eventually("a run starts", || async {
        let file = up.scratch().join("marked.yaml");
        fs::write(&file, plan("marked", marker)).map_err(|error| error.to_string())?;
        let applied = up.cli(&["plan", "apply", "-f", &file.display().to_string()]);
        if !applied.status.success() {
            return Err(String::from_utf8_lossy(&applied.stderr).into_owned());
        }
        up.try_json(&["run", "start", "marked"])
    })
    .await;
    let id = applied["run"].as_str().ok_or("a run has an id")?.to_owned();
    let ended = up.ended(&id).await;
    let lines = fs::read_to_string(marker).unwrap_or_default().lines().count();
    let state = ended["work"][0]["state"].as_str().unwrap_or_default().to_owned();
    match (state.as_str(), lines) {
        ("succeeded", 1) | ("unknown", 0 | 1) => Ok(()),
        other => Err(format!("the step is {other:?}: {ended}")),
    }
}

/// A new grant's token, given back at once.
async fn token(up: &Up) -> Option<Token> {
    let client = up.client();
    let request = v1::AcquireRequest { name: "demo".into(), incarnation: "i".into(), ..v1::AcquireRequest::default() };
    let granted = client.acquire_lease(request).await.ok()?;
    let given_back = client.release_lease(v1::ReleaseRequest { name: "demo".into(), token: granted.token.clone(), incarnation: "i".into() }).await;
    given_back.ok()?;
    granted.token.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_dies_in_a_write_comes_back_and_nothing_is_begun_twice() {
    let (left, problems) = (Mutex::new(ORDERS.to_vec()), Mutex::new(Vec::new()));
    let work = || async {
        while let Some((point, how)) = { left.lock().unwrap().pop() } {
            if let Err(problem) = try_order(point, how).await {
                problems.lock().unwrap().push(format!("{}:{how}: {problem}", point.name()));
            }
        }
    };
    tokio::join!(work(), work(), work());
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
