//! From YAML to a plan. Sizes and nesting are bounded before anything is built, unknown and double keys
//! are refused, and every problem is collected before any is reported.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::{Location, Spanned};
use sha2::{Digest, Sha256};

use super::{API_VERSION, DOCUMENT_KIND, OnUnknown, Plan, PlanError, Problem, Retry, RunOn, Step, UndoStep};
use super::{graph, syntax};
use crate::bounds;
use crate::catalogue::{self, Kind, Scope, Undo};
use crate::id::StepName;
use crate::time::Millis;

/// Longest timeout of a step: what runs longer is several steps.
const TIMEOUT_MAX: Millis = Millis(7 * 86_400_000);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: Spanned<String>,
    kind: Spanned<String>,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    name: Spanned<String>,
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    steps: Spanned<Vec<StepDocument>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StepDocument {
    name: Spanned<String>,
    #[serde(default)]
    description: String,
    uses: Spanned<String>,
    #[serde(default)]
    with: Option<WithDocument>,
    #[serde(default)]
    run_on: Option<Spanned<String>>,
    #[serde(default)]
    needs: Vec<Spanned<String>>,
    #[serde(default)]
    timeout: Option<Spanned<String>>,
    #[serde(default)]
    retry: Option<RetryDocument>,
    #[serde(default)]
    undo: Option<UndoDocument>,
    #[serde(default)]
    on_unknown: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RetryDocument {
    attempts: Spanned<u32>,
    #[serde(default)]
    backoff: Option<Spanned<String>>,
    #[serde(default)]
    max_backoff: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UndoDocument {
    uses: Spanned<String>,
    #[serde(default)]
    with: Option<WithDocument>,
    #[serde(default)]
    timeout: Option<Spanned<String>>,
    #[serde(default)]
    retry: Option<RetryDocument>,
}

/// A `with` block: each parameter with its place.
#[derive(Default)]
struct WithDocument(Vec<(Spanned<String>, Spanned<Value>)>);

impl<'de> Deserialize<'de> for WithDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<WithDocument, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = WithDocument;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("fields (`name: value`)")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<WithDocument, A::Error> {
                let mut with = WithDocument::default();
                while let Some(field) = fields.next_entry()? {
                    with.0.push(field);
                }
                Ok(with)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// Parses and checks one plan document.
pub fn parse(source: &str) -> Result<Plan, PlanError> {
    if source.len() > bounds::PLAN_BYTES {
        return Err(PlanError::whole(format!("the plan has {} bytes, and may have {}", source.len(), bounds::PLAN_BYTES)));
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        reject_unsupported_tags: true,
        budget: serde_saphyr::budget! {
            max_nodes: 50_000,
            max_events: 200_000,
            max_depth: 32,
            max_aliases: 100,
            max_anchors: 100,
            max_total_scalar_bytes: 1 << 20,
        },
    };
    let document: Document =
        serde_saphyr::from_str_with_options(source, options).map_err(|error| PlanError { problems: vec![syntax::problem(&error)] })?;
    Checker::default().plan(document, source)
}

#[derive(Default)]
struct Checker {
    problems: Vec<Problem>,
}

impl Checker {
    fn problem(&mut self, at: Location, message: impl Into<String>) {
        self.problems.push(Problem { line: at.line(), column: at.column(), message: message.into() });
    }

    fn plan(mut self, document: Document, source: &str) -> Result<Plan, PlanError> {
        if document.api_version.value != API_VERSION {
            self.problem(
                document.api_version.referenced,
                format!("apiVersion is `{}`, and this program reads `{API_VERSION}`", document.api_version.value),
            );
        }
        if document.kind.value != DOCUMENT_KIND {
            self.problem(document.kind.referenced, format!("kind is `{}`, and should be `{DOCUMENT_KIND}`", document.kind.value));
        }
        let name = self.parsed(&document.metadata.name);
        if document.spec.steps.value.is_empty() {
            self.problem(document.spec.steps.referenced, "a plan needs at least one step");
        }
        if document.spec.steps.value.len() > bounds::PLAN_STEPS {
            self.problem(
                document.spec.steps.referenced,
                format!("the plan has {} steps, and may have {}", document.spec.steps.value.len(), bounds::PLAN_STEPS),
            );
            return Err(PlanError { problems: self.problems });
        }
        self.names(&document.spec.steps.value);
        let steps: Vec<Step> = document.spec.steps.value.into_iter().filter_map(|step| self.step(step)).collect();
        match name {
            Some(name) if self.problems.is_empty() => Ok(Plan {
                name,
                description: document.metadata.description,
                inputs: std::collections::BTreeMap::new(),
                gates: Vec::new(),
                strategy: None,
                schedules: Vec::new(),
                concurrency: super::Concurrency::default(),
                history: super::History::default(),
                notify: Vec::new(),
                steps,
                source: source.to_owned(),
                digest: Sha256::digest(source.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect(),
            }),
            _ => {
                self.problems.sort_by_key(|problem| (problem.line, problem.column));
                Err(PlanError { problems: self.problems })
            }
        }
    }

    /// Step names are unique, needs are met by steps of the plan, and nothing needs itself.
    fn names(&mut self, steps: &[StepDocument]) {
        let mut seen = BTreeSet::new();
        for step in steps {
            if !seen.insert(step.name.value.as_str()) {
                self.problem(step.name.referenced, format!("there are two steps named `{}`", step.name.value));
            }
        }
        for need in steps.iter().flat_map(|step| &step.needs) {
            if !seen.contains(need.value.as_str()) {
                let hint =
                    catalogue::nearest(&need.value, seen.iter().copied()).map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
                self.problem(need.referenced, format!("there is no step `{}` to need{hint}", need.value));
            }
        }
        if !self.problems.is_empty() {
            return;
        }
        let parsed: Vec<(StepName, Vec<StepName>)> = steps
            .iter()
            .filter_map(|step| Some((step.name.value.parse().ok()?, step.needs.iter().filter_map(|need| need.value.parse().ok()).collect())))
            .collect();
        let borrowed: Vec<(&StepName, &[StepName])> = parsed.iter().map(|(name, needs)| (name, needs.as_slice())).collect();
        if let Err(cycle) = graph::order(&borrowed) {
            let at = steps.iter().find(|step| cycle.first().is_some_and(|first| first.as_str() == step.name.value)).map(|step| step.name.referenced);
            let mut words: Vec<&str> = cycle.iter().map(|name| name.as_str()).collect();
            words.extend(cycle.first().map(|first| first.as_str()));
            if let Some(at) = at {
                self.problem(at, format!("steps need each other in a circle: {}", words.join(" needs ")));
            }
        }
    }

    fn step(&mut self, step: StepDocument) -> Option<Step> {
        let name = self.parsed(&step.name);
        let kind = self.kind(&step.uses)?;
        let with = self.with(kind, step.with, step.uses.referenced);
        let run_on = self.run_on(kind, step.run_on.as_ref());
        let timeout = self.timeout(step.timeout.as_ref(), kind.default_timeout);
        let retry = self.retry(step.retry);
        let on_unknown = match step.on_unknown.as_ref().map(|word| (word.value.as_str(), word.referenced)) {
            None | Some(("stop", _)) => OnUnknown::Stop,
            Some(("continue", _)) => OnUnknown::Continue,
            Some((other, at)) => {
                self.problem(at, format!("onUnknown is `{other}`, and should be stop or continue"));
                OnUnknown::Stop
            }
        };
        let undo = step.undo.and_then(|undo| {
            if kind.undo != Undo::Compensated {
                self.problem(undo.uses.referenced, format!("{} takes no `undo`: {}", kind.name, kind.undo.as_str()));
            }
            let kind = self.kind(&undo.uses)?;
            let with = self.with(kind, undo.with, undo.uses.referenced);
            let timeout = self.timeout(undo.timeout.as_ref(), kind.default_timeout);
            let retry = self.retry(undo.retry);
            Some(UndoStep { uses: kind.name.to_owned(), with, timeout, retry })
        });
        let needs = step.needs.iter().filter_map(|need| need.value.parse().ok()).collect();
        Some(Step {
            name: name?,
            description: step.description,
            uses: kind.name.to_owned(),
            with,
            run_on,
            condition: None,
            gates: Vec::new(),
            strategy: None,
            lease: None,
            needs,
            timeout,
            retry,
            undo,
            on_unknown,
        })
    }

    fn kind(&mut self, uses: &Spanned<String>) -> Option<&'static Kind> {
        let kind = catalogue::kind(&uses.value);
        if kind.is_none() {
            let meant = catalogue::nearest(&uses.value, catalogue::KINDS.iter().map(|kind| kind.name));
            let hint = meant.map_or_else(|| "see `mainstay steps`".to_owned(), |meant| format!("did you mean `{meant}`?"));
            self.problem(uses.referenced, format!("there is no step kind `{}`; {hint}", shortened(&uses.value)));
        }
        kind
    }

    fn with(&mut self, kind: &Kind, with: Option<WithDocument>, uses_at: Location) -> Map<String, Value> {
        let with = with.unwrap_or_default();
        let places: BTreeMap<String, (Location, Location)> =
            with.0.iter().map(|(name, value)| (name.value.clone(), (name.referenced, value.referenced))).collect();
        let with: Map<String, Value> = with.0.into_iter().map(|(name, value)| (name.value, value.value)).collect();
        for (path, message) in kind.check(&with) {
            // The parameter is the path up to its first `.` or `[`; without one, something is missing.
            let name = path.split(['.', '[']).next().unwrap_or_default();
            let at = places.get(name).map_or(uses_at, |(name_at, value_at)| if kind.param(name).is_some() { *value_at } else { *name_at });
            self.problem(at, message);
        }
        with
    }

    fn run_on(&mut self, kind: &Kind, run_on: Option<&Spanned<String>>) -> RunOn {
        let default = if kind.scope == Scope::Host { RunOn::Node } else { RunOn::Once };
        let Some(word) = run_on else { return default };
        match word.value.as_str() {
            "node" => RunOn::Node,
            "once" if kind.scope != Scope::Host => RunOn::Once,
            "once" => {
                self.problem(word.referenced, format!("{} is done to nodes: `runOn: node`", kind.name));
                default
            }
            "cluster" => {
                self.problem(word.referenced, "`runOn: cluster` needs a cluster agent, and no step kind of this version has one");
                default
            }
            other => {
                self.problem(word.referenced, format!("runOn is `{}`, and should be node or once", shortened(other)));
                default
            }
        }
    }

    fn timeout(&mut self, text: Option<&Spanned<String>>, default: Millis) -> Millis {
        let Some(text) = text else { return default };
        let timeout = self.parsed(text).unwrap_or(default);
        if timeout == Millis::ZERO || timeout > TIMEOUT_MAX {
            self.problem(text.referenced, format!("a timeout is more than 0 and at most {TIMEOUT_MAX}"));
        }
        timeout
    }

    fn retry(&mut self, retry: Option<RetryDocument>) -> Retry {
        let defaults = Retry::default();
        let Some(retry) = retry else { return defaults };
        if !(1..=bounds::ATTEMPTS).contains(&retry.attempts.value) {
            self.problem(retry.attempts.referenced, format!("attempts is {}, and should be 1 to {}", retry.attempts.value, bounds::ATTEMPTS));
        }
        let backoff = retry.backoff.as_ref().and_then(|text| self.parsed(text)).unwrap_or(defaults.backoff);
        let max_backoff = retry.max_backoff.as_ref().and_then(|text| self.parsed(text)).unwrap_or(defaults.max_backoff.max(backoff));
        if let Some(text) = retry.backoff.as_ref().filter(|_| backoff > TIMEOUT_MAX || backoff > max_backoff) {
            self.problem(text.referenced, format!("backoff is at most maxBackoff and {TIMEOUT_MAX}"));
        }
        Retry { attempts: retry.attempts.value, backoff, max_backoff }
    }

    fn parsed<T: FromStr<Err: std::fmt::Display>>(&mut self, text: &Spanned<String>) -> Option<T> {
        text.value.parse().map_err(|error: T::Err| self.problem(text.referenced, error.to_string())).ok()
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
