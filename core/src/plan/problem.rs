//! What is wrong with a plan, where, and what was meant.

use std::fmt;

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Counts from 1; 0 where the problem is the whole document's.
    pub line: u64,
    /// Counts from 1, in characters.
    pub column: u64,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.message) } else { write!(f, "{}:{}: {}", self.line, self.column, self.message) }
    }
}

/// Every problem of a plan, in the order of the document. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanError {
    pub problems: Vec<Problem>,
}

impl PlanError {
    /// The problems as text of about so many bytes; of those that do not fit, how many they are.
    #[must_use]
    pub fn brief(&self, most: usize) -> String {
        let mut text = String::new();
        for (i, problem) in self.problems.iter().enumerate() {
            let line = problem.to_string();
            if i > 0 && text.len() + line.len() > most {
                return text + &format!("\n… and {} more", self.problems.len() - i);
            }
            text += if i > 0 { "\n" } else { "" };
            text.extend(line.chars().take(most));
        }
        text
    }

    pub(super) fn whole(message: impl Into<String>) -> PlanError {
        PlanError { problems: vec![Problem { line: 0, column: 0, message: message.into() }] }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_problems_is_cut_short_and_says_so() {
        let problem = |line| Problem { line, column: 1, message: "x".repeat(20) };
        let error = PlanError { problems: (1..=9).map(problem).collect() };
        assert_eq!(error.brief(1_000), error.to_string());
        let brief = error.brief(60);
        assert!(brief.starts_with("1:1: xxx") && brief.ends_with("\n… and 7 more"), "{brief}");
        assert_eq!(PlanError::whole("y".repeat(100)).brief(10).len(), 10);
    }
}
