//! The plan language: what is taken, and for everything that is not, where the reader points and what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use mainstay_core::bounds;
use mainstay_core::catalogue::Undo;
use mainstay_core::plan::gate::{Approval, Declared, Each};
use mainstay_core::plan::input::InputType;
use mainstay_core::plan::schedule::{Event, Missed};
use mainstay_core::plan::strategy::Amount;
use mainstay_core::plan::{Concurrency, Gate, Notify, OnUnknown, Plan, Retry, RunOn, Step, parse};
use mainstay_core::state::enrolment::OperatorRole;
use mainstay_core::state::lease::LeaseSpec;
use mainstay_core::time::Millis;
use serde_json::json;

const HEAD: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata:\n  name: p\nspec:\n  steps:\n";

/// Every field that there is.
const WHOLE: &str = include_str!("plans/whole.yaml");

/// A plan of these steps; the first one begins in line 7.
fn plan(steps: &str) -> String {
    format!("{HEAD}{steps}")
}

fn problems(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(plan) => panic!("taken as {plan:?}"),
        Err(error) => error.problems.iter().map(ToString::to_string).collect(),
    }
}

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    assert_eq!(problems(text), expected, "{text}");
}

/// What is refused, whatever it is refused with, is refused at once and with little memory.
fn refused_at_no_cost(text: &str) -> String {
    let before = peak_kib();
    let said = parse(text).expect_err("refused").to_string();
    assert!(said.len() < 600, "{} bytes of error", said.len());
    assert!(peak_kib() - before < 96 << 10, "{} KiB more", peak_kib() - before);
    said
}

/// Most memory that this process has had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_whole_plan_is_taken_as_written() {
    let text = "\
apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata:
  name: rotate
  description: Rotates logs
spec:
  steps:
    - name: look
      uses: node.resources
      with:
        disk: { warning: 75%, critical: 90 }
    - name: rotate
      description: moves the old ones away
      uses: node.exec
      with: { command: [/usr/sbin/logrotate, -f, /etc/logrotate.conf], env: { LC_ALL: C } }
      runOn: node
      needs: [look]
      timeout: 1h30m
      retry: { attempts: 3, backoff: 10s, maxBackoff: 1m }
      onUnknown: continue
      undo:
        uses: node.exec
        with: { command: [/usr/bin/restore] }
        timeout: 30s
    - name: pause
      uses: wait
      with:
        for: 90s
      needs: [rotate]
";
    let Plan { name, description, steps, source, digest, .. } = parse(text).unwrap();
    assert_eq!((name.as_str(), description.as_str(), source.as_str(), digest.len()), ("rotate", "Rotates logs", text, 64));
    let [look, rotate, pause] = steps.as_slice() else { panic!("{} steps", steps.len()) };
    assert_eq!(look.with["disk"], serde_json::json!({ "warning": "75%", "critical": 90 }));
    assert_eq!((look.run_on, look.timeout, look.retry, look.on_unknown), (RunOn::Node, Millis::from_secs(30), Retry::default(), OnUnknown::Stop));
    assert_eq!(rotate.needs, ["look".parse().unwrap()]);
    assert_eq!((rotate.run_on, rotate.timeout, rotate.on_unknown), (RunOn::Node, Millis(5_400_000), OnUnknown::Continue));
    assert_eq!(rotate.retry, Retry { attempts: 3, backoff: Millis::from_secs(10), max_backoff: Millis::from_secs(60) });
    let undo = rotate.undo.as_ref().unwrap();
    assert_eq!((undo.uses.as_str(), undo.timeout, undo.retry), ("node.exec", Millis::from_secs(30), Retry::default()));
    assert_eq!((pause.run_on, pause.uses.as_str()), (RunOn::Once, "wait"));
}

#[test]
fn the_bundled_plans_are_good() {
    let daily = include_str!("../../deploy/plans/daily.yaml");
    assert_eq!(parse(daily).map(|plan| plan.name.to_string()), Ok("daily".to_owned()));
}

#[test]
fn every_example_is_good_and_names_its_schema() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/examples");
    let mut count = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let file = entry.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# yaml-language-server: $schema=../schema/maintenanceplan.v1alpha1.json\n"), "{}", file.display());
        assert_eq!(parse(&text).map(|_| ()), Ok(()), "{}", file.display());
        count += 1;
    }
    assert!(count >= 3, "{count} examples");
}

#[test]
fn every_kinds_example_is_good() {
    for kind in mainstay_core::catalogue::KINDS {
        let with: String = kind.example.lines().map(|line| format!("        {line}\n")).collect();
        let accept = if kind.undo == Undo::Irreversible { "      acceptIrreversible: true\n" } else { "" };
        let text = plan(&format!("    - name: a\n      uses: {}\n{accept}      with:\n{with}", kind.name));
        let text = text.replacen("spec:\n", "spec:\n  inputs: { root: { type: text } }\n", 1);
        assert_eq!(parse(&text).map(|plan| plan.steps.len()), Ok(1), "{text}");
    }
}

#[test]
fn every_word_of_the_language_is_taken() {
    let plan = parse(WHOLE).unwrap();
    let Plan { inputs, gates, strategy, schedules, concurrency, history, notify, steps, .. } = &plan;
    assert_eq!(inputs["service"].one_of, ["web", "api"]);
    assert_eq!((inputs["batch"].ty, inputs["batch"].minimum, inputs["batch"].default.clone()), (InputType::Integer, Some(1.0), Some(json!(2))));
    let names: Vec<&str> = gates.iter().map(Gate::name).collect();
    assert_eq!(names, ["window", "freeze", "lease", "approval", "health", "capacity", "backupFresh", "drillFresh", "errorBudget"]);
    let Gate::Window(window) = &gates[0] else { panic!("{:?}", gates[0]) };
    assert_eq!((window.days.as_slice(), window.from.as_str()), (["sat".to_owned(), "sun".to_owned()].as_slice(), "22:00"));
    let Gate::Approval(approval) = &gates[3] else { panic!("{:?}", gates[3]) };
    assert_eq!(*approval, Approval { by: OperatorRole::Admin, not_author: true, expires: Millis(3_600_000), each: Each::Wave });
    assert_eq!(gates[8], Gate::Declared(Declared::ErrorBudget { service: "shop".into(), at_least: 10 }));
    let strategy = strategy.as_ref().unwrap();
    assert_eq!(strategy.waves, [Amount::Count(1), Amount::Percent(10), Amount::Percent(50)]);
    assert_eq!((strategy.max_unavailable, strategy.soak, strategy.failure_budget), (Amount::Percent(25), Millis::from_secs(600), Amount::Count(1)));
    assert_eq!((schedules[0].cron.as_str(), schedules[0].missed, schedules[0].window), ("0 2 * * *", Missed::Once, Some(Millis::from_secs(14_400))));
    assert_eq!(schedules[0].inputs["service"], "api");
    assert_eq!((*concurrency, history.successful, history.failed), (Concurrency::Replace, 5, 10));
    assert_eq!(notify[0], Notify { when: vec![Event::Failed, Event::Critical], route: "ops".into() });
    let [check, restart] = steps.as_slice() else { panic!("{} steps", steps.len()) };
    assert_eq!(check.lease.as_ref().map(|lease| (lease.name.as_str(), lease.spec)), Some(("deploy/shop", LeaseSpec::default())));
    assert_eq!(restart.condition.as_deref(), Some("inputs.service == \"web\""));
    assert_eq!(restart.lease.as_ref().map(|lease| lease.spec.slots), Some(2));
    assert_eq!(restart.gates, [Gate::Declared(Declared::Capacity)]);
    assert_eq!(restart.with["command"][2], "${{ inputs.service }}");
}

#[test]
fn what_is_left_out_is_as_the_defaults_say() {
    let steps = "    - { name: a, uses: node.services }\n";
    let short = parse(&plan(steps)).unwrap();
    let long = parse(
        &plan(
            "    - name: a
      uses: node.services
      description: \"\"
      if: true
      with: {}
      runOn: node
      needs: []
      gates: []
      timeout: 30s
      retry: { attempts: 1, backoff: 5s, maxBackoff: 5m }
      onUnknown: stop
",
        )
        .replace("spec:\n", "spec:\n  inputs: {}\n  gates: []\n  schedules: []\n  concurrency: forbid\n  notify: []\n"),
    )
    .unwrap();
    let step = Step { condition: None, ..long.steps[0].clone() };
    assert_eq!(Plan { steps: vec![step], source: short.source.clone(), digest: short.digest.clone(), ..long }, short);
}

#[test]
fn there_are_so_many_steps_and_no_more() {
    let many: String = (0..=bounds::PLAN_STEPS).map(|i| format!("    - {{ name: s{i}, uses: wait, with: {{ for: 1s }} }}\n")).collect();
    refused(&plan(&many), &["7:5: `steps` has 501 entries, and may have 500"]);
}

#[test]
fn no_more_problems_are_told_than_anybody_reads() {
    let many: String = (0..400).map(|i| format!("    - {{ name: s{i}, uses: wait }}\n")).collect();
    let told = problems(&plan(&many));
    assert_eq!((told.len(), told[100].as_str()), (101, "… and 300 more"));
}

#[test]
fn no_word_of_yaml_1_1_turns_into_a_boolean() {
    let text =
        plan("    - name: \"no\"\n      description: yes\n      uses: http.check\n      with: { url: \"http://a\", contains: on, method: GET }\n");
    let plan_of = parse(&text).unwrap();
    assert_eq!((plan_of.steps[0].description.as_str(), &plan_of.steps[0].with["contains"]), ("yes", &json!("on")));
}

#[test]
fn keys_are_text() {
    refused(&plan("    - name: a\n      uses: node.exec\n      with: { command: [x], [a]: 1s }\n"), &["9:29: there should be text here"]);
}

#[test]
fn one_document_and_all_of_it() {
    let cut_off = "the document ends here and is not complete: it is empty, or was cut off";
    refused("", &[&format!("1:1: {cut_off}")]);
    refused("# nothing but a comment\n", &[&format!("2:1: {cut_off}")]);
    refused("---\n...\n", &[&format!("1:4: {cut_off}")]);
    let one = plan("    - { name: a, uses: wait, with: { for: 1s } }\n");
    refused(&format!("{one}---\n{one}"), &["9:1: a second document begins here: give each plan a file of its own"]);
}

#[test]
fn tags_and_references_do_nothing_behind_ones_back() {
    refused(&plan("    - name: *x\n      uses: wait\n"), &["7:13: this refers to an anchor that is not defined before it"]);
    refused(
        &plan("    - name: !!python/object:os.system a\n      uses: wait\n      with: { for: 1s }\n"),
        &["7:39: the tag `!!python/object:os.system` is not allowed: give the value without it"],
    );
    refused(&plan("    - !include /etc/passwd\n"), &["7:16: the tag `!include` is not allowed: give the value without it"]);
    let shared = "    - &s { name: a, uses: wait, with: { for: 1s } }\n    - { <<: *s, name: b }\n";
    assert_eq!(parse(&plan(shared)).map(|plan| plan.steps[1].uses.clone()), Ok("wait".to_owned()), "what is repeated may be written once");
}

#[test]
fn bombs_do_not_go_off() {
    let aliases = ["ab", "bc", "cd", "de", "ef", "fg", "gh", "hi"].map(|pair| {
        let (inner, outer) = pair.split_at(1);
        format!("        {outer}: &{outer} [{}]\n", vec![format!("*{inner}"); 9].join(", "))
    });
    let laughs = format!("    - name: a\n      uses: wait\n      with:\n        a: &a [x, x, x, x, x, x, x, x, x]\n{}", aliases.concat());
    let too_much = "the document is nested too deeply, or too large once its aliases are expanded";
    assert!(refused_at_no_cost(&plan(&laughs)).ends_with(too_much));

    let with = |value: &str| plan(&format!("    - name: a\n      uses: wait\n      with: {{ x: {value} }}\n"));
    let deep = refused_at_no_cost(&with(&format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))));
    assert!(deep.contains("the document is nested too deeply"), "{deep}");
    assert!(refused_at_no_cost(&"{a: ".repeat(10_000)).contains("the document is nested too deeply"));
    assert!(refused_at_no_cost(&with(&format!("[{}]", "1,".repeat(60_000)))).ends_with(too_much));
    let anchors: String = (0..200).map(|i| format!("&a{i} {i}, ")).collect();
    assert!(refused_at_no_cost(&with(&format!("[{anchors}]"))).ends_with(too_much));
    let uses: String = vec!["*a"; 200].join(", ");
    assert!(refused_at_no_cost(&with(&format!("[&a 1, {uses}]"))).ends_with(too_much));
}

#[test]
fn what_aliases_repeat_counts() {
    let text = "x".repeat(4_000);
    let steps = |uses: usize| {
        let more: String = (0..uses).map(|i| format!("    - {{ name: s{i}, uses: node.exec, with: *w }}\n")).collect();
        plan(&format!("    - {{ name: first, uses: node.exec, with: &w {{ command: [{text}] }} }}\n{more}"))
    };
    let [once, often] = [parse(&steps(0)).unwrap(), parse(&steps(40)).unwrap()];
    assert!(often.weight() > once.weight() + 40 * 4_000, "{} {}", once.weight(), often.weight());
    assert_eq!(once.weight(), 3 * once.source.len() as u64, "where nothing is repeated it goes by the source");
    let said = problems(&steps(90));
    assert!(said[0].contains("with all that its aliases repeat, and may take 262144"), "{said:?}");
}

#[test]
fn nonsense_is_refused_by_its_size_before_it_is_read() {
    let said = refused_at_no_cost(&"nonsense: [".repeat(1_000_000));
    assert_eq!(said, "the plan has 11000000 bytes, and may have 131072");
    assert_eq!(refused_at_no_cost("\u{0}\u{1}\u{2}\u{fffd}"), "1:1: this is not YAML: unexpected character: `\\u{0}'");
    // Every byte there is, as text, in pieces of any length: refused, without a panic.
    let all: String = (0..=255u8).map(char::from).collect();
    for from in 0..255 {
        assert!(parse(all.get(all.char_indices().nth(from).unwrap().0..).unwrap()).is_err());
    }
}

/// Members of an older build hold the same state, and compare digests of its bytes: what they do not know is not written where
/// a plan does not say it.
#[test]
fn what_a_plan_does_not_say_is_not_in_the_state_either() {
    let text = |more: &str| {
        format!(
            "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{ name: p }}\nspec: {{ steps: [{{ name: a, uses: wait, with: {{ for: 1s }}{more} }}] }}"
        )
    };
    let written = |more: &str| serde_json::to_value(&parse(&text(more)).unwrap().steps[0]).unwrap().get("on_failure").cloned();
    assert_eq!(written(""), None);
    assert_eq!(written(", onFailure: keep"), Some(serde_json::json!("keep")));
}
