//! How long a costly expression takes to be refused.

use std::time::Instant;

use mainstay_core::expr::Expression;

use crate::results::Row;

const TIMES: usize = 20;

/// The slowest of the texts that must not cost anything, each at its slowest, the first one included.
pub fn measure() -> Row {
    let costly = [
        ("seven nested walks", "[1,2,3,4,5,6,7,8].map(a,".repeat(7) + "a" + &")".repeat(7)),
        ("200 KB of 1+1+…", vec!["1"; 100_000].join("+")),
        ("nested doublings", format!("['xxxxxxxx']{}", ".map(x, x + x)".repeat(19))),
        ("20,000 parentheses", "(".repeat(20_000) + "1" + &")".repeat(20_000)),
        ("a pattern of a billion", "'a'.matches('(a{1000}){1000}{1000}')".to_owned()),
    ];
    let mut worst = (0.0, "");
    for (name, text) in &costly {
        for _ in 0..TIMES {
            let begun = Instant::now();
            let refused = Expression::parse(text).is_err();
            let took = begun.elapsed().as_secs_f64() * 1_000.0;
            assert!(refused, "{name} is accepted");
            if took > worst.0 {
                worst = (took, name);
            }
        }
    }
    Row::below("expr.refuse", "ms", worst.0, 10.0, &format!("slowest of {} costly expressions, each {TIMES} times: {}", costly.len(), worst.1))
}
