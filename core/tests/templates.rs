//! `${{ … }}` in plans: one value for each, never read again.
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

use mainstay_core::expr::template::{Template, fill_value, has_template};
use proptest::prelude::*;
use serde_json::{Value, json};

fn variables() -> Value {
    json!({ "inputs": {
        "service": "shop", "count": 3, "whole": 5.0, "part": 0.25, "on": true, "hosts": ["a", "b"], "labels": { "a": 1 }, "none": null,
        "evil": "${{ inputs.service }}; $(rm -rf /) --flag \"'\n",
    } })
}

fn fill(text: &str) -> Value {
    Template::parse(text).expect(text).expect(text).fill(&variables()).expect(text)
}

fn refused(text: &str) -> (String, Option<usize>) {
    let error = Template::parse(text).and_then(|template| template.expect("a template").fill(&variables())).expect_err(text);
    (error.message, error.offset)
}

#[test]
fn one_expression_alone_keeps_its_type() {
    for (text, expected) in [
        ("${{ inputs.count }}", json!(3)),
        ("${{inputs.on}}", json!(true)),
        ("${{ inputs.hosts }}", json!(["a", "b"])),
        ("${{ inputs.labels }}", json!({ "a": 1 })),
        ("${{ inputs.whole }}", json!(5.0)),
        ("${{ {'a': {'b': 1}} }}", json!({ "a": { "b": 1 } })),
        ("${{ {'a': {'b': 1}}.a }}", json!({ "b": 1 })),
        ("${{ '}}' }}", json!("}}")),
        ("${{ \"a \\\" }} b\" }}", json!("a \" }} b")),
        ("${{ '${{' }}", json!("${{")),
    ] {
        assert_eq!(fill(text), expected, "{text}");
    }
}

#[test]
fn within_a_text_values_become_text() {
    for (text, expected) in [
        (" ${{ inputs.count }}", " 3"),
        ("${{ inputs.service }}-${{ inputs.count }}", "shop-3"),
        ("${{ inputs.service }}${{ inputs.on }}", "shoptrue"),
        ("a ${{ inputs.whole }} b ${{ inputs.part }} }} $ {{ }", "a 5 b 0.25 }} $ {{ }"),
        ("say ${{ '${{' }} x }}", "say ${{ x }}"),
    ] {
        assert_eq!(fill(text), json!(expected), "{text}");
    }
}

#[test]
fn what_was_put_in_is_never_read_again() {
    let evil = variables()["inputs"]["evil"].clone();
    assert_eq!(fill("${{ inputs.evil }}"), evil);
    assert_eq!(fill("x ${{ inputs.evil }}"), json!(format!("x {}", evil.as_str().unwrap_or_default())));
    let filled = fill_value(&json!({ "list": ["${{ inputs.evil }}", 1, null], "${{ inputs.service }}": "plain" }), &variables());
    assert_eq!(filled, Ok(json!({ "list": [evil, 1, null], "${{ inputs.service }}": "plain" })));
}

#[test]
fn what_cannot_be_filled_is_told_at_its_place() {
    for (text, message, offset) in [
        ("ab ${{ inputs.count", "`${{` without `}}`", Some(3)),
        ("ab ${{ inputs.count }", "`}` closes nothing", Some(20)),
        ("ab ${{ 'x }}", "this text has no closing quote", Some(7)),
        ("ab ${{ }}", "there is no expression", Some(3)),
        ("ä ${{ 1 + }}", "the expression ends too early", Some(10)),
        ("ab ${{ 1 = 2 }}", "`=` compares nothing: write `==`", Some(9)),
        ("${{ ${{ 1 }} }}", "`$` means nothing in an expression", Some(4)),
        ("x ${{ inputs.hosts }}", "`inputs.hosts` is a list, which cannot be put into a text", None),
        ("x ${{ inputs.labels }}", "`inputs.labels` is a map, which cannot be put into a text", None),
        ("x ${{ inputs.none }}", "`inputs.none` has no value", None),
        ("${{ null }}", "`null` gives nothing where a value is needed", None),
        ("x${{ inputs.on ? null : 1 }}", "`inputs.on ? null : 1` gives nothing where a value is needed", None),
    ] {
        assert_eq!(refused(text), (message.to_owned(), offset), "{text}");
    }
    let long = format!("${{{{ {} }}}}", "1+".repeat(100_000));
    assert!(refused(&long).0.contains("more than 100 names"));
    let deep = (0..100).fold(json!("x"), |value, _| json!([value]));
    assert!(fill_value(&deep, &variables()).is_err());
}

#[test]
fn what_they_read_is_told() {
    let template = Template::parse("${{ inputs.a }} ${{ steps.b.outputs.c + run.id }}").expect("parses").expect("a template");
    let paths: Vec<Vec<String>> = template.references().flat_map(|references| references.paths.clone()).map(|path| vec![path.join(".")]).collect();
    assert_eq!(paths, [["inputs.a"], ["steps.b.outputs.c"], ["run.id"]]);
}

proptest! {
    #[test]
    fn a_text_without_templates_is_left_alone(text in any::<String>().prop_filter("no template", |text| !has_template(text))) {
        prop_assert_eq!(Template::parse(&text), Ok(None));
        prop_assert_eq!(fill_value(&json!([text.clone()]), &variables()), Ok(json!([text])));
    }

    #[test]
    fn no_text_makes_it_panic(before in any::<String>(), within in "[ -~]{0,40}", after in any::<String>()) {
        let text = format!("{before}${{{{{within}}}}}{after}");
        if let Err(error) = fill_value(&json!(text.clone()), &variables()) {
            prop_assert!(error.offset.is_none_or(|offset| offset <= text.len() && text.is_char_boundary(offset)), "{:?}", error);
        }
    }

    #[test]
    fn any_value_is_put_in_as_it_is(value in any::<String>(), before in "[a-z ]{1,8}") {
        let variables = json!({ "inputs": { "x": value.clone() } });
        let filled = |text: &str| fill_value(&json!(text), &variables);
        prop_assert_eq!(filled("${{ inputs.x }}"), Ok(json!(value.clone())));
        let text = before.clone() + "${{ inputs.x }}${{ '' }}";
        prop_assert_eq!(filled(&text), Ok(json!(before + &value)));
    }
}
