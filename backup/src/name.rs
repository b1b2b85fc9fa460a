//! Names: of what is backed up, of a backup, and of its objects in a store.
//!
//! ```text
//! CLUSTER/TARGET/20261130T020000Z-3.42/begun.json       first: who writes it
//!                                      PART.zst.age     what was backed up
//!                                      manifest.json    last: what it is, or that it is void
//!                                      sealed.json      who made it void
//!                                      receipt.json     that the catalogue counts it
//! ```
//!
//! Beside them are the target's keys: [`Beside`].

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

mod beside;

pub use beside::{Beside, beside};

/// Longest part of a name.
const SEGMENT_MAX: usize = 63;
/// How a time is written within a name, in UTC.
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// What the object of a part ends with.
const PART_END: &str = ".zst.age";

/// Not a name, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not {what}")]
pub struct NotAName {
    name: String,
    what: &'static str,
}

fn not(name: &str, what: &'static str) -> NotAName {
    NotAName { name: name.to_owned(), what }
}

/// Letters, digits, `.`, `_` and `-`, beginning with a letter or a digit: good in a path, an URL and a file system.
fn is_segment(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    begins && text.len() <= SEGMENT_MAX && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// What is backed up, again and again: `CLUSTER/TARGET`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target {
    cluster: String,
    name: String,
}

impl Target {
    /// Where it is.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Checked.
    ///
    /// # Errors
    /// When one of the two cannot be part of an object's name.
    pub fn new(cluster: &str, name: &str) -> Result<Target, NotAName> {
        let segment = |text: &str| is_segment(text).then(|| text.to_owned());
        let what = "CLUSTER/TARGET, each up to 63 letters, digits, `.`, `_` and `-`";
        let (Some(cluster), Some(name)) = (segment(cluster), segment(name)) else { return Err(not(&format!("{cluster}/{name}"), what)) };
        Ok(Target { cluster, name })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.name)
    }
}

impl FromStr for Target {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Target, NotAName> {
        let (cluster, name) = text.split_once('/').ok_or_else(|| not(text, "CLUSTER/TARGET"))?;
        Target::new(cluster, name)
    }
}

/// Fencing token of the lease under which a backup is made: a later grant has a greater one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token {
    /// Of the mesh. Greater after it was rebuilt.
    pub incarnation: u64,
    /// Greater at each grant.
    pub counter: u64,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.counter)
    }
}

impl FromStr for Token {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Token, NotAName> {
        // One spelling for each token, so that a name says one thing.
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| number.to_string() == text);
        let parts = text.split_once('.').and_then(|(incarnation, counter)| Some((number(incarnation)?, number(counter)?)));
        let (incarnation, counter) = parts.ok_or_else(|| not(text, "a token, INCARNATION.COUNTER"))?;
        Ok(Token { incarnation, counter })
    }
}

/// One backup: of what, as of when, under which token.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id {
    /// What was backed up.
    pub target: Target,
    /// When it began, to the second.
    pub time: Timestamp,
    /// Of the lease it was made under.
    pub token: Token,
}

impl Id {
    /// The second in which it begins counts.
    #[must_use]
    pub fn new(target: Target, time: Timestamp, token: Token) -> Id {
        // A second that lies within the range of a timestamp is one.
        let time = Timestamp::from_second(time.as_second()).unwrap_or(time);
        Id { target, time, token }
    }

    /// `TIME-TOKEN`, unique for the target.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}", self.time.to_zoned(TimeZone::UTC).strftime(TIME), self.token)
    }

    /// The full name of one of its objects.
    #[must_use]
    pub fn object(&self, object: &Object) -> String {
        format!("{self}/{object}")
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.target, self.name())
    }
}

impl FromStr for Id {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Id, NotAName> {
        let what = "a backup, CLUSTER/TARGET/TIME-TOKEN";
        let parse = || {
            let (target, name) = text.rsplit_once('/')?;
            let (time, token) = name.split_once('-')?;
            let time = jiff::civil::DateTime::strptime(TIME, time).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
            let id = Id::new(target.parse().ok()?, time, token.parse().ok()?);
            (id.to_string() == text).then_some(id)
        };
        parse().ok_or_else(|| not(text, what))
    }
}

/// An object of a backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// Who began, written before everything else.
    Begun,
    /// What was backed up, under the name of the part.
    Part(String),
    /// What it is, written last.
    Manifest,
    /// That somebody made it void.
    Sealed,
    /// That the catalogue counts it.
    Receipt,
}

impl Object {
    /// The object of a part.
    ///
    /// # Errors
    /// When the part's name cannot be part of an object's name.
    pub fn part(name: &str) -> Result<Object, NotAName> {
        if is_segment(name) { Ok(Object::Part(name.to_owned())) } else { Err(not(name, "a part: up to 63 letters, digits, `.`, `_` and `-`")) }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::Begun => f.write_str("begun.json"),
            Object::Part(name) => write!(f, "{name}{PART_END}"),
            Object::Manifest => f.write_str("manifest.json"),
            Object::Sealed => f.write_str("sealed.json"),
            Object::Receipt => f.write_str("receipt.json"),
        }
    }
}

/// Whose an object is, by its full name. Nothing when it is no part of a backup.
#[must_use]
pub fn owner(full: &str) -> Option<(Id, Object)> {
    let (id, object) = full.rsplit_once('/')?;
    let object = match object {
        "begun.json" => Object::Begun,
        "manifest.json" => Object::Manifest,
        "sealed.json" => Object::Sealed,
        "receipt.json" => Object::Receipt,
        other => Object::part(other.strip_suffix(PART_END)?).ok()?,
    };
    Some((id.parse().ok()?, object))
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = NotAName;

            fn try_from(text: String) -> Result<$name, NotAName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.to_string()
            }
        }
    )*};
}
as_text!(Target, Token, Id);

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Id {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        let text = "prod/orders-db/20261130T020000Z-3.42";
        let read = id(text);
        assert_eq!(read.to_string(), text);
        assert_eq!(read.time.to_string(), "2026-11-30T02:00:00Z");
        assert_eq!(read.token, Token { incarnation: 3, counter: 42 });
        let full = read.object(&Object::part("dump").unwrap());
        assert_eq!(full, format!("{text}/dump.zst.age"));
        for object in [Object::Begun, Object::Part("dump".to_owned()), Object::Manifest, Object::Sealed, Object::Receipt] {
            assert_eq!(owner(&read.object(&object)), Some((read.clone(), object)));
        }
    }

    #[test]
    fn a_part_of_a_second_is_not_in_the_name() {
        let time: Timestamp = "2026-11-30T02:00:00.9Z".parse().unwrap();
        let made = Id::new("prod/db".parse().unwrap(), time, "1.1".parse().unwrap());
        assert_eq!(id(&made.to_string()), made);
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "/", "a", "a/", "/b", "a/b/c", "../b", "a/..", "a/b c", "a/.b", "ä/b"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        for text in ["", "1", "1.", ".1", "01.1", "1.01", "1.1.1", "-1.1", "+1.1", "1.99999999999999999999"] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
        for text in ["a/b", "a/b/20261130T020000Z", "a/b/20261330T020000Z-1.1", "a/b/20261130-1.1", "b/20261130T020000Z-1.1"] {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
        for name in ["", "a/b", "..", "a b"] {
            assert!(Object::part(name).is_err(), "{name}");
        }
        for full in ["a/b/20261130T020000Z-1.1/x", "a/b/20261130T020000Z-1.1/.zst.age", "manifest.json", "a/b/manifest.json"] {
            assert_eq!(owner(full), None, "{full}");
        }
    }

    #[test]
    fn tokens_grow_across_incarnations() {
        let token = |text: &str| text.parse::<Token>().unwrap();
        assert!(token("1.9") < token("1.10"));
        assert!(token("1.10") < token("2.1"));
    }
}
