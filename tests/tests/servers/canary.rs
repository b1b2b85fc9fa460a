//! The secret of all connections is where it was put, and nowhere else.

use std::fs;

use mainstay_tests::canary::Watch;

use super::stage::Stage;

/// A step that has a child beside the looks through connections.
const WITH_A_CHILD: &str = r#"apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: { name: with-a-child }
spec:
  steps:
    - { name: child, uses: node.exec, with: { command: [/bin/sleep, "1"] } }
    - { name: databases, uses: postgres.check, with: { connection: "*" } }
    - { name: endpoints, uses: http.check, with: { connection: "*" } }
"#;

pub async fn is_found_nowhere(stage: &Stage, watch: Watch) {
    let run = stage.up.start_run("with-a-child", WITH_A_CHILD);
    assert_eq!(stage.up.ended(&run).await["state"], "completed");
    let (seen, programs) = watch.end();
    assert_eq!(seen, Vec::<String>::new());
    for program in ["mainstay", "mainstay-coordinator", "mainstay-agent", "sleep"] {
        assert!(programs.contains(program), "{program} was looked at: {programs:?}");
    }
    let traced = fs::read_to_string(stage.up.dir().join("logs/a1.log")).expect("an agent's log");
    assert!(traced.contains(" TRACE ") && traced.contains("tokio_postgres"), "libraries log all that they have to say");
    let held = stage.settings.path().join("secret");
    let place = stage.up.dir();
    let place = place.parent().expect("the mesh's place");
    let (found, read) = stage.canary.in_files(place, &[]);
    assert_eq!(found, Vec::<String>::new(), "of {read} files");
    assert!(read > 20, "{read} files of coordinators, agents and logs were read");
    assert_eq!(stage.canary.in_files(stage.settings.path(), std::slice::from_ref(&held)), (vec![], 1));
    // The search finds what is there.
    let leaked = place.join("leaked");
    fs::copy(&held, &leaked).expect("a copy");
    assert_eq!(stage.canary.in_files(place, &[]).0, [format!("{} as it is", leaked.display())]);
    fs::remove_file(leaked).expect("it is taken away");
}
