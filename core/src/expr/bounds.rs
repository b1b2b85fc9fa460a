//! Every limit on an expression, with its reason. The first four hold before a parser sees the text, the
//! others before anything is computed from values.

/// Text of one expression: more belongs into a step of its own.
pub const TEXT_BYTES: usize = 2 << 10;
/// Names, values and operators of one expression. The parser and the evaluator call themselves once for
/// each at worst, so this bounds the stack.
pub const PARTS: usize = 100;
/// Parentheses, brackets and braces within each other. A parser of eight levels of precedence takes all
/// of them for each.
pub const NESTING: usize = 10;
/// Walks over lists, one after another. Each can double what the one before it left.
pub const WALKS: usize = 4;
/// Pattern of `matches`: it is compiled when the plan is checked.
pub const PATTERN_BYTES: usize = 256;
/// What a compiled pattern may take, so that `a{1000}{1000}` is refused instead of built.
pub const PATTERN_COMPILED_BYTES: usize = 64 << 10;
/// All values that one evaluation reads, together, and its result.
pub const VALUE_BYTES: usize = 64 << 10;
/// Any value on the way to the result, by estimate.
pub const BETWEEN_BYTES: u64 = 1 << 20;
/// Elements that `map`, `filter`, `all`, `exists` and `exists_one` walk.
pub const WALKED: u64 = 10_000;
/// Bytes touched by one evaluation, by estimate: some tens of milliseconds at the very most.
pub const WORK: u64 = 32 << 20;
/// Maps and lists within each other, in what is read and what results.
pub const VALUE_DEPTH: usize = 32;
