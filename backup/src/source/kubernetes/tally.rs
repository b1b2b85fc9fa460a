//! A stream of objects, read line by line: its form, and how many of what are in it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest line. An API server keeps no object of more than 1.5 MiB.
const LINE_MAX: usize = 8 << 20;

/// Cuts a stream into its lines, however it comes in pieces.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// A further piece: hands on each line that ends in it, without its line break.
    ///
    /// # Errors
    /// What `each` says; a line that is too long.
    pub fn add(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.begun.is_empty() {
                each(line)?;
            } else {
                self.begin(line)?;
                each(&self.begun)?;
                self.begun.clear();
            }
            bytes = rest;
        }
        self.begin(bytes)
    }

    fn begin(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.begun.len() + bytes.len() > LINE_MAX {
            return Err(wrong(&format!("one of its lines has more than {LINE_MAX} bytes")));
        }
        self.begun.extend_from_slice(bytes);
        Ok(())
    }

    /// That was all.
    ///
    /// # Errors
    /// When it ends within a line.
    pub fn end(self) -> io::Result<()> {
        if self.begun.is_empty() { Ok(()) } else { Err(wrong("it ends in the middle of an object")) }
    }
}

/// How many objects there are of each kind in each namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    by_namespace: BTreeMap<String, BTreeMap<String, u64>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: String,
    metadata: HeadMeta,
}

#[derive(Deserialize)]
struct HeadMeta {
    name: String,
    namespace: String,
}

impl Tally {
    /// Whether there is any in this namespace.
    #[must_use]
    pub fn has(&self, namespace: &str) -> bool {
        self.by_namespace.contains_key(namespace)
    }

    /// An object, as it stands on its line.
    ///
    /// # Errors
    /// When it is none.
    pub fn add(&mut self, line: &[u8]) -> io::Result<()> {
        let head: Head = serde_json::from_slice(line).map_err(|error| wrong(&format!("one of its lines is no object of Kubernetes: {error}")))?;
        if head.kind.is_empty() || head.metadata.name.is_empty() || head.metadata.namespace.is_empty() {
            return Err(wrong("one of its objects has no kind, name or namespace"));
        }
        let kind = super::Kind { api_version: head.api_version, kind: head.kind };
        self.count_one(&head.metadata.namespace, &kind.name());
        Ok(())
    }

    /// One of this kind in this namespace.
    pub(crate) fn count_one(&mut self, namespace: &str, kind: &str) {
        *self.by_namespace.entry(namespace.to_owned()).or_default().entry(kind.to_owned()).or_default() += 1;
    }

    /// All of them.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.by_namespace.values().flat_map(BTreeMap::values).sum()
    }

    /// The namespaces in which there are some.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.by_namespace.keys().map(String::as_str)
    }

    /// As a manifest has it.
    #[must_use]
    pub fn counted(&self) -> Value {
        let kinds = |kinds: &BTreeMap<String, u64>| Value::Object(kinds.iter().map(|(kind, count)| (kind.clone(), Value::from(*count))).collect());
        Value::Object(self.by_namespace.iter().map(|(namespace, counts)| (namespace.clone(), kinds(counts))).collect::<Map<_, _>>())
    }

    /// Out of a manifest.
    #[must_use]
    pub fn of(counted: &Value) -> Tally {
        let mut tally = Tally::default();
        for (namespace, kinds) in counted.as_object().into_iter().flatten() {
            let kinds = kinds.as_object().into_iter().flatten().filter_map(|(kind, count)| Some((kind.clone(), count.as_u64()?)));
            tally.by_namespace.insert(namespace.clone(), kinds.collect());
        }
        tally
    }

    /// What differs from what was counted, in words.
    #[must_use]
    pub fn differs_from(&self, was: &Tally) -> Vec<String> {
        let flat = |tally: &Tally| -> BTreeMap<(String, String), u64> {
            let all = tally.by_namespace.iter();
            all.flat_map(|(namespace, kinds)| kinds.iter().map(|(kind, count)| ((namespace.clone(), kind.clone()), *count))).collect()
        };
        let (is, was) = (flat(self), flat(was));
        let both: BTreeSet<_> = is.keys().chain(was.keys()).collect();
        let count = |of: &BTreeMap<(String, String), u64>, key: &(String, String)| of.get(key).copied().unwrap_or_default();
        let differ = both.into_iter().filter(|key| count(&is, key) != count(&was, key));
        differ.map(|key| format!("it has {} {} of {}, and had {}", count(&is, key), key.1, key.0, count(&was, key))).collect()
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: &str, namespace: &str, name: &str) -> String {
        format!("{{\"apiVersion\":\"apps/v1\",\"kind\":\"{kind}\",\"metadata\":{{\"name\":\"{name}\",\"namespace\":\"{namespace}\"}}}}\n")
    }

    fn tallied(text: &str, pieces: usize) -> io::Result<Tally> {
        let (mut lines, mut tally) = (Lines::default(), Tally::default());
        for piece in text.as_bytes().chunks(pieces) {
            lines.add(piece, |line| tally.add(line))?;
        }
        lines.end().map(|()| tally)
    }

    #[test]
    fn objects_are_counted_however_they_come_in_pieces() {
        let text = [line("Deployment", "shop", "a"), line("Deployment", "shop", "b"), line("StatefulSet", "jobs", "c")].concat();
        for pieces in [1, 7, 64, 1_000] {
            let tally = tallied(&text, pieces).unwrap();
            assert_eq!(tally.counted(), serde_json::json!({ "jobs": { "StatefulSet.apps": 1 }, "shop": { "Deployment.apps": 2 } }));
            assert_eq!((tally.count(), tally.namespaces().collect::<Vec<_>>()), (3, vec!["jobs", "shop"]));
            assert_eq!(Tally::of(&tally.counted()), tally);
        }
        assert_eq!(tallied("", 1).unwrap().count(), 0);
    }

    #[test]
    fn what_was_cut_off_or_is_something_else_is_told() {
        let text = line("Deployment", "shop", "a");
        assert!(tallied(&text[..text.len() - 1], 9).unwrap_err().to_string().contains("in the middle"));
        for wrong in ["no\n", "{}\n", "\n", "{\"apiVersion\":\"v1\",\"kind\":\"\",\"metadata\":{\"name\":\"a\",\"namespace\":\"b\"}}\n"] {
            assert!(tallied(wrong, 3).is_err(), "{wrong}");
        }
        let mut lines = Lines::default();
        let long = vec![b'x'; LINE_MAX];
        lines.add(&long, |_| Ok(())).unwrap();
        assert!(lines.add(b"x", |_| Ok(())).unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn what_differs_is_named() {
        let was = tallied(&[line("Deployment", "shop", "a"), line("Deployment", "shop", "b")].concat(), 99).unwrap();
        let is = tallied(&[line("Deployment", "shop", "a"), line("DaemonSet", "shop", "c")].concat(), 99).unwrap();
        assert_eq!(was.differs_from(&was), Vec::<String>::new());
        assert_eq!(is.differs_from(&was), ["it has 1 DaemonSet.apps of shop, and had 0", "it has 1 Deployment.apps of shop, and had 2"]);
    }
}
