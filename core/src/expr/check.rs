//! From text to an expression that may be evaluated.
//!
//! In: text. Out: a [`Checked`] tree with the paths that it reads, or a refusal. The tree is rewritten
//! where plain CEL would not do: arithmetic takes whole numbers and fractions together, walks go over
//! lists or over the sorted keys of a map, patterns are compiled here and once.

use std::collections::BTreeSet;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SourceInfo, operators};
use regex::{Regex, RegexBuilder};

use super::evaluate::{ENV, WALK, arithmetic};
use super::scan::{self, End, Token};
use super::{ExprError, bounds, cost, explain};

/// What an expression reads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct References {
    /// Each path from its root, once, in the order of the text: `["steps", "restart-db", "outputs", "x"]`.
    /// An index that is only known later ends its path: all below may be read.
    pub paths: Vec<Vec<String>>,
    /// What a walk reads of each element of a list that is a path.
    pub walked: Vec<Walked>,
    /// Values that are compared with a text that is written out: the value's path, as it is written, and the text.
    pub compared: Vec<(Vec<String>, String)>,
}

/// A path below the name that a walk gives to its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walked {
    /// The list: `["steps", "look", "targets"]`.
    pub list: Vec<String>,
    /// From the name on: `["t", "outputs", "x"]`.
    pub path: Vec<String>,
}

pub(super) struct Checked {
    pub text: String,
    pub tree: IdedExpr,
    pub references: References,
    /// Paths that are compared with `null`, so that null is an answer there.
    pub may_be_null: BTreeSet<Vec<String>>,
    /// The patterns of `matches`, which the tree names by number.
    pub patterns: Vec<Regex>,
}

/// A function of the language.
struct Function {
    name: &'static str,
    /// In which it may be called: whether after a dot, and with how many values in parentheses.
    forms: &'static [(bool, usize)],
    usage: &'static str,
}

const fn function(name: &'static str, forms: &'static [(bool, usize)], usage: &'static str) -> Function {
    Function { name, forms, usage }
}

const FUNCTIONS: [Function; 9] = [
    function("size", &[(false, 1), (true, 0)], "size(value)"),
    function("contains", &[(true, 1)], "text.contains(part)"),
    function("startsWith", &[(true, 1)], "text.startsWith(part)"),
    function("endsWith", &[(true, 1)], "text.endsWith(part)"),
    function("matches", &[(true, 1), (false, 2)], "text.matches(\"pattern\")"),
    function("string", &[(false, 1)], "string(value)"),
    function("int", &[(false, 1)], "int(value)"),
    function("double", &[(false, 1)], "double(value)"),
    function("bool", &[(false, 1)], "bool(value)"),
];

/// What the parser turns into something else, so that it is met as a function only when called wrongly.
const WALKS: [(&str, &str); 7] = [
    ("map", "list.map(x, …)"),
    ("filter", "list.filter(x, …)"),
    ("all", "list.all(x, …)"),
    ("exists", "list.exists(x, …)"),
    ("exists_one", "list.exists_one(x, …)"),
    ("existsOne", "list.existsOne(x, …)"),
    ("has", "has(a.field)"),
];

/// The call that `text.matches("pattern")` becomes.
pub(super) const MATCHES: &str = "@matches";

pub(super) fn check(text: &str) -> Result<Checked, ExprError> {
    let scanned = scan::scan(text, End::Text)?;
    if scanned.tokens.is_empty() {
        return Err(ExprError::new("there is no expression"));
    }
    refuse_many_walks(text, &scanned.tokens)?;
    let (tree, info) = ENV.parser().parse_with_source_info(text).map_err(|errors| explain::syntax(text, &scanned.tokens, &errors))?;
    let mut checker = Checker {
        text,
        tokens: &scanned.tokens,
        info,
        bound: Vec::new(),
        walking: false,
        list: None,
        references: References::default(),
        may_be_null: BTreeSet::new(),
        patterns: Vec::new(),
    };
    let mut tree = tree;
    checker.visit(&mut tree)?;
    let checked =
        Checked { text: text.to_owned(), tree, references: checker.references, may_be_null: checker.may_be_null, patterns: checker.patterns };
    cost::refuse_costly(&checked, None)?;
    Ok(checked)
}

/// Counts the walks by their names, so that the parser sees few of them, nested or not.
fn refuse_many_walks(text: &str, tokens: &[Token]) -> Result<(), ExprError> {
    let word = |token: &Token| &text[token.start..token.end];
    let walks = tokens.windows(3).filter(|three| word(&three[0]) == "." && word(&three[2]) == "(").map(|three| &three[1]);
    let mut walks = walks.filter(|name| word(name) != "has" && WALKS.iter().any(|(walk, _)| *walk == word(name)));
    match walks.nth(bounds::WALKS) {
        Some(walk) => Err(ExprError::at(
            walk.start,
            format!("the expression walks over lists more than {} times: do some of it in a step of its own", bounds::WALKS),
        )),
        None => Ok(()),
    }
}

/// The path that `expr` spells, and whether all of `expr` belongs to it.
pub(super) fn path_of(expr: &Expr) -> Option<(Vec<String>, bool)> {
    match expr {
        Expr::Ident(name) => Some((vec![name.clone()], true)),
        Expr::Select(select) => {
            let (mut path, whole) = path_of(&select.operand.expr)?;
            if whole {
                path.push(select.field.clone());
            }
            Some((path, whole))
        }
        Expr::Call(call) if call.func_name == operators::INDEX => {
            let [operand, index] = call.args.as_slice() else { return None };
            let (mut path, whole) = path_of(&operand.expr)?;
            match &index.expr {
                Expr::Literal(LiteralValue::String(key)) if whole => {
                    path.push(key.inner().to_owned());
                    Some((path, true))
                }
                _ => Some((path, false)),
            }
        }
        _ => None,
    }
}

fn is_accumulator(expr: &IdedExpr) -> bool {
    matches!(&expr.expr, Expr::Ident(name) if name.starts_with('@'))
}

/// A text that is written out.
fn written(expr: &IdedExpr) -> Option<String> {
    if let Expr::Literal(LiteralValue::String(text)) = &expr.expr { Some(text.inner().to_owned()) } else { None }
}

fn is_null(expr: &IdedExpr) -> bool {
    matches!(expr.expr, Expr::Literal(LiteralValue::Null))
}

struct Checker<'t> {
    text: &'t str,
    tokens: &'t [Token],
    info: SourceInfo,
    /// Names that a walk gives to its elements.
    bound: Vec<String>,
    /// Within the body of a walk.
    walking: bool,
    /// The list that is walked over, where it is a path, and the name of its elements.
    list: Option<(String, Vec<String>)>,
    references: References,
    may_be_null: BTreeSet<Vec<String>>,
    patterns: Vec<Regex>,
}

impl Checker<'_> {
    fn visit(&mut self, expr: &mut IdedExpr) -> Result<(), ExprError> {
        let id = expr.id;
        if let Some((path, whole)) = path_of(&expr.expr) {
            let root = &path[0];
            if self.bound.contains(root) {
                self.walked(path);
            } else if !root.starts_with('@') && !self.references.paths.contains(&path) {
                self.references.paths.push(path);
            }
            return if whole { Ok(()) } else { self.visit_indices(expr) };
        }
        match &mut expr.expr {
            Expr::Literal(LiteralValue::Bytes(_)) => Err(self.error(id, "write text without the `b` before it")),
            Expr::Literal(LiteralValue::UInt(_)) => Err(self.error(id, "write the number without the `u` behind it")),
            Expr::Literal(_) | Expr::Ident(_) => Ok(()),
            Expr::Select(select) => self.visit(&mut select.operand),
            Expr::List(list) => list.elements.iter_mut().try_for_each(|element| self.visit(element)),
            Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| match &mut entry.expr {
                EntryExpr::MapEntry(entry) => self.visit(&mut entry.key).and_then(|()| self.visit(&mut entry.value)),
                EntryExpr::StructField(field) => self.visit(&mut field.value),
            }),
            Expr::Call(call) => self.visit_call(id, call),
            Expr::Comprehension(walk) => {
                self.visit(&mut walk.iter_range)?;
                if self.walking {
                    return Err(self.error(id, "one walk over a list cannot stand within another: compute the inner one in a step of its own"));
                }
                let range = std::mem::take(&mut walk.iter_range);
                self.list = path_of(&range.expr).filter(|(_, whole)| *whole).map(|(list, _)| (walk.iter_var.clone(), list));
                let range_id = range.id;
                walk.iter_range =
                    IdedExpr { id: range_id, expr: Expr::Call(CallExpr { func_name: WALK.to_owned(), target: None, args: vec![range] }) };
                self.walking = true;
                self.bound.push(walk.iter_var.clone());
                let body = self.visit(&mut walk.loop_step);
                self.bound.pop();
                self.walking = false;
                self.list = None;
                body
            }
            Expr::Struct(_) => Err(self.error(id, "`{` cannot follow a name")),
            Expr::Unspecified => Err(self.error(id, "this is not an expression")),
        }
    }

    /// What is read of an element of a list.
    fn walked(&mut self, path: Vec<String>) {
        let Some((name, list)) = &self.list else { return };
        let walked = Walked { list: list.clone(), path };
        if walked.path.first() == Some(name) && !self.references.walked.contains(&walked) {
            self.references.walked.push(walked);
        }
    }

    /// The indices of a path that ends in one that is only known later: they read paths of their own.
    fn visit_indices(&mut self, expr: &mut IdedExpr) -> Result<(), ExprError> {
        match &mut expr.expr {
            Expr::Select(select) => self.visit_indices(&mut select.operand),
            Expr::Call(call) => match call.args.as_mut_slice() {
                [operand, index] => {
                    self.visit_indices(operand)?;
                    self.visit(index)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn visit_call(&mut self, id: u64, call: &mut CallExpr) -> Result<(), ExprError> {
        if matches!(call.func_name.as_str(), operators::EQUALS | operators::NOT_EQUALS)
            && let [left, right] = call.args.as_slice()
        {
            let asked = if is_null(left) { Some(right) } else { is_null(right).then_some(left) };
            self.may_be_null.extend(asked.and_then(|asked| path_of(&asked.expr)).filter(|(_, whole)| *whole).map(|(path, _)| path));
            let compared = written(left).zip(path_of(&right.expr)).or_else(|| written(right).zip(path_of(&left.expr)));
            self.references.compared.extend(compared.filter(|(_, (_, whole))| *whole).map(|(text, (path, _))| (path, text)));
        }
        let operator = call.func_name.contains(['_', '@']) && call.func_name != "exists_one";
        if !operator {
            self.check_function(id, call)?;
        }
        if let Some(target) = &mut call.target {
            self.visit(target)?;
        }
        for argument in &mut call.args {
            self.visit(argument)?;
        }
        if let Some(name) = arithmetic(&call.func_name)
            && !call.args.first().is_some_and(is_accumulator)
        {
            name.clone_into(&mut call.func_name);
        }
        Ok(())
    }

    fn check_function(&mut self, id: u64, call: &mut CallExpr) -> Result<(), ExprError> {
        let name = call.func_name.as_str();
        let form = (call.target.is_some(), call.args.len());
        match FUNCTIONS.iter().find(|function| function.name == name) {
            Some(function) if function.forms.contains(&form) => {}
            Some(function) => return Err(self.error(id, format!("`{name}` is called as {}", function.usage))),
            None => {
                if let Some((_, usage)) = WALKS.iter().find(|(known, _)| *known == name) {
                    return Err(self.error(id, format!("`{name}` is called as {usage}")));
                }
                let known = FUNCTIONS.iter().map(|function| function.name).chain(WALKS.iter().map(|(known, _)| *known));
                let meant = crate::catalogue::nearest(name, known).map_or_else(String::new, |meant| format!(": did you mean `{meant}`?"));
                return Err(self.error(id, format!("there is no function `{}`{meant}", explain::short(name))));
            }
        }
        if name == "matches" { self.take_pattern(id, call) } else { Ok(()) }
    }

    /// Compiles the pattern of `matches`, which has to stand in the text, and leaves its number.
    fn take_pattern(&mut self, id: u64, call: &mut CallExpr) -> Result<(), ExprError> {
        let Some(Expr::Literal(LiteralValue::String(pattern))) = call.args.last().map(|argument| &argument.expr) else {
            return Err(self.error(id, "the pattern of `matches` is written as text, so that it can be checked with the plan"));
        };
        let pattern = pattern.inner();
        if pattern.len() > bounds::PATTERN_BYTES {
            return Err(self.error(id, format!("the pattern of `matches` is longer than {} bytes", bounds::PATTERN_BYTES)));
        }
        let limit = bounds::PATTERN_COMPILED_BYTES;
        let compiled = match RegexBuilder::new(pattern).size_limit(limit).dfa_size_limit(4 * limit).build() {
            Ok(compiled) => compiled,
            Err(regex::Error::CompiledTooBig(_)) => return Err(self.error(id, "the pattern of `matches` is too costly: repeat less")),
            Err(_) => return Err(self.error(id, "the pattern of `matches` is not a regular expression")),
        };
        let number = i64::try_from(self.patterns.len()).unwrap_or(i64::MAX);
        self.patterns.push(compiled);
        if let Some(last) = call.args.last_mut() {
            last.expr = Expr::Literal(LiteralValue::Int(number.into()));
        }
        if let Some(target) = call.target.take() {
            call.args.insert(0, *target);
        }
        MATCHES.clone_into(&mut call.func_name);
        Ok(())
    }

    fn error(&self, id: u64, message: impl Into<String>) -> ExprError {
        let offset = self.info.offset_for(id).and_then(|(start, _)| explain::byte_of(self.text, start as usize));
        let offset = offset.and_then(|offset| self.tokens.iter().find(|token| token.start <= offset && offset < token.end)).map(|token| token.start);
        ExprError { message: message.into(), offset }
    }
}
