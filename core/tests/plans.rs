//! The plan language: what is taken, and for everything that is not, where the reader points and what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mainstay_core::bounds;
use mainstay_core::plan::{OnUnknown, Plan, Retry, RunOn, parse};
use mainstay_core::time::Millis;

const HEAD: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata:\n  name: p\nspec:\n  steps:\n";

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
#[allow(clippy::disallowed_methods)] // A test looks at its own process; nothing of the core does.
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
    let Plan { name, description, steps, source, digest } = parse(text).unwrap();
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
fn every_kinds_example_is_good() {
    for kind in mainstay_core::catalogue::KINDS {
        let with: String = kind.example.lines().map(|line| format!("        {line}\n")).collect();
        let text = plan(&format!("    - name: a\n      uses: {}\n      with:\n{with}", kind.name));
        assert_eq!(parse(&text).map(|plan| plan.steps.len()), Ok(1), "{text}");
    }
}

#[test]
fn an_unknown_kind_is_met_with_the_nearest() {
    refused(&plan("    - name: a\n      uses: node.resourcs\n"), &["8:13: there is no step kind `node.resourcs`; did you mean `node.resources`?"]);
    refused(&plan("    - name: a\n      uses: quux\n"), &["8:13: there is no step kind `quux`; see `mainstay steps`"]);
}

#[test]
fn an_unknown_field_is_met_with_the_nearest() {
    refused(
        &plan("    - name: a\n      uses: wait\n      with: { for: 1s }\n      timeot: 5s\n"),
        &["10:7: there is no field `timeot` here; did you mean `timeout`?"],
    );
    refused(&HEAD.replace("spec:", "specs:"), &["5:1: there is no field `specs` here; did you mean `spec`?"]);
    refused(
        &plan("    - name: a\n      uses: wait\n      colour: red\n"),
        &["9:7: there is no field `colour` here; there are name, description, uses, with, runOn, needs, timeout, retry, undo, onUnknown"],
    );
}

#[test]
fn parameters_are_judged_where_they_stand() {
    let step = "    - name: a\n      uses: node.resources\n      with:\n        disc: { warning: 80% }\n        memory: { warning: lots, critical: 90% }\n        excludeMounts: [/mnt, 5]\n";
    refused(
        &plan(step),
        &[
            "10:9: node.resources has no parameter `disc`; did you mean `disk`?",
            "11:17: `memory.warning` is \"lots\", and should be a percentage such as 80%",
            "12:24: `excludeMounts[1]` is 5, and should be text",
        ],
    );
    refused(&plan("    - name: a\n      uses: wait\n"), &["8:13: wait needs `for`: How long to wait"]);
    refused(&plan("    - name: a\n      uses: wait\n      with:\n"), &["8:13: wait needs `for`: How long to wait"]);
    refused(&plan("    - name: a\n      uses: wait\n      with: { for: 5 }\n"), &["9:20: `for` is 5, and should be a duration such as 90s"]);
}

#[test]
fn a_value_of_the_wrong_type_is_named_at_its_place() {
    refused("apiVersion: x\nkind: y\nmetadata: { name: p }\nspec:\n  steps: 5\n", &["5:10: there should be a list here"]);
    refused(&plan("    - name: a\n      uses: wait\n      needs: b\n"), &["9:14: there should be a list here"]);
    refused(&plan("    - name: [a]\n      uses: wait\n"), &["7:13: there should be text here"]);
    refused(&plan("    - name:\n      uses: wait\n"), &["7:11: a value is missing here"]);
    refused(&plan("    - name: a\n      uses: wait\n      with: 5\n"), &["9:13: there should be fields (`name: value`) here"]);
    for attempts in ["many", "-1", "1.5", "yes", "99999999999"] {
        let text = plan(&format!("    - name: a\n      uses: wait\n      retry: {{ attempts: {attempts} }}\n"));
        refused(&text, &["9:26: there should be a whole number here"]);
    }
    refused(
        &plan("    - name: a\n      uses: node.resources\n      with: { disk: { warning: .nan } }\n"),
        &["9:32: `.nan` is not a number to count with"],
    );
}

#[test]
fn what_is_missing_is_named() {
    refused("apiVersion: x\nkind: y\nmetadata: { name: p }\n", &["3:1: the field `spec` is missing beside this one"]);
    refused(&plan("    []\n"), &["7:5: a plan needs at least one step"]);
    let header = "apiVersion: v1\nkind: Pod\nmetadata: { name: P }\nspec: { steps: [ { name: a, uses: wait, with: { for: 1s } } ] }\n";
    refused(
        header,
        &[
            "1:13: apiVersion is `v1`, and this program reads `mainstay.dev/v1alpha1`",
            "2:7: kind is `Pod`, and should be `MaintenancePlan`",
            "3:19: `P` is not a plan name: 1 to 63 lower-case letters, digits, `-` and `.`, with a letter or digit at both ends",
        ],
    );
}

#[test]
fn a_circle_of_needs_is_told_step_by_step() {
    let steps = "    - { name: a, uses: wait, with: { for: 1s }, needs: [c] }\n    - { name: b, uses: wait, with: { for: 1s }, needs: [a] }\n    - { name: c, uses: wait, with: { for: 1s }, needs: [b] }\n";
    refused(&plan(steps), &["9:15: steps need each other in a circle: c needs b needs a needs c"]);
    refused(&plan("    - { name: a, uses: wait, with: { for: 1s }, needs: [a] }\n"), &["7:15: steps need each other in a circle: a needs a"]);
}

#[test]
fn names_are_unique_and_needs_are_met() {
    let steps = "    - { name: drain, uses: wait, with: { for: 1s } }\n    - { name: drain, uses: wait, with: { for: 1s } }\n    - { name: c, uses: wait, with: { for: 1s }, needs: [dran, zebra] }\n";
    refused(
        &plan(steps),
        &[
            "8:15: there are two steps named `drain`",
            "9:57: there is no step `dran` to need; did you mean `drain`?",
            "9:63: there is no step `zebra` to need",
        ],
    );
}

#[test]
fn a_key_is_given_once() {
    refused(&plan("    - name: a\n      uses: wait\n      uses: wait\n"), &["9:7: `uses` is given twice: leave out one"]);
    refused(
        &plan("    - name: a\n      uses: wait\n      with:\n        for: 1s\n        for: 2s\n"),
        &["11:9: `for` is given twice: leave out one"],
    );
    refused(
        &plan("    - name: a\n      uses: node.exec\n      with: { command: [a], env: { A: x, A: y } }\n"),
        &["9:42: `A` is given twice: leave out one"],
    );
}

#[test]
fn times_and_counts_are_bounded() {
    let wait = |more: &str| plan(&format!("    - name: a\n      uses: wait\n      with: {{ for: 1s }}\n      {more}\n"));
    refused(&wait("timeout: 5 minutes"), &["10:16: `5 minutes` is not a duration: write for example 500ms, 90s, 5m, 2h, 30d or 1h30m"]);
    refused(&wait("timeout: 0s"), &["10:16: a timeout is more than 0 and at most 7d"]);
    refused(&wait("timeout: 8d"), &["10:16: a timeout is more than 0 and at most 7d"]);
    refused(&wait("retry: { attempts: 0 }"), &["10:26: attempts is 0, and should be 1 to 10"]);
    refused(&wait("retry: { attempts: 11 }"), &["10:26: attempts is 11, and should be 1 to 10"]);
    refused(&wait("retry: { attempts: 2, backoff: 2m, maxBackoff: 1m }"), &["10:38: backoff is at most maxBackoff and 7d"]);
    let many: String = (0..=bounds::PLAN_STEPS).map(|i| format!("    - {{ name: s{i}, uses: wait, with: {{ for: 1s }} }}\n")).collect();
    refused(&plan(&many), &["7:5: the plan has 501 steps, and may have 500"]);
}

#[test]
fn undo_and_run_on_fit_the_kind() {
    let undo = "    - name: a\n      uses: wait\n      with: { for: 1s }\n      undo: { uses: node.exec, with: { command: [x] } }\n";
    refused(&plan(undo), &["10:21: wait takes no `undo`: nothing to undo"]);
    refused(
        &plan("    - name: a\n      uses: node.exec\n      with: { command: [x] }\n      undo: { uses: node.exce }\n"),
        &["10:21: there is no step kind `node.exce`; did you mean `node.exec`?"],
    );
    let on = |word: &str| plan(&format!("    - name: a\n      uses: node.resources\n      runOn: {word}\n"));
    refused(&on("once"), &["9:14: node.resources is done to nodes: `runOn: node`"]);
    refused(&on("nodes"), &["9:14: runOn is `nodes`, and should be node or once"]);
    refused(&on("cluster"), &["9:14: `runOn: cluster` needs a cluster agent, and no step kind of this version has one"]);
    refused(
        &plan("    - name: a\n      uses: node.resources\n      onUnknown: ignore\n"),
        &["9:18: onUnknown is `ignore`, and should be stop or continue"],
    );
}

#[test]
fn every_problem_is_told_at_once_in_the_order_of_the_document() {
    let steps = "    - { name: A, uses: wait }\n    - { name: b, uses: wiat }\n    - { name: c, uses: wait, with: { for: soon }, runOn: here }\n";
    refused(
        &plan(steps),
        &[
            "7:15: `A` is not a step name: 1 to 63 lower-case letters, digits, `-` and `.`, with a letter or digit at both ends",
            "7:24: wait needs `for`: How long to wait",
            "8:24: there is no step kind `wiat`; did you mean `wait`?",
            "9:43: `for` is \"soon\", and should be a duration such as 90s",
            "9:58: runOn is `here`, and should be node or once",
        ],
    );
}

#[test]
fn no_word_of_yaml_1_1_turns_into_a_boolean() {
    let text =
        plan("    - name: \"no\"\n      description: yes\n      uses: http.check\n      with: { url: \"http://a\", contains: on, method: GET }\n");
    let plan_of = parse(&text).unwrap();
    assert_eq!((plan_of.steps[0].description.as_str(), &plan_of.steps[0].with["contains"]), ("yes", &serde_json::json!("on")));
    // What is a boolean by YAML 1.2 is none of the parameter's type, and is said to be one.
    refused(&plan("    - name: a\n      uses: wait\n      with: { for: true }\n"), &["9:20: `for` is true, and should be a duration such as 90s"]);
    let on = "    - name: a\n      uses: wait\n      on: node\n";
    refused(&plan(on), &["9:7: there is no field `on` here; there are name, description, uses, with, runOn, needs, timeout, retry, undo, onUnknown"]);
}

#[test]
fn keys_are_text() {
    refused(&plan("    - name: a\n      uses: node.exec\n      with: { command: [x], [a]: 1s }\n"), &["9:29: there should be text here"]);
    refused(&plan("    - name: a\n      uses: node.exec\n      with: { command: [x], 5: 1s }\n"), &["9:29: node.exec has no parameter `5`"]);
    refused(&plan("    - name: a\n      uses: node.exec\n      with: { command: [x], true: 1s }\n"), &["9:29: node.exec has no parameter `true`"]);
}

#[test]
fn one_document_and_all_of_it() {
    let cut_off = "the document ends here and is not complete: it is empty, or was cut off";
    refused("", &[&format!("1:1: {cut_off}")]);
    refused("# nothing but a comment\n", &[&format!("2:1: {cut_off}")]);
    refused("---\n...\n", &["1:4: there should be fields (`name: value`) here"]);
    refused("hello", &["1:1: there should be fields (`name: value`) here"]);
    refused("- a\n", &["1:1: there should be fields (`name: value`) here"]);
    let one = plan("    - { name: a, uses: wait, with: { for: 1s } }\n");
    refused(&format!("{one}---\n{one}"), &["9:1: a second document begins here: give each plan a file of its own"]);
    refused("apiVersion: \"x\nkind: y\n", &["1:13: this is not YAML: unclosed quote"]);
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
