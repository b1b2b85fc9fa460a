//! How much an expression can cost at the very most, found without evaluating it.
//!
//! In: the checked tree and, where they are known, the variables. Out: a refusal, or nothing. Each part
//! of the tree is given an upper bound of the bytes of its value, and of the bytes that are touched to
//! make it; the body of a walk counts once for each element. Without variables, what they hold counts as
//! empty: what is refused then would be refused always, so a plan never gets it past its check.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators};
use serde_json::Value;

use super::check::{Checked, MATCHES, path_of};
use super::evaluate::WALK;
use super::{ExprError, bounds, explain, value};

/// What is known of a value before it is there.
#[derive(Debug, Clone, Copy, Default)]
struct Shape {
    bytes: u64,
    /// Elements, of a list or a map.
    elements: u64,
    /// Bytes of the largest element.
    largest: u64,
}

/// Visiting one part, in bytes that could be touched meanwhile.
const VISIT: u64 = 64;
/// A pattern looks at each byte of a text in up to so many states.
const PATTERN: u64 = 256;
const SCALAR: Shape = Shape { bytes: 8, elements: 0, largest: 0 };

pub(super) fn refuse_costly(checked: &Checked, variables: Option<&Value>) -> Result<(), ExprError> {
    if let Some(variables) = variables {
        let mut sum = 0u64;
        for path in &checked.references.paths {
            let read = explain::find(variables, path).map_or(Some(0), value::size);
            let read = read.ok_or_else(|| ExprError::new(format!("`{}` holds maps and lists within each other too deep", explain::path(path))))?;
            sum = sum.saturating_add(read);
            if sum > bounds::VALUE_BYTES as u64 {
                let (most, path) = (bounds::VALUE_BYTES >> 10, explain::path(path));
                return Err(ExprError::new(format!("`{}` reads more than {most} KiB, with `{path}`", explain::short(&checked.text))));
            }
        }
    }
    let mut estimate = Estimate { variables, bound: None, work: 0, refused: false };
    estimate.of(&checked.tree);
    if estimate.refused || estimate.work > bounds::WORK {
        return Err(ExprError::new(format!(
            "`{}` could take too much time or memory: make it smaller, or the lists that it walks",
            explain::short(&checked.text)
        )));
    }
    Ok(())
}

struct Estimate<'v> {
    variables: Option<&'v Value>,
    /// The name and the shape of the element that is walked over.
    bound: Option<(String, Shape)>,
    work: u64,
    refused: bool,
}

impl Estimate<'_> {
    fn of(&mut self, expr: &IdedExpr) -> Shape {
        let shape = self.shape(expr);
        self.touch(VISIT);
        self.refused |= shape.bytes > bounds::BETWEEN_BYTES;
        shape
    }

    fn touch(&mut self, bytes: u64) {
        self.work = self.work.saturating_add(bytes);
    }

    fn shape(&mut self, expr: &IdedExpr) -> Shape {
        if let Some((path, true)) = path_of(&expr.expr)
            && self.bound.as_ref().is_none_or(|(name, _)| *name != path[0])
        {
            // What a walk has gathered so far is counted with the walk.
            if path[0].starts_with('@') {
                return Shape::default();
            }
            return self.variables.and_then(|variables| explain::find(variables, &path)).map_or(SCALAR, known);
        }
        match &expr.expr {
            Expr::Literal(LiteralValue::String(text)) => Shape { bytes: 8 + text.inner().len() as u64, ..SCALAR },
            Expr::Ident(_) => self.bound.as_ref().map_or(SCALAR, |(_, shape)| *shape),
            Expr::Select(select) => element(self.of(&select.operand)),
            Expr::List(list) => {
                let list = list.elements.iter().fold(SCALAR, |sum, element| gather(sum, self.of(element), 1));
                self.touch(list.bytes);
                list
            }
            Expr::Map(map) => {
                let map = map.entries.iter().fold(SCALAR, |sum, entry| {
                    let (key, value) = match &entry.expr {
                        EntryExpr::MapEntry(entry) => (self.of(&entry.key), self.of(&entry.value)),
                        EntryExpr::StructField(field) => (SCALAR, self.of(&field.value)),
                    };
                    gather(gather(sum, key, 0), value, 1)
                });
                self.touch(map.bytes);
                map
            }
            Expr::Call(call) => self.call(call),
            Expr::Comprehension(walk) => self.walk(walk),
            Expr::Literal(_) | Expr::Struct(_) | Expr::Unspecified => SCALAR,
        }
    }

    fn call(&mut self, call: &CallExpr) -> Shape {
        let shapes: Vec<Shape> = call.target.iter().map(|target| &**target).chain(&call.args).map(|argument| self.of(argument)).collect();
        let all = shapes.iter().fold(Shape::default(), |sum, shape| Shape {
            bytes: sum.bytes.saturating_add(shape.bytes),
            elements: sum.elements.saturating_add(shape.elements),
            largest: sum.largest.max(shape.largest),
        });
        let first = shapes.first().copied().unwrap_or(SCALAR);
        // Whatever a call does, it looks at its values once or copies them once. These do neither.
        let at_once = matches!(call.func_name.as_str(), operators::INDEX | operators::CONDITIONAL) || call.func_name == "size" && all.elements > 0;
        if !at_once {
            self.touch(all.bytes.saturating_add(all.elements));
        }
        match call.func_name.as_str() {
            // Two numbers: text and lists that are not empty are larger.
            "@add" if shapes.iter().all(|shape| shape.bytes <= SCALAR.bytes) => SCALAR,
            "@add" | operators::ADD | operators::CONDITIONAL => all,
            operators::INDEX => element(first),
            // A map is walked by its keys, which are smaller than the whole.
            WALK => Shape { largest: first.largest.max(if first.elements == 0 { first.bytes } else { 0 }), ..first },
            // The digits of a number are more than its bytes.
            "string" => Shape { bytes: first.bytes.max(32), ..SCALAR },
            MATCHES => {
                self.touch(first.bytes.saturating_mul(PATTERN));
                SCALAR
            }
            _ => SCALAR,
        }
    }

    fn walk(&mut self, walk: &ComprehensionExpr) -> Shape {
        let range = self.of(&walk.iter_range);
        self.refused |= range.elements > bounds::WALKED;
        let before = self.work;
        let outer = self.bound.replace((walk.iter_var.clone(), element(range)));
        let step = self.of(&walk.loop_step);
        self.bound = outer;
        let once = self.work.saturating_sub(before).saturating_add(range.largest).saturating_add(4 * VISIT);
        self.work = before.saturating_add(once.saturating_mul(range.elements));
        Shape { bytes: SCALAR.bytes.saturating_add(step.bytes.saturating_mul(range.elements)), elements: range.elements, largest: step.bytes }
    }
}

fn known(value: &Value) -> Shape {
    let bytes = |value: &Value| value::size(value).unwrap_or(u64::MAX);
    match value {
        Value::Array(list) => Shape { bytes: bytes(value), elements: list.len() as u64, largest: list.iter().map(bytes).max().unwrap_or(0) },
        Value::Object(map) => Shape {
            bytes: bytes(value),
            elements: map.len() as u64,
            largest: map.iter().map(|(key, value)| bytes(value).max(8 + key.len() as u64)).max().unwrap_or(0),
        },
        _ => Shape { bytes: bytes(value), ..SCALAR },
    }
}

/// An element of a value: it has at most as many bytes as the largest, and as many elements as bytes.
fn element(of: Shape) -> Shape {
    Shape { bytes: of.largest, elements: of.largest / 8, largest: of.largest }
}

fn gather(sum: Shape, part: Shape, elements: u64) -> Shape {
    Shape { bytes: sum.bytes.saturating_add(part.bytes), elements: sum.elements.saturating_add(elements), largest: sum.largest.max(part.bytes) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::expr::{check::check, evaluate::evaluate};

    #[test]
    fn no_result_is_larger_than_its_estimate() {
        let variables = json!({ "v": {
            "list": ["a", "bcd", "", "efghijklmnop"], "numbers": [1, -2, 3.5], "map": { "a long key": 1, "b": "c" }, "deep": [[1, [2, 3]], { "x": [4] }], "text": "äö", "n": 7,
        } });
        for text in [
            "v",
            "v.list + v.list + [v.text]",
            "v.text + v.text + 'x'",
            "v.n + 1",
            "v.n * 2.5 - 1",
            "string(v.n) + string(2.5) + string(true)",
            "v.list.map(x, x + x)",
            "v.list.map(x, [x, v.list])",
            "v.list.map(x, x != 'a', {'key': x, 'other key': x + 'y'})",
            "v.list.filter(x, x.size() > 1)",
            "v.map.map(key, key + key)",
            "v.map.map(key, [key, v.map[key]])",
            "{'a much longer key': 1, 'b': 2}.map(key, key + '!')",
            "v.deep[0]",
            "v.deep[0][1].map(x, [x])",
            "v.deep.map(x, x)",
            "v.deep[1].x + v.numbers",
            "v.n > 3 ? v.list : v.numbers",
            "v.numbers.map(x, x + 1).map(x, [x, x]).map(x, x + x)",
            "v.list.exists(x, x == 'bcd')",
            "[v.list, v.list][1]",
            "[{'a': v.list}][0].a",
        ] {
            let checked = check(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let result = evaluate(&checked, &variables).unwrap_or_else(|error| panic!("{text}: {error}"));
            let mut estimate = Estimate { variables: Some(&variables), bound: None, work: 0, refused: false };
            let shape = estimate.of(&checked.tree);
            let size = value::size(&result).unwrap_or(u64::MAX);
            assert!(size <= shape.bytes, "{text}: {size} of {shape:?}");
            let elements = result.as_array().map_or(0, Vec::len).max(result.as_object().map_or(0, serde_json::Map::len));
            assert!(elements as u64 <= shape.elements, "{text}: {elements} of {shape:?}");
        }
    }
}
