//! Objects of a target that lie beside its backups.
//!
//! ```text
//! CLUSTER/TARGET/key-1.age         secret key of the target, encrypted
//!                key-1.json        its public half, who can open it, and who says so
//!                erased-1.json     that all keys up to this one are destroyed
//! ```

use std::fmt;

use super::Target;

/// Such an object, with the generation of the key that it is about; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Beside {
    /// The secret key.
    Secret(u32),
    /// What is known of it without opening it.
    Public(u32),
    /// That it, and all before it, are destroyed.
    Erased(u32),
}

impl Beside {
    /// Its full name.
    #[must_use]
    pub fn of(self, target: &Target) -> String {
        format!("{target}/{self}")
    }

    /// Of which key.
    #[must_use]
    pub fn generation(self) -> u32 {
        match self {
            Beside::Secret(generation) | Beside::Public(generation) | Beside::Erased(generation) => generation,
        }
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Beside::Secret(generation) => write!(f, "key-{generation}.age"),
            Beside::Public(generation) => write!(f, "key-{generation}.json"),
            Beside::Erased(generation) => write!(f, "erased-{generation}.json"),
        }
    }
}

/// Whose an object is that lies beside backups, by its full name. Nothing when it is none.
#[must_use]
pub fn beside(full: &str) -> Option<(Target, Beside)> {
    let (target, object) = full.rsplit_once('/')?;
    let (stem, end) = object.rsplit_once('.')?;
    let (what, generation) = stem.split_once('-')?;
    // One spelling for each number, so that a name says one thing.
    let generation = generation.parse().ok().filter(|number: &u32| *number > 0 && number.to_string() == generation)?;
    let object = match (what, end) {
        ("key", "age") => Beside::Secret(generation),
        ("key", "json") => Beside::Public(generation),
        ("erased", "json") => Beside::Erased(generation),
        _ => return None,
    };
    Some((target.parse().ok()?, object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::owner;

    #[test]
    fn what_lies_beside_backups_is_no_backup() {
        let target: Target = "prod/orders-db".parse().unwrap();
        for object in [Beside::Secret(1), Beside::Public(12), Beside::Erased(3)] {
            let full = object.of(&target);
            assert_eq!((beside(&full), owner(&full)), (Some((target.clone(), object)), None), "{full}");
        }
        for full in ["key-1.age", "prod/key-1.age", "a/b/key-0.age", "a/b/key-01.age", "a/b/key-1.zst.age", "a/b/erased-1.age", "a/b/c/key-1.age"] {
            assert_eq!(beside(full), None, "{full}");
        }
        assert_eq!(beside("prod/db/20261130T020000Z-1.1/manifest.json"), None);
    }
}
