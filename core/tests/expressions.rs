//! The expression language: what it computes, what it refuses, and that it cannot be made to cost.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use mainstay_core::expr::{ExprError, Expression, bounds};
use proptest::prelude::*;
use serde_json::{Value, json};

fn variables() -> Value {
    json!({
        "inputs": { "service": "shop", "count": 3, "namespace": "prod", "hosts": ["a", "b", "c"], "labels": { "tier": "web", "app": "shop" }, "empty": null },
        "steps": {
            "check": { "verdict": "ok", "outputs": { "lag": 5, "lagSeconds": 5.0, "ratio": 0.25, "version": "16.4", "none": null } },
            "restart-db": { "outputs": { "x": "yes" }, "state": "passed" },
        },
        "target": { "name": "n1", "cluster": "eu", "node": "n1" },
        "run": { "id": "r1", "number": 7 },
    })
}

fn value(text: &str) -> Result<Value, ExprError> {
    Expression::parse(text)?.evaluate(&variables())
}

fn message(text: &str) -> String {
    value(text).expect_err(text).message
}

fn refused(text: &str) -> ExprError {
    Expression::parse(text).expect_err("accepted")
}

#[test]
fn expressions_have_values() {
    for (text, expected) in [
        ("1 + 1", json!(2)),
        ("inputs.service", json!("shop")),
        ("inputs.namespace", json!("prod")),
        ("inputs['service'] + '-' + target.cluster", json!("shop-eu")),
        ("steps[\"restart-db\"].outputs.x == 'yes'", json!(true)),
        ("steps.check.verdict == 'ok' && steps.check.outputs.lag < 10", json!(true)),
        ("inputs.hosts[1]", json!("b")),
        ("inputs.hosts.map(host, host + '.example')", json!(["a.example", "b.example", "c.example"])),
        ("inputs.hosts.filter(host, host != 'b').map(host, host + '1')", json!(["a1", "c1"])),
        ("inputs.hosts.map(host, host != 'b', host + '1')", json!(["a1", "c1"])),
        ("inputs.hosts.exists(host, host == inputs.hosts[0])", json!(true)),
        ("inputs.hosts.all(host, host.startsWith('a'))", json!(false)),
        ("inputs.hosts.exists_one(host, host == 'c')", json!(true)),
        ("'b' in inputs.hosts", json!(true)),
        ("'tier' in inputs.labels", json!(true)),
        ("inputs.labels.map(key, key)", json!(["app", "tier"])),
        ("size(inputs.hosts) + size('äö') + inputs.labels.size()", json!(7)),
        ("inputs.service.contains('ho') && inputs.service.endsWith('op')", json!(true)),
        ("steps.check.outputs.version.matches('^16[.]')", json!(true)),
        ("matches(steps.check.outputs.version, '^17')", json!(false)),
        ("int('42') + int(2.9)", json!(44)),
        ("double('0.5')", json!(0.5)),
        ("string(inputs.count) + string(true)", json!("3true")),
        ("bool('true')", json!(true)),
        ("inputs.count > 2 ? 'many' : 'few'", json!("many")),
        ("!(inputs.count > 2)", json!(false)),
        ("-inputs.count % 2", json!(-1)),
        ("has(steps.check.outputs.lag)", json!(true)),
        ("has(steps.check.outputs.lagg)", json!(false)),
        ("has(steps.check.outputs.none)", json!(false)),
        ("{'a': inputs.count, 'b': [1, 2.5, null]}", json!({ "a": 3, "b": [1, 2.5, null] })),
        ("inputs", variables()["inputs"].clone()),
        ("steps['che' + 'ck'].verdict", json!("ok")),
        ("\"}}\" + '${{'", json!("}}${{")),
        ("r'\\d' + '''a'b'''", json!("\\da'b")),
        ("false && steps.nowhere.outputs.x", json!(false)),
    ] {
        assert_eq!(value(text), Ok(expected), "{text}");
    }
}

#[test]
fn whole_numbers_and_fractions_mix() {
    for text in [
        "steps.check.outputs.lag == steps.check.outputs.lagSeconds",
        "steps.check.outputs.lag == 5.0 && steps.check.outputs.lagSeconds == 5",
        "steps.check.outputs.lagSeconds < 6 && steps.check.outputs.lag < 5.5",
        "steps.check.outputs.lagSeconds * 2 == 10",
        "2 * steps.check.outputs.ratio == 0.5",
        "steps.check.outputs.lag - steps.check.outputs.ratio > 4.7",
        "steps.check.outputs.lag / 2 == 2 && steps.check.outputs.lagSeconds / 2 == 2.5",
        "[1.0, 2.0].map(x, x + 1) == [2, 3]",
        "5 in [5.0]",
    ] {
        assert_eq!(value(text), Ok(json!(true)), "{text}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    for (text, expected) in [
        ("steps.check.outputs.leg < 5", "there is no `steps.check.outputs.leg`: did you mean `lag`?"),
        ("steps.nowhere.outputs.x == 'a'", "there is no `steps.nowhere.outputs.x`"),
        ("has(steps.nowhere.outputs.x)", "there is no `steps.nowhere.outputs.x`"),
        ("steps['restart-db'].outputs.y", "there is no `steps.restart-db.outputs.y`"),
        ("steps.check.outputs.none == 5", "`steps.check.outputs.none` has no value"),
        ("steps.check.outputs.none < 5 || false", "`steps.check.outputs.none` has no value"),
        ("inputs.empty", "`inputs.empty` has no value"),
        ("inputs.empty != null && inputs.empty > 3 || inputs.empty > 4", "`inputs.empty` has no value"),
        ("inputs.empty.deeper", "`inputs.empty` has no value"),
        ("steps.check.outputs.lag.unit", "`steps.check.outputs.lag` is a number, it has no `unit`"),
        ("output.x", "there is no `output.x`"),
        ("inputs.hosts.map(x, x.name)", "a text in `inputs.hosts.map(x, x.name)` has no such field"),
        ("inputs.hosts[3]", "a list in `inputs.hosts[3]` is shorter than the index"),
        ("inputs.labels['t' + 'op']", "a map in `inputs.labels['t' + 'op']` has no `top`"),
    ] {
        assert_eq!(message(text), expected, "{text}");
    }
    assert_eq!(value("inputs.empty == null"), Ok(json!(true)));
    assert_eq!(value("null != inputs.count"), Ok(json!(true)));
}

#[test]
fn values_that_do_not_fit_are_told_in_words() {
    for (text, expected) in [
        ("inputs.service < 5", "`<` in `inputs.service < 5` does not take a text and a number"),
        ("inputs.service + 5", "`+` in `inputs.service + 5` does not take a text and a number"),
        ("inputs.hosts * 2.5", "`*` in `inputs.hosts * 2.5` does not take a list and a number"),
        ("!inputs.count", "`!` in `!inputs.count` does not take a number"),
        ("inputs.count && true", "`&&` in `inputs.count && true` does not take a number and true or false"),
        ("inputs.count ? 1 : 2", "`inputs.count ? 1 : 2` needs true or false, not a number"),
        ("inputs.count.exists(x, x > 1)", "`inputs.count.exists(x, x > 1)` walks over a number, and can only walk over a list or a map"),
        ("1 / (inputs.count - 3)", "`1 / (inputs.count - 3)` divides by zero"),
        ("1 % 0", "`1 % 0` divides by zero"),
        ("1.0 / 0.0", "`1.0 / 0.0` gives no finite number"),
        ("9223372036854775807 + 1", "a number in `9223372036854775807 + 1` becomes too large"),
        ("int(inputs.service)", "`int` in `int(inputs.service)` cannot make anything of this value"),
        ("size(inputs.count)", "`size` in `size(inputs.count)` does not take a number"),
        ("{1: 2}", "`{1: 2}` gives a map whose keys are no texts"),
        ("{'a': 2, 'a': 3}", "a map in `{'a': 2, 'a': 3}` has one key twice"),
    ] {
        assert_eq!(message(text), expected, "{text}");
    }
}

#[test]
fn an_if_gives_true_or_false() {
    let parsed = |text| Expression::parse(text).expect("parses");
    assert_eq!(parsed("inputs.count == 3").evaluate_bool(&variables()), Ok(true));
    let wrong = parsed("inputs.service").evaluate_bool(&variables()).expect_err("a text");
    assert_eq!(wrong.message, "`inputs.service` gives a text, and must give true or false");
}

#[test]
fn what_is_no_expression_is_refused_at_its_place() {
    for (text, offset, expected) in [
        ("", None, "there is no expression"),
        ("  ", None, "there is no expression"),
        ("1 +", Some(3), "the expression ends too early"),
        ("(1", Some(0), "`(` is not closed"),
        ("1)", Some(1), "`)` closes nothing"),
        ("[1)", Some(2), "`)` does not close `[`"),
        ("'abc", Some(0), "this text has no closing quote"),
        ("a == 'x\ny'", Some(5), "this text has no closing quote"),
        ("a = 1", Some(2), "`=` compares nothing: write `==`"),
        ("a and b", Some(2), "write `&&` instead of `and`"),
        ("a OR b", Some(2), "write `||` instead of `OR`"),
        ("not a", Some(4), "write `!` instead of `not`"),
        ("a & b", Some(2), "write `&&` for and"),
        ("'ä' == a b", Some(10), "`b` is not expected here"),
        ("1 ==\n  2 3", Some(9), "`3` is not expected here"),
        ("a == $x", Some(5), "`$` means nothing in an expression"),
        ("a // b", Some(2), "an expression has no comments"),
        ("a.?b", Some(1), "ask with `has(…)` whether a field is there"),
        ("99999999999999999999", Some(0), "`99999999999999999999` is too large, or not a number"),
        ("b'x'", Some(0), "write text without the `b` before it"),
        ("5u", Some(0), "write the number without the `u` behind it"),
        (".inputs.x", Some(0), "a dot follows a name: write `a.b`, and `0.5` for a number"),
        ("1 + .5", Some(4), "a dot follows a name: write `a.b`, and `0.5` for a number"),
        ("inputs{a: 1}", Some(6), "`{` cannot follow a name"),
        ("while", Some(0), "`while` is a reserved word"),
        ("duration('1s')", Some(8), "there is no function `duration`"),
        ("inputs.x.startswith('a')", Some(19), "there is no function `startswith`: did you mean `startsWith`?"),
        ("type(1)", Some(4), "there is no function `type`"),
        ("size(1, 2)", Some(4), "`size` is called as size(value)"),
        ("a.exists(x)", Some(8), "`exists` is called as list.exists(x, …)"),
        ("a.map(1, 2)", Some(6), "the first of the two is a new name for each element, as in list.exists(x, x > 1)"),
        ("has(a)", Some(4), "`has` asks for a field, as in has(steps.check.outputs.lag)"),
        ("'x'.matches('[')", Some(11), "the pattern of `matches` is not a regular expression"),
        ("'x'.matches(a)", Some(11), "the pattern of `matches` is written as text, so that it can be checked with the plan"),
    ] {
        let error = refused(text);
        assert_eq!((error.message.as_str(), error.offset), (expected, offset), "{text}");
    }
}

#[test]
fn roots_that_are_none_are_named_with_what_was_meant() {
    const ROOTS: [&str; 4] = ["inputs", "steps", "target", "run"];
    let check = |text: &str| Expression::parse(text).expect("parses").check_roots(&ROOTS);
    assert_eq!(check("inputs.a + steps.b.outputs.c + [1].map(x, x)[0]"), Ok(()));
    for (text, offset, expected) in [
        ("1 + input.a", 4, "there is no `input`: did you mean `inputs`?"),
        ("run.env + environment.x", 10, "there is no `environment`: there are inputs, steps, target, run"),
        ("steps.restart-db.outputs.x", 14, "a name with `-` is written in brackets: [\"restart-db\"]"),
    ] {
        let error = check(text).expect_err(text);
        assert_eq!((error.message.as_str(), error.offset), (expected, Some(offset)), "{text}");
    }
}

#[test]
fn every_path_is_found() {
    for (text, expected) in [
        ("1 + 1", vec![]),
        ("inputs.a.b + inputs['a'] + inputs.a.b", vec!["inputs.a.b", "inputs.a"]),
        ("steps['restart-db'].outputs.x", vec!["steps.restart-db.outputs.x"]),
        ("steps[inputs.step].outputs.x", vec!["steps", "inputs.step"]),
        ("inputs.hosts[0].name", vec!["inputs.hosts"]),
        ("inputs.hosts[run.number][target.x].name", vec!["inputs.hosts", "run.number", "target.x"]),
        ("has(steps.a.outputs.x)", vec!["steps.a.outputs.x"]),
        ("inputs.hosts.exists(inputs, inputs.a == run.id)", vec!["inputs.hosts", "run.id"]),
        ("inputs.a.filter(x, x.b == x.c)[0].d", vec!["inputs.a"]),
        ("inputs.a == null ? {'k': run.id} : [target.name]", vec!["inputs.a", "run.id", "target.name"]),
        ("inputs.version.matches('x')", vec!["inputs.version"]),
    ] {
        let expression = Expression::parse(text).expect(text);
        let paths: Vec<String> = expression.references().paths.iter().map(|path| path.join(".")).collect();
        assert_eq!(paths, expected, "{text}");
    }
}

#[test]
fn costly_expressions_are_refused_before_they_are_parsed() {
    let ones = vec!["1"; 100_000].join("+");
    let nested_maps = "[1,2,3,4,5,6,7,8].map(a,".repeat(7) + "a" + &")".repeat(7);
    let doublings = format!("[inputs.service]{}", ".map(x, x + x)".repeat(19));
    let literals = format!("['{}']{}", "x".repeat(1000), ".map(x, x + x + x + x + x + x + x)".repeat(4));
    let two_nested = "[1].map(a, [2].map(b, b))";
    for (text, expected) in [
        (ones.as_str(), "more than 100 names, values and operators"),
        (&"1+".repeat(60), "more than 100 names"),
        (&"(".repeat(20_000), "more than 10 deep"),
        (&format!("{}1{}", "(".repeat(20_000), ")".repeat(20_000)), "more than 10 deep"),
        (&"[".repeat(20_000), "more than 10 deep"),
        (&"{".repeat(20_000), "more than 10 deep"),
        (&"!".repeat(200_000), "more than 100 names"),
        (&"-".repeat(200_000), "more than 100 names"),
        (&"true?".repeat(40_000), "more than 100 names"),
        (&"a.".repeat(40_000), "more than 100 names"),
        (&" ".repeat(200_000), "longer than 2048 bytes"),
        (&format!("'{}'", "a".repeat(200_000)), "longer than 2048 bytes"),
        (&nested_maps, "walks over lists more than 4 times"),
        (two_nested, "one walk over a list cannot stand within another"),
        ("[1].exists(a, [2].filter(b, b == a) == [])", "one walk over a list cannot stand within another"),
        (&doublings, "walks over lists more than 4 times"),
        (&literals, "could take too much time or memory"),
        ("'a'.matches('(a{1000}){1000}')", "the pattern of `matches` is too costly"),
        (&format!("'a'.matches('{}')", "a".repeat(257)), "the pattern of `matches` is longer than 256 bytes"),
    ] {
        let error = refused(text);
        assert!(error.message.contains(expected), "{}: {error}", &text[..text.len().min(60)]);
    }
}

#[test]
fn costly_values_are_refused_before_anything_is_computed() {
    let text = "x".repeat(60_000);
    let list: Vec<u32> = (0..7_000).collect();
    let evaluate = |expression: &str, variables: Value| Expression::parse(expression).expect("parses").evaluate(&variables);
    for (expression, variables, expected) in [
        ("inputs.a + inputs.b", json!({ "inputs": { "a": text, "b": text } }), "reads more than 64 KiB, with `inputs.b`"),
        ("inputs.a + inputs.a", json!({ "inputs": { "a": text } }), "gives more than 64 KiB"),
        ("[inputs.a].map(x, x + x + x).map(x, x + x + x).map(x, x + x + x) == []", json!({ "inputs": { "a": text } }), "too much time or memory"),
        ("inputs.l.map(x, inputs.l)", json!({ "inputs": { "l": list } }), "too much time or memory"),
        ("inputs.l.filter(x, x in inputs.l)", json!({ "inputs": { "l": list } }), "too much time or memory"),
        ("(inputs.l + inputs.l).exists(x, x < 0)", json!({ "inputs": { "l": list } }), "too much time or memory"),
        ("[1, 2, 3].map(x, inputs.a.matches('(x+x+)+y'))", json!({ "inputs": { "a": text } }), "too much time or memory"),
    ] {
        let error = evaluate(expression, variables).expect_err(expression);
        assert!(error.message.contains(expected), "{expression}: {error}");
    }
    // A walk of ordinary size goes on.
    let hosts: Vec<String> = (0..500).map(|i| format!("host-{i}")).collect();
    assert_eq!(evaluate("size(inputs.l.filter(x, x.startsWith('host-1') && x != 'host-1'))", json!({ "inputs": { "l": &hosts } })), Ok(json!(110)));
    assert_eq!(evaluate("inputs.l.exists(x, x == 6999)", json!({ "inputs": { "l": list } })), Ok(json!(true)));
    assert_eq!(evaluate("size(inputs.l.filter(x, x % 2 == 0 && x > 10).map(x, x * 2.5))", json!({ "inputs": { "l": list } })), Ok(json!(3494)));
    assert_eq!(evaluate("size(inputs.l.filter(x, inputs.l.size() > 2 && x in inputs.l))", json!({ "inputs": { "l": hosts } })), Ok(json!(500)));
    // What is not read costs nothing.
    assert_eq!(evaluate("inputs.n", json!({ "inputs": { "n": 1, "a": text, "b": text } })), Ok(json!(1)));
}

#[test]
fn values_that_are_nested_too_deep_are_refused() {
    let deep = (0..100).fold(json!(1), |value, _| json!([value]));
    let error =
        Expression::parse("inputs.a == []").and_then(|expression| expression.evaluate(&json!({ "inputs": { "a": deep } }))).expect_err("deep");
    assert_eq!(error.message, "`inputs.a` holds maps and lists within each other too deep");
}

/// Everything that is accepted fits a stack half as large as a thread's.
#[test]
fn the_largest_expressions_fit_a_small_stack() {
    let n = bounds::NESTING;
    let worst = [
        vec!["1"; 50].join("+"),
        vec!["1"; 50].join("<"),
        vec!["true"; 50].join("&&"),
        format!("v{}", ".a".repeat(98)),
        format!("v{}", "[0]".repeat(48)),
        format!("{}true", "!".repeat(99)),
        format!("{}3", "true?2:".repeat(33)),
        format!("{}3", "false?1:".repeat(33)),
        format!("{}1{}", "(".repeat(n), ")".repeat(n)),
        format!("{}1{}", "[".repeat(n), "]".repeat(n)),
        format!("{}1{}", "{1:".repeat(n), "}".repeat(n)),
        format!("{}'a'{}", "size(".repeat(n), ")".repeat(n)),
        format!("{}1{}", "-(1+2*(".repeat(n / 2), "))".repeat(n / 2)),
        format!("{}1{}", "(true?1+2*(false?1:-".repeat(n / 2), "):2)".repeat(n / 2)),
        format!("[1]{}", ".map(x,x)".repeat(bounds::WALKS)),
        format!("'a'{}", ".size()".repeat(49)),
        format!("{}{}{}", "-(1+(".repeat(n / 2), vec!["1"; 36].join("*"), "))".repeat(n / 2)),
    ];
    let small = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        for text in worst {
            let expression = Expression::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let _ = expression.evaluate(&json!({ "v": { "a": 1 } }));
        }
    });
    small.expect("a thread").join().expect("no panic");
}

fn pieces() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "inputs",
        "steps",
        ".a",
        ".b",
        "['c']",
        "[0]",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "1",
        "2.5",
        "'x'",
        "\"}}\"",
        "+",
        "-",
        "*",
        "/",
        "%",
        "<",
        "==",
        "!=",
        "&&",
        "||",
        "!",
        "?",
        ":",
        ",",
        " in ",
        "null",
        "true",
        "false",
        ".map(x, ",
        ".filter(x, ",
        ".exists(x, ",
        ".all(x, ",
        "size(",
        "string(",
        "int(",
        "has(",
        ".matches('a+')",
        ".contains(",
        "x",
        "@result",
        "$",
        "`",
        "r'\\'",
        "'''",
        "\\",
        "ä",
        "\u{0}",
        "//",
        "0x",
        "1e",
        "u",
        "b''",
        "${{",
        "}}",
        "\n",
    ]);
    prop::collection::vec(words, 0..24).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_refused_or_stays_within_bounds(text in prop_oneof![pieces(), any::<String>(), "[ -~]{0,80}"]) {
        match Expression::parse(&text) {
            Ok(expression) => {
                let variables = json!({ "inputs": { "a": ["p", "q"], "b": 3, "c": { "a": null } }, "steps": { "a": { "b": 2.5 } } });
                if let Ok(value) = expression.evaluate(&variables) {
                    prop_assert!(value.to_string().len() <= 8 * bounds::VALUE_BYTES);
                }
            }
            Err(error) => {
                prop_assert!(!error.message.is_empty());
                prop_assert!(error.offset.is_none_or(|offset| offset <= text.len() && text.is_char_boundary(offset)), "{error:?}");
            }
        }
    }
}

/// What each expression is while nothing of `steps.later` has a value.
#[test]
fn a_part_that_is_not_known_yet_is_never_guessed() {
    let unknown = |path: &[String]| path.first().is_some_and(|root| root == "steps") && path.get(1).is_none_or(|name| name == "later");
    let known = |text: &str| Expression::parse(text).and_then(|expression| expression.evaluate_known(&variables(), &unknown));
    for (text, expected) in [
        ("inputs.count == 3", Some(true)),
        ("steps.check.verdict == 'ok'", Some(true)),
        ("steps.later.verdict == 'ok'", None),
        ("has(steps.later.outputs.x)", None),
        ("!has(steps.later.outputs.x)", None),
        ("size(steps.later.targets) > 0 && steps.later.verdict == 'critical'", None),
        ("steps.later.targets.exists(t, has(t.outputs.x) && t.outputs.x > inputs.count)", None),
        ("!steps.later.targets.all(t, t.verdict == 'ok')", None),
        ("inputs.hosts.exists(host, host == steps.later.outputs.host)", None),
        ("inputs.hosts[steps.later.outputs.number] == 'a'", None),
        ("string(steps.later.verdict).contains('crit')", None),
        ("{'a': steps.later.verdict}['a'] == 'ok'", None),
        ("[steps.later.verdict].exists(v, v == 'ok')", None),
        ("steps.later.outputs == null", None),
        // Whatever it turns out to be, these do not depend on it.
        ("inputs.count == 3 || steps.later.verdict == 'ok'", Some(true)),
        ("steps.later.verdict == 'ok' || inputs.count == 3", Some(true)),
        ("steps.later.verdict == 'ok' && inputs.count == 4", Some(false)),
        ("!(steps.later.verdict == 'ok' && inputs.count == 4)", Some(true)),
        ("inputs.count == 3 ? true : steps.later.verdict == 'ok'", Some(true)),
        ("steps.later.verdict == 'ok' ? inputs.count == 3 : inputs.service == 'shop'", Some(true)),
        ("steps.later.verdict == 'ok' ? inputs.count == 3 : inputs.service == 'web'", None),
        // A side without an answer may still be outweighed.
        ("inputs.nothing == 1 && steps.later.verdict == 'ok'", None),
    ] {
        assert_eq!(known(text), Ok(expected), "{text}");
    }
    assert!(known("inputs.nothing == 1").is_err(), "what is known and wrong is told");
    assert!(known("inputs.count").is_err(), "a number is no answer");
}
