//! What this agent lets the mesh do here.
//!
//! In: a policy file that the mesh cannot write, a step kind, a command. Out: allowed, or refused with the
//! line to add. Without a file, kinds that only look are allowed and nothing else.
//!
//! ```toml
//! [policy]
//! allow = ["node.exec", "lease.hold"]    # "*" allows every kind
//!
//! [[policy.exec]]                        # one rule matching is enough
//! command = ["/usr/bin/touch", "/tmp/*"] # program exactly; then one glob an argument; a last "**" is any rest
//! env = ["APP_*"]                        # what a step may set besides; nothing, if left out
//! ```

use glob::{MatchOptions, Pattern};
use mainstay_core::catalogue::{self, Effect};
use serde::Deserialize;

/// The last pattern of a rule that stands for any further arguments.
const ANY_REST: &str = "**";

/// A policy that has been checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Policy {
    allow: Vec<String>,
    exec: Vec<ExecRule>,
}

/// One command that may run.
#[derive(Debug, Clone, PartialEq)]
struct ExecRule {
    program: String,
    arguments: Vec<Pattern>,
    any_rest: bool,
    /// Names that the environment may be added to with: a variable such as LD_PRELOAD is a command too.
    env: Vec<Pattern>,
}

/// Why a policy file is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("the policy file is not valid: {0}")]
    Syntax(String),
    #[error("`[policy] allow` names `{0}`, which is no step kind{1}")]
    UnknownKind(String, String),
    #[error("rule {0} of `[[policy.exec]]`: {1}")]
    Rule(usize, String),
}

/// Why the policy does not let something be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("this agent's policy does not allow {0}: start it again with it in its policy file, under [policy]:  allow = [\"{0}\"]")]
    Kind(String),
    #[error(
        "this agent's policy has no rule for this command: start it again with one in its policy file, and with the argument itself for a `*` that is to be no wider:  [[policy.exec]]  command = {0}"
    )]
    Command(String),
    #[error("this agent's policy does not let this command have the variable {0}: start it again with it in the rule:  env = [\"{0}\"]")]
    Variable(String),
    #[error("the program must be an absolute path, and `{0}` is not")]
    Relative(String),
    #[error("there is no command")]
    Empty,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    policy: Section,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Section {
    allow: Vec<String>,
    exec: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    command: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// When it is not TOML, has an unknown key, names an unknown kind, or a rule that can never hold.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        let File { policy } = toml::from_str(text).map_err(|error| PolicyError::Syntax(error.to_string()))?;
        if let Some(name) = policy.allow.iter().find(|name| *name != "*" && catalogue::kind(name).is_none()) {
            let meant = catalogue::nearest(name, catalogue::KINDS.iter().map(|kind| kind.name));
            return Err(PolicyError::UnknownKind(name.clone(), meant.map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"))));
        }
        let exec =
            policy.exec.iter().enumerate().map(|(i, rule)| ExecRule::new(&rule.command, &rule.env).map_err(|why| PolicyError::Rule(i + 1, why)));
        Ok(Policy { exec: exec.collect::<Result<_, _>>()?, allow: policy.allow })
    }

    /// Whether a step of this kind may be carried out. A kind that the catalogue does not know may not.
    ///
    /// # Errors
    /// Denied, with the line to add.
    pub fn allows_kind(&self, kind: &str) -> Result<(), Denied> {
        let reads = catalogue::kind(kind).is_some_and(|kind| kind.effect == Effect::Read);
        if reads || self.allow.iter().any(|allowed| allowed == kind || allowed == "*") { Ok(()) } else { Err(Denied::Kind(kind.to_owned())) }
    }

    /// Whether `node.exec` may run this command with these variables.
    ///
    /// # Errors
    /// Denied, with the rule to add.
    pub fn allows_command<'a>(&self, command: &[String], variables: impl IntoIterator<Item = &'a str> + Clone) -> Result<(), Denied> {
        let program = command.first().filter(|program| !program.is_empty()).ok_or(Denied::Empty)?;
        if !is_plain_absolute(program) {
            return Err(Denied::Relative(program.clone()));
        }
        let mut without_variable = None;
        for rule in self.exec.iter().filter(|rule| rule.matches(command)) {
            match variables.clone().into_iter().find(|name| !rule.env.iter().any(|pattern| pattern.matches(name))) {
                None => return Ok(()),
                Some(name) => without_variable = Some(Denied::Variable(name.to_owned())),
            }
        }
        // The arguments may hold what is nobody's business; their number is enough to write the rule.
        let arguments = || ", \"*\"".repeat(command.len().min(8) - 1);
        Err(without_variable.unwrap_or_else(|| Denied::Command(format!("[\"{program}\"{}]", arguments()))))
    }
}

/// Absolute, and without a part that leads elsewhere than it reads.
fn is_plain_absolute(path: &str) -> bool {
    path.starts_with('/') && !path.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) && !path.contains('\0')
}

impl ExecRule {
    fn new(command: &[String], env: &[String]) -> Result<ExecRule, String> {
        let (program, arguments) = command.split_first().ok_or("`command` is empty")?;
        if !is_plain_absolute(program) {
            return Err(format!("`{program}` is not the absolute path of a program"));
        }
        let any_rest = arguments.last().is_some_and(|last| last == ANY_REST);
        let arguments = &arguments[..arguments.len() - usize::from(any_rest)];
        let patterns = arguments.iter().map(|pattern| match Pattern::new(pattern) {
            _ if pattern == ANY_REST => Err("`**` stands for the rest, and only at the end".to_owned()),
            Ok(pattern) => Ok(pattern),
            Err(error) => Err(format!("`{pattern}`: {error}")),
        });
        let arguments = patterns.collect::<Result<_, _>>()?;
        let env = env.iter().map(|pattern| Pattern::new(pattern).map_err(|error| format!("`{pattern}` in `env`: {error}")));
        Ok(ExecRule { program: program.clone(), arguments, any_rest, env: env.collect::<Result<_, _>>()? })
    }

    fn matches(&self, command: &[String]) -> bool {
        let Some((program, arguments)) = command.split_first() else { return false };
        let enough = if self.any_rest { arguments.len() >= self.arguments.len() } else { arguments.len() == self.arguments.len() };
        program == &self.program && enough && self.arguments.iter().zip(arguments).all(|(pattern, argument)| argument_matches(pattern, argument))
    }
}

/// `*` covers a slash only as the whole pattern, and never lets a path climb out: `/tmp/*` is not `/tmp/../etc`.
fn argument_matches(pattern: &Pattern, argument: &str) -> bool {
    if pattern.as_str() == "*" {
        return true;
    }
    let options = MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };
    let climbs = argument.split('/').any(|part| part == "..");
    pattern.as_str() == argument || (!climbs && pattern.matches_with(argument, options))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const POLICY: &str = r#"
        [policy]
        allow = ["node.exec"]
        [[policy.exec]]
        command = ["/usr/bin/touch", "/tmp/*"]
        [[policy.exec]]
        command = ["/usr/bin/logger", "*"]
        env = ["APP_*"]
        [[policy.exec]]
        command = ["/usr/bin/apt-get", "update", "**"]
    "#;

    fn command(words: &str) -> Vec<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn without_a_file_only_what_looks_is_allowed() {
        let policy = Policy::parse("").unwrap();
        for kind in catalogue::KINDS {
            assert_eq!(policy.allows_kind(kind.name).is_ok(), kind.effect == Effect::Read, "{}", kind.name);
        }
        assert_eq!(policy.allows_kind("no.such"), Err(Denied::Kind("no.such".into())));
    }

    #[test]
    fn kinds_are_allowed_by_name_or_all() {
        assert_eq!(Policy::parse(POLICY).unwrap().allows_kind("node.exec"), Ok(()));
        assert_eq!(Policy::parse(POLICY).unwrap().allows_kind("lease.hold"), Err(Denied::Kind("lease.hold".into())));
        assert_eq!(Policy::parse("[policy]\nallow = [\"*\"]").unwrap().allows_kind("lease.hold"), Ok(()));
    }

    #[test]
    fn commands_match_by_program_and_arguments() {
        let policy = Policy::parse(POLICY).unwrap();
        for (words, allowed) in [
            ("/usr/bin/touch /tmp/marker", true),
            ("/usr/bin/touch /tmp/../etc/passwd", false),
            ("/usr/bin/touch /tmp/a/b", false),
            ("/usr/bin/touch /etc/passwd", false),
            ("/usr/bin/touch", false),
            ("/usr/bin/touch /tmp/a /tmp/b", false),
            ("/usr/bin/logger anything/at..all", true),
            ("/usr/bin/apt-get update", true),
            ("/usr/bin/apt-get update -q -y", true),
            ("/usr/bin/apt-get install x", false),
            ("/usr/bin/touch2 /tmp/marker", false),
            ("/bin/sh -c x", false),
        ] {
            assert_eq!(policy.allows_command(&command(words), []).is_ok(), allowed, "{words}");
        }
    }

    #[test]
    fn a_refusal_names_the_rule_without_the_arguments() {
        let policy = Policy::parse(POLICY).unwrap();
        let denied = policy.allows_command(&command("/usr/bin/curl -H token=abc"), []).unwrap_err().to_string();
        assert!(denied.ends_with(r#"[[policy.exec]]  command = ["/usr/bin/curl", "*", "*"]"#), "{denied}");
        assert_eq!(policy.allows_command(&command("touch /tmp/x"), []), Err(Denied::Relative("touch".into())));
        assert_eq!(policy.allows_command(&command("/usr/../bin/sh"), []), Err(Denied::Relative("/usr/../bin/sh".into())));
        assert_eq!(policy.allows_command(&[], []), Err(Denied::Empty));
    }

    #[test]
    fn variables_are_allowed_by_the_rule_of_the_command() {
        let policy = Policy::parse(POLICY).unwrap();
        let with = |words: &str, name: &'static str| policy.allows_command(&command(words), [name]);
        assert_eq!(with("/usr/bin/logger x", "APP_NAME"), Ok(()));
        assert_eq!(with("/usr/bin/logger x", "LD_PRELOAD"), Err(Denied::Variable("LD_PRELOAD".into())));
        assert_eq!(with("/usr/bin/touch /tmp/x", "APP_NAME"), Err(Denied::Variable("APP_NAME".into())));
    }

    #[test]
    fn a_bad_file_is_refused_whole() {
        for (text, part) in [
            ("[policy]\nalow = []", "unknown field `alow`"),
            ("[policy]\nallow = [\"node.exce\"]", "did you mean `node.exec`?"),
            ("[[policy.exec]]\ncommand = []", "rule 1 of `[[policy.exec]]`: `command` is empty"),
            ("[[policy.exec]]\ncommand = [\"touch\"]", "`touch` is not the absolute path"),
            ("[[policy.exec]]\ncommand = [\"/a\", \"**\", \"b\"]", "only at the end"),
            ("[[policy.exec]]\ncommand = [\"/a\", \"[\"]", "`[`: "),
            ("not toml", "the policy file is not valid"),
        ] {
            let error = Policy::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
