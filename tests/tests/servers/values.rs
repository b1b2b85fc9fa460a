//! What is given to a plan, and what comes out of a machine: values that stay values, and credentials that stay
//! where they are.

use std::fs;
use std::path::Path;

use mainstay_tests::canary::Canary;
use mainstay_tests::servers::free_port;
use mainstay_tests::{Options, Up};
use serde_json::Value;

const POLICY: &str = r#"[policy]
allow = ["node.exec"]
[[policy.exec]]
command = ["/usr/bin/printf", "*", "*"]
[[policy.exec]]
command = ["/bin/cat", "*", "*"]
[[policy.exec]]
command = ["/usr/bin/touch", "*"]
"#;

async fn small(settings: &str) -> Up {
    Up::start(Options { coordinators: 1, agents: 1, policy: POLICY.to_owned(), settings: settings.to_owned(), ..Options::default() }).await
}

fn apply(up: &Up, name: &str, rest: &str) {
    let head = format!("apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: {name} }}\nspec:\n");
    up.apply(name, &(head + rest));
}

fn work<'a>(run: &'a Value, step: &str) -> &'a Value {
    run["work"].as_array().into_iter().flatten().find(|work| work["step"] == step).unwrap_or_else(|| panic!("no {step} in {run}"))
}

fn tail(run: &Value, step: &str) -> String {
    work(run, step)["attempts"][0]["outcome"]["report"]["outputTail"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_is_never_a_command_an_option_or_an_expression() {
    let up = small("").await;
    let steps = r#"  inputs:
    value: { type: text }
  steps:
    - { name: say, uses: node.exec, with: { command: [/usr/bin/printf, "<%s>", "${{ inputs.value }}"] } }
    - { name: within, uses: node.exec, with: { command: [/usr/bin/printf, "<%s>", "x ${{ inputs.value }} y"] } }
"#;
    apply(&up, "say", steps);
    let marker = up.scratch().join("marker");
    let touch = format!("touch {}", marker.display());
    let values = [
        format!("; {touch}"),
        format!("$({touch})"),
        format!("`{touch}`"),
        format!("&& {touch} #"),
        format!("| sh -c '{touch}'"),
        format!("'; {touch}; '"),
        format!("\"; {touch}; \""),
        format!("a\n{touch}\nb"),
        format!("a\n    - {{ name: evil, uses: node.exec, with: {{ command: [/usr/bin/touch, {}] }} }}", marker.display()),
        "${{ run.id }} ${{ inputs.value }}".to_owned(),
        "%s %d $HOME ~ * \\x41".to_owned(),
    ];
    for value in values {
        let id = up.json(&["run", "start", "say", "--set", &format!("value={value}")])["run"].as_str().expect("a run").to_owned();
        let run = up.ended(&id).await;
        assert_eq!(run["state"], "completed", "{value:?}: {run}");
        assert_eq!(tail(&run, "say"), format!("<{value}>"), "it is printed as it was given");
        assert_eq!(tail(&run, "within"), format!("<x {value} y>"));
    }
    // What a program would take for an option is not handed to it.
    for value in ["--flag", "-rf", "-"] {
        let id = up.json(&["run", "start", "say", "--set", &format!("value={value}")])["run"].as_str().expect("a run").to_owned();
        let run = up.ended(&id).await;
        assert_ne!(work(&run, "say")["state"], "succeeded", "{value:?}: {run}");
        assert_eq!(tail(&run, "say"), "", "nothing was run with {value:?}");
        assert_eq!(tail(&run, "within"), format!("<x {value} y>"), "in the middle it is no option");
    }
    assert!(!marker.exists(), "nothing was run that a value named");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t18_what_needs_a_look_that_found_something_bad_does_not_begin_and_the_status_says_so() {
    let up = small("allow_addresses = [\"127.0.0.1\"]\n").await;
    let marker = up.scratch().join("marker");
    let steps = format!(
        r#"  steps:
    - {{ name: look, uses: http.check, with: {{ url: "http://127.0.0.1:{}/health" }} }}
    - {{ name: work, uses: node.exec, needs: [look], with: {{ command: [/usr/bin/touch, {}] }} }}
    - {{ name: beside, uses: node.exec, with: {{ command: [/usr/bin/printf, "%s", goes on] }} }}
"#,
        free_port(),
        marker.display()
    );
    apply(&up, "guarded", &steps);
    let waited = up.cli(&["run", "start", "guarded", "--wait"]);
    assert_eq!(waited.status.code(), Some(1), "a check that is critical is not a status of 0: {}", String::from_utf8_lossy(&waited.stdout));
    let run = up.ended("guarded-1").await;
    let look = &work(&run, "look")["attempts"][0]["outcome"]["report"]["checks"][0];
    assert_eq!((look["verdict"].as_str(), work(&run, "look")["state"].as_str()), (Some("critical"), Some("succeeded")), "{run}");
    assert!(!marker.exists(), "nothing is done on what is broken: {run}");
    assert_eq!(work(&run, "work")["attempts"].as_array().map_or(0, Vec::len), 0, "{run}");
    assert_eq!(tail(&run, "beside"), "goes on", "what does not need it goes on");
}

/// The secret as it stands in what programs print.
fn shapes(canary: &str) -> String {
    format!(
        "dial postgres://app:{canary}@db:5432/orders\nAuthorization: Bearer {canary}\npassword={canary} user=ana\n{{\"token\": \"{canary}\"}}\n\
         remote: ghp_{canary}\njwt eyJhbGciOiJIUzI1NiJ9.{canary}.{canary}\nkey\n-----BEGIN PRIVATE KEY-----\n{canary}\n-----END PRIVATE KEY-----\n\
         GET /x?access_token={canary}&page=2\nALTER ROLE app PASSWORD '{canary}'\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_in_output_errors_and_examples_do_not_leave_the_machine() {
    let up = small("").await;
    let canary = Canary::new();
    let (text, log) = (up.scratch().join("text"), up.scratch().join("shop.log"));
    fs::write(&text, shapes(&canary.secret)).expect("a file");
    let at = "2099-01-01T00:00:00Z";
    let lines: String = shapes(&canary.secret).lines().filter(|line| *line != canary.secret).map(|line| format!("{at} ERROR {line}\n")).collect();
    fs::write(&log, lines).expect("a log");
    let missing = up.scratch().join("no-such-file");
    let steps = format!(
        r#"  steps:
    - {{ name: prints, uses: node.exec, with: {{ command: [/bin/cat, {}, /dev/null] }} }}
    - {{ name: fails, uses: node.exec, with: {{ command: [/bin/cat, {}, {}] }} }}
    - {{ name: logs, uses: logs.errors, with: {{ files: [{}], since: 24h }} }}
"#,
        text.display(),
        text.display(),
        missing.display(),
        log.display()
    );
    apply(&up, "spills", &steps);
    let id = up.json(&["run", "start", "spills"])["run"].as_str().expect("a run").to_owned();
    let run = up.ended(&id).await;
    let said = run.to_string();
    assert_eq!(canary.in_bytes(said.as_bytes()), None, "{said}");
    assert!(tail(&run, "prints").matches("[redacted]").count() >= 8, "{said}");
    assert!(tail(&run, "prints").contains("user=ana") && said.contains("No such file"), "what is no credential is there: {said}");
    let examples = &work(&run, "logs")["attempts"][0]["outcome"]["report"]["checks"].to_string();
    assert!(examples.contains("[redacted]") && examples.contains("ALTER ROLE app PASSWORD"), "{examples}");
    assert_eq!(work(&run, "fails")["state"], "failed", "{said}");
    let kept: [&Path; 2] = [&text, &log];
    let place = up.dir().parent().expect("the mesh's place").to_owned();
    let (found, read) = canary.in_files(&place, &kept.map(Path::to_owned));
    assert!(found.is_empty() && read > 10, "of {read} files: {found:?}");
    let text = up.cli(&["run", "show", &id, "--all"]);
    assert_eq!(canary.in_bytes(&text.stdout), None);
}
