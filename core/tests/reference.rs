//! The reference pages are the ones that the catalogue and the language make: `docs/steps.md` as a whole, and the
//! fields and bounds in `docs/plans.md`. `UPDATE=1 cargo test -p mainstay-core --test reference` writes them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::path::{Path, PathBuf};

use mainstay_core::catalogue::{KINDS, Kind, Param, ParamType, Undo};
use mainstay_core::plan::schema::schema;
use mainstay_core::{bounds, expr};
use serde_json::Value;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// Compares a page with what it should be, or writes it.
fn keep(name: &str, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(docs(name), text).unwrap();
    }
    let published = std::fs::read_to_string(docs(name)).unwrap_or_default();
    assert!(published == text, "docs/{name} is stale: UPDATE=1 cargo test -p mainstay-core --test reference");
}

/// One cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) }
}

/// A default as it is written, or in words.
fn default_of(param: &Param) -> String {
    let words = param.default.contains(' ') && !param.default.starts_with(['{', '[']);
    match (param.required, words) {
        (true, _) => "needed".to_owned(),
        (false, true) => cell(param.default),
        (false, false) => code(param.default),
    }
}

fn params_table(params: &[Param]) -> String {
    let row = |param: &Param| format!("| `{}` | {} | {} | {} |\n", param.name, cell(&param.ty.describe()), default_of(param), cell(param.doc));
    let rows: String = params.iter().map(row).collect();
    format!("| parameter | should be | default | meaning |\n| --- | --- | --- | --- |\n{rows}")
}

fn page(kind: &Kind) -> String {
    let mut text = format!("## {}\n\n{}.\n\n| | |\n| --- | --- |\n", kind.name, kind.summary.trim_end_matches('.'));
    kind.facts().iter().for_each(|(name, value)| text += &format!("| {name} | {} |\n", cell(value)));
    if !kind.params.is_empty() {
        text += &format!("\n{}", params_table(kind.params));
    }
    for rule in kind.together {
        text += &format!("\n{}.\n", rule.describe());
    }
    for param in kind.params {
        if let ParamType::List(&ParamType::Fields(fields)) | ParamType::Fields(fields) = param.ty {
            let own: Vec<Param> =
                fields.iter().filter(|field| kind.param(field.name).is_none_or(|same| same.doc != field.doc || field.required)).copied().collect();
            text += &format!("\nOf each entry of `{}`, besides what is said above for all:\n\n{}", param.name, params_table(&own));
        }
    }
    for param in kind.params {
        if let ParamType::List(&ParamType::Choice(choices, others)) = param.ty {
            text += &format!("\nOf each entry of `{}`, of which the first {} are one or the other:\n\n", param.name, choices.len());
            text += &params_table(&[choices, others].concat());
            for choice in choices {
                if let ParamType::Fields(fields) = choice.ty {
                    text += &format!("\nOf `{}` in `{}`:\n\n{}", choice.name, param.name, params_table(fields));
                }
            }
        }
    }
    if !kind.outputs.is_empty() {
        text += "\n| output | type | meaning |\n| --- | --- | --- |\n";
        kind.outputs.iter().for_each(|(name, ty, doc)| text += &format!("| `{name}` | {ty} | {} |\n", cell(doc)));
    }
    let example: String = kind.example.lines().map(|line| format!("    {line}\n")).collect();
    let accept = if kind.undo == Undo::Irreversible { "  acceptIrreversible: true\n" } else { "" };
    text + &format!("\n```yaml\n- name: example\n  uses: {}\n{accept}  with:\n{example}```\n", kind.name)
}

#[test]
fn the_page_of_step_kinds_is_the_one_of_the_catalogue() {
    let contents: String = KINDS
        .iter()
        .map(|kind| format!("| [{0}](#{1}) | {2} | {3} |\n", kind.name, kind.name.replace('.', ""), kind.effect.as_str(), cell(kind.summary)))
        .collect();
    let pages: Vec<String> = KINDS.iter().map(page).collect();
    keep(
        "steps.md",
        &format!(
            "# Step kinds\n\nWhat a step of a plan can do. This page is made from the catalogue that is compiled into the program; `mainstay steps KIND` shows the same.\n\
             How steps make a plan is in [plans.md](plans.md).\n\n| kind | effect | what it does |\n| --- | --- | --- |\n{contents}\n{}",
            pages.join("\n")
        ),
    );
}

/// What a schema says a value should be, in a few words.
fn should_be(schema: &Value) -> String {
    if let Some(target) = schema["$ref"].as_str() {
        let name = target.trim_start_matches("#/definitions/");
        return if name == "percent" { "`25%`".to_owned() } else { format!("[{name}](#{})", name.to_lowercase()) };
    }
    if let Some(all) = schema["allOf"].as_array() {
        return should_be(&all[0]);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().map(should_be).collect::<Vec<_>>().join(" or ");
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().filter_map(Value::as_str).map(code).collect::<Vec<_>>().join(", ");
    }
    let of = should_be;
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).filter(|ty| *ty != "null").collect(),
        _ => Vec::new(),
    };
    let examples = schema["examples"].as_array().and_then(|all| all.first()).and_then(Value::as_str);
    match (types.as_slice(), examples) {
        (["string"], Some(example)) => format!("such as {}", code(example)),
        (["string"], None) => "text".to_owned(),
        (["integer"], _) => match (&schema["minimum"], &schema["maximum"]) {
            (Value::Number(from), Value::Number(to)) => format!("{from} to {to}"),
            _ => "a whole number".to_owned(),
        },
        (["array"], _) => format!("list of: {}", of(&schema["items"])),
        (["object"], _) if schema["additionalProperties"].is_object() => format!("by name: {}", of(&schema["additionalProperties"])),
        (["object"], _) => "fields of the kind".to_owned(),
        (["boolean"], _) => "`true`, `false`".to_owned(),
        (["string", "boolean"], _) => "an expression".to_owned(),
        (["string", "number", "boolean", "array"], _) => "a value of an input".to_owned(),
        (types, _) => types.join(" or "),
    }
}

fn fields_table(object: &Value) -> String {
    let mut text = "| field | should be | default | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    let required: Vec<&str> = object["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in object["properties"].as_object().unwrap() {
        let words = field["description"].as_str().unwrap_or_default();
        let meaning = words.split("\n- ").next().unwrap_or_default();
        let meanings = words.split("\n- ").skip(1).collect::<Vec<_>>().join("; ");
        let (meaning, told) =
            meaning.split_once(" Default: ").map_or((meaning, None), |(meaning, default)| (meaning, Some(default.trim_end_matches('.'))));
        let default = match (&field["default"], told) {
            _ if required.contains(&name.as_str()) => "needed".to_owned(),
            (Value::Null, told) => told.unwrap_or_default().to_owned(),
            (Value::String(text), _) => code(text),
            (value, _) => code(&value.to_string()),
        };
        let meanings = if meanings.is_empty() { String::new() } else { format!(" ({meanings})") };
        text += &format!("| `{name}` | {} | {default} | {}{} |\n", should_be(field), cell(meaning), cell(&meanings));
    }
    text
}

/// Every object of the language, in the order in which one meets it.
fn fields() -> String {
    let whole = schema();
    let sections = [
        "spec",
        "input",
        "step",
        "retry",
        "undo",
        "stepLease",
        "strategy",
        "gate",
        "window",
        "freeze",
        "leaseGate",
        "approval",
        "health",
        "capacity",
        "backupFresh",
        "drillFresh",
        "errorBudget",
        "schedule",
        "history",
        "notice",
    ];
    let known = whole["definitions"]
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| !name.starts_with("with.") && !["template", "percent", "metadata"].contains(&name.as_str()));
    let missing: Vec<&String> = known.filter(|name| !sections.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "not in the reference: {missing:?}");
    let section = |name: &&str| {
        let object = &whole["definitions"][name];
        let doc = object["description"].as_str().unwrap_or_default();
        let table = if object["properties"].as_object().unwrap().is_empty() { String::new() } else { format!("\n{}", fields_table(object)) };
        format!("### {name}\n\n{doc}\n{table}")
    };
    sections.iter().map(section).collect::<Vec<_>>().join("\n")
}

fn limits() -> String {
    let kib = |bytes: usize| if bytes.is_multiple_of(1_024) { format!("{} KiB", bytes / 1_024) } else { format!("{bytes} bytes") };
    let rows = [
        ("source of a plan", kib(bounds::PLAN_BYTES)),
        ("a plan with all that its aliases repeat", kib(bounds::COMMAND_BYTES)),
        ("steps", bounds::PLAN_STEPS.to_string()),
        ("inputs; values of one `oneOf`", format!("{}; {}", bounds::INPUTS, bounds::INPUT_ONE_OF)),
        ("gates of a plan, and of a step", bounds::GATES.to_string()),
        ("waves of a strategy", bounds::WAVES.to_string()),
        ("schedules; notices", format!("{}; {}", bounds::SCHEDULES, bounds::NOTIFY)),
        ("a description", kib(bounds::DESCRIPTION_BYTES)),
        ("attempts of a step on a target", bounds::ATTEMPTS.to_string()),
        ("steps times targets of one run", bounds::RUN_WORK.to_string()),
        ("outputs of a step on a target", kib(bounds::OUTPUT_BYTES)),
        ("expressions of a plan", bounds::PLAN_EXPRESSIONS.to_string()),
        ("text of an expression", kib(expr::bounds::TEXT_BYTES)),
        ("names, values and operators of an expression", expr::bounds::PARTS.to_string()),
        ("brackets within each other in an expression", expr::bounds::NESTING.to_string()),
        ("values that an expression reads, and its result", kib(expr::bounds::VALUE_BYTES)),
    ];
    let rows: String = rows.iter().map(|(what, most)| format!("| {what} | {most} |\n")).collect();
    format!("| what | at most |\n| --- | --- |\n{rows}")
}

/// Puts `made` between the lines that mark its place.
fn replaced(text: &str, name: &str, made: &str) -> String {
    let (begin, end) = (format!("<!-- {name}: made by a test -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("docs/plans.md has no place for {name}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("the place for {name} has no end"));
    format!("{before}{begin}\n{made}\n{end}{after}")
}

#[test]
fn the_page_of_plans_has_the_fields_and_bounds_of_the_language() {
    let text = std::fs::read_to_string(docs("plans.md")).unwrap();
    keep("plans.md", &replaced(&replaced(&text, "fields", &fields()), "limits", &limits()));
}

#[test]
fn every_example_of_the_pages_is_good() {
    let mut tried = 0;
    for name in ["plans.md", "steps.md"] {
        let text = std::fs::read_to_string(docs(name)).unwrap();
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            let header = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: { name: p }\n";
            let plan = match block {
                steps if steps.starts_with('-') => {
                    let inputs = "  inputs: { root: { type: text } }\n";
                    format!("{header}spec:\n{inputs}  steps:\n{}", steps.lines().map(|line| format!("    {line}\n")).collect::<String>())
                }
                spec if spec.starts_with("spec:") => format!("{header}{spec}"),
                whole => whole.to_owned(),
            };
            assert_eq!(mainstay_core::plan::parse(&plan).map(|_| ()).map_err(|error| error.to_string()), Ok(()), "{name}:\n{plan}");
            tried += 1;
        }
    }
    assert!(tried >= KINDS.len() + 6, "{tried} examples");
}
