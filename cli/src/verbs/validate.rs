//! `mainstay plan validate` and `mainstay plan schema`: the plan language without a mesh.

use mainstay_client::files;
use mainstay_core::bounds;
use mainstay_core::plan::{self, Plan, PlanError, Problem, schema};
use serde::Serialize;

use super::{Screen, print};
use crate::error::CliError;
use crate::exit::Exit;
use crate::host;
use crate::render::units;

/// Problems shown at once; a file that is no plan at all has as many as it has lines.
const PROBLEMS_SHOWN: usize = 20;
/// Characters shown of a line.
const LINE_SHOWN: usize = 100;

/// `-o json` of `plan validate`, for each file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Validity {
    file: String,
    valid: bool,
    /// Of the plan, where there is one.
    name: Option<String>,
    steps: Option<usize>,
    problems: Vec<Place>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    /// Counts from 1; 0 where the problem is the whole document's.
    line: u64,
    column: u64,
    message: String,
}

/// Checks files without a mesh. All of them are looked at before it ends.
pub fn validate(given: &[String], screen: Screen) -> Result<Exit, CliError> {
    let mut all = Vec::new();
    let mut wrong: Option<CliError> = None;
    for file in given {
        let source = read(file)?;
        let checked = plan::parse(&source);
        if !screen.is_json() {
            match &checked {
                Ok(plan) => print(&format!("✔ {} is sound: {}\n", plan.name, units::count(plan.steps.len() as u64, "step", "steps")))?,
                Err(error) => {
                    let told = refused(error, &source, file);
                    wrong = Some(match wrong {
                        None => told,
                        Some(before) => CliError { next: [before.next, vec![told.message], told.next].concat(), ..before },
                    });
                }
            }
        }
        all.push(validity(file, &checked));
    }
    let sound = all.iter().all(|one| one.valid);
    if screen.is_json() {
        screen.show(&serde_json::json!({ "files": all }), |_| String::new())?;
    }
    match wrong {
        Some(error) => Err(error),
        None => Ok(if sound { Exit::Success } else { Exit::Usage }),
    }
}

fn validity(file: &str, checked: &Result<Plan, PlanError>) -> Validity {
    let place = |problem: &Problem| Place { line: problem.line, column: problem.column, message: problem.message.clone() };
    Validity {
        file: shown(file).to_owned(),
        valid: checked.is_ok(),
        name: checked.as_ref().ok().map(|plan| plan.name.to_string()),
        steps: checked.as_ref().ok().map(|plan| plan.steps.len()),
        problems: checked.as_ref().err().map(|error| error.problems.iter().map(place).collect()).unwrap_or_default(),
    }
}

/// Prints the JSON Schema of plans. It is JSON already, whatever the form that is asked for.
pub fn print_schema() -> Result<Exit, CliError> {
    print(&schema::schema_text())?;
    Ok(Exit::Success)
}

/// Reads a plan's file.
pub fn read(file: &str) -> Result<String, CliError> {
    // One byte more than the limit, so that it is the plan language that refuses, in its own words.
    let max = bounds::PLAN_BYTES as u64 + 1;
    let read = if file == "-" { host::standard_input(max) } else { files::read_text(std::path::Path::new(file), max) };
    read.map_err(|error| CliError::usage(format!("the plan cannot be read from {}: {error}", shown(file))))
}

pub fn shown(file: &str) -> &str {
    if file == "-" { "standard input" } else { file }
}

/// Checks a plan as it stands in its file.
pub fn check(source: &str, file: &str) -> Result<Plan, CliError> {
    plan::parse(source).map_err(|error| refused(&error, source, file))
}

/// Each problem with its place, the line of the file, and a mark under the place.
fn refused(error: &PlanError, source: &str, file: &str) -> CliError {
    let count = error.problems.len();
    let mut told = CliError::usage(format!("{} is not a sound plan: {}", shown(file), units::count(count as u64, "problem", "problems")));
    let lines: Vec<&str> = source.lines().collect();
    for problem in error.problems.iter().take(PROBLEMS_SHOWN) {
        let line = usize::try_from(problem.line).ok().and_then(|number| lines.get(number.checked_sub(1)?));
        let Some(line) = line else {
            told = told.with_next(problem.message.clone());
            continue;
        };
        let number = problem.line.to_string();
        let (text, before) = window(line, usize::try_from(problem.column).unwrap_or(1).saturating_sub(1));
        told = told
            .with_next(format!("{}:{}:{}: {}", shown(file), problem.line, problem.column, problem.message))
            .with_next(format!("  {number} │ {text}"))
            .with_next(format!("  {} │ {}^", " ".repeat(number.len()), " ".repeat(before)));
    }
    if count > PROBLEMS_SHOWN {
        told = told.with_next(format!("… and {} more", count - PROBLEMS_SHOWN));
    }
    told.with_next("step kinds and their parameters:  mainstay steps [KIND]")
}

/// As much of a line as is worth showing, and how far into it the place is.
fn window(line: &str, column: usize) -> (String, usize) {
    // A tab is one character of the file and would be several on the screen.
    let characters: Vec<char> = line.chars().map(|c| if c == '\t' { ' ' } else { c }).collect();
    let column = column.min(characters.len());
    let from = if column < LINE_SHOWN * 3 / 4 { 0 } else { column - LINE_SHOWN / 2 };
    let to = characters.len().min(from + LINE_SHOWN);
    let (begins, ends) = (if from > 0 { "…" } else { "" }, if to < characters.len() { "…" } else { "" });
    let text: String = characters.get(from..to).unwrap_or_default().iter().collect();
    (format!("{begins}{text}{ends}"), column - from + usize::from(from > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRONG: &str = "apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata:
  name: weekly
spec:
  steps:
    - name: look
      uses: node.resourcs
";

    #[test]
    fn a_wrong_plan_is_shown_where_it_is_wrong() {
        let error = check(WRONG, "weekly.yaml").unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        let text = error.to_string();
        assert!(text.starts_with("error: weekly.yaml is not a sound plan: 1 problem\n  weekly.yaml:8:13: "), "{text}");
        assert!(text.contains("did you mean `node.resources`?\n    8 │       uses: node.resourcs\n      │             ^\n"), "{text}");
    }

    #[test]
    fn a_good_plan_is_sound() {
        let plan = check(&WRONG.replace("resourcs", "resources"), "-").unwrap();
        assert_eq!((plan.name.as_str(), plan.steps.len()), ("weekly", 1));
    }

    #[test]
    fn the_mark_stands_under_its_place_also_in_a_long_line() {
        let long = format!("{}X{}", "a".repeat(300), "b".repeat(300));
        let (text, before) = window(&long, 300);
        assert_eq!(text.chars().nth(before), Some('X'), "{text}");
        assert!(text.starts_with('…') && text.ends_with('…') && text.chars().count() <= LINE_SHOWN + 2);
        assert_eq!(window("\tab", 1), (" ab".to_owned(), 1));
        assert_eq!(window("ab", 9), ("ab".to_owned(), 2), "a place behind the end is at the end");
    }

    #[test]
    fn json_says_all_of_it() {
        let json = serde_json::to_value(validity("weekly.yaml", &plan::parse(WRONG))).unwrap();
        assert_eq!(json["valid"], false);
        assert_eq!((json["problems"][0]["line"].clone(), json["problems"][0]["column"].clone()), (8.into(), 13.into()));
    }
}
