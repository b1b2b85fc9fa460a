//! Silences in a real Alertmanager: one for a step however often it is tried, ended with the run however that ends.

use mainstay_tests::servers::Alertmanager;
use mainstay_tests::{Options, Up, eventually};
use serde_json::{Value, json};

const POLICY: &str = "[policy]\nallow = [\"alertmanager.silence\", \"alertmanager.expire\"]\n";

/// A silence, then these steps.
fn plan(name: &str, steps: &str) -> String {
    format!(
        "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: {name} }}\nspec:\n  steps:\n    \
         - {{ name: quiet, uses: alertmanager.silence, retry: {{ attempts: 4, backoff: 1s }}, with: {{ matchers: [namespace=shop, \"severity!=critical\"], for: 2h, comment: new version }} }}\n{steps}"
    )
}

fn silences(all: &[(String, String)], state: &str, run: &str) -> usize {
    let ends = format!("/{run}/quiet]");
    all.iter().filter(|(of, comment)| of == state && comment.starts_with("new version [mainstay ") && comment.ends_with(&ends)).count()
}

fn state(ended: &Value) -> (&Value, &Value) {
    (&ended["state"], &ended["verdict"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_touches_is_silenced_until_the_run_has_ended() {
    let mut there = Alertmanager::start().await;
    let connections = format!("[connections.alerts]\nkind = \"alertmanager\"\nurl = \"http://127.0.0.1:{}\"\n", there.port);
    let up = Up::start(Options { coordinators: 1, agents: 1, policy: POLICY.to_owned(), settings: connections, ..Options::default() }).await;
    let starts = |name: &str, steps: &str| up.start_run(name, &plan(name, steps));

    // It is there while the run goes on, and ended by it; somebody else's stays.
    let expire = "    - { name: loud, needs: [ask], uses: alertmanager.expire }\n";
    let run = starts("whole", &["    - { name: ask, needs: [quiet], uses: approval }\n", expire].concat());
    let asks = || async {
        let shown = up.try_json(&["run", "show", &run])?;
        let is_made = shown["work"].as_array().into_iter().flatten().any(|work| work["step"] == "quiet" && work["state"] == "succeeded");
        if is_made { Ok(()) } else { Err(shown.to_string()) }
    };
    eventually("the silence is made", asks).await;
    let beside = starts("beside", "");
    let ended = up.ended(&beside).await;
    assert_eq!(state(&ended), (&json!("completed"), &json!("ok")), "{ended}");
    let all = there.silences().await;
    assert_eq!((silences(&all, "active", &run), silences(&all, "active", &beside)), (1, 1), "{all:?}");
    let approved = up.cli(&["run", "approve", &run, "--yes"]);
    assert!(approved.status.success(), "{approved:?}");
    let ended = up.ended(&run).await;
    assert_eq!(state(&ended), (&json!("completed"), &json!("ok")), "{ended}");
    let all = there.silences().await;
    assert_eq!((silences(&all, "expired", &run), silences(&all, "active", &beside)), (1, 1), "{all:?}");

    // A run that fails takes it back. An Alertmanager that is away for a while is asked again.
    there.stop();
    let run = starts("fails", "    - { name: never, needs: [quiet], uses: approval, timeout: 1s }\n");
    let tried = || async {
        let shown = up.try_json(&["run", "show", &run])?;
        let attempts = shown["work"][0]["attempts"].as_array().map_or(0, Vec::len);
        if attempts >= 2 { Ok(()) } else { Err(shown.to_string()) }
    };
    eventually("it is tried again", tried).await;
    there.go_on().await;
    let ended = up.ended(&run).await;
    assert_eq!(ended["state"], "failed", "{ended}");
    let all = there.silences().await;
    assert_eq!((silences(&all, "expired", &run), silences(&all, "active", &run)), (1, 0), "{all:?} {ended}");
    assert!(ended.to_string().contains("it is ended"), "{ended}");
}
