//! Which log messages are the same but for their values.
//!
//! In: messages. Out: groups with a count and one example. A crude grouping: numbers, ids, addresses, paths
//! and quoted text become a placeholder, and what is then equal is one group.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use crate::redact::redact_line;

/// Groups of one source; a log whose messages are all different has no telling groups anyway.
const GROUPS_MAX: usize = 1_000;
/// Of a message, for the group; …
const KEY_BYTES: usize = 240;
/// … and as an example.
const EXAMPLE_BYTES: usize = 300;

/// Messages seen, grouped.
#[derive(Debug, Default)]
pub struct Groups {
    groups: HashMap<String, Group>,
    /// Messages beyond the groups that are kept.
    other: u64,
}

/// Messages that are the same but for their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub count: u64,
    /// The first message of the group, without credentials.
    pub example: String,
}

impl Groups {
    pub fn add(&mut self, message: &str) {
        let key = key(cut(message, KEY_BYTES));
        if let Some(group) = self.groups.get_mut(key.as_ref()) {
            group.count += 1;
        } else if self.groups.len() < GROUPS_MAX {
            self.groups.insert(key.into_owned(), Group { count: 1, example: example(message) });
        } else {
            self.other += 1;
        }
    }

    /// How many groups there are, at least.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.len() + usize::from(self.other > 0)
    }

    /// The groups with the most messages, most first.
    #[must_use]
    pub fn most_frequent(&self, n: usize) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.values().collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.example.cmp(&b.example)));
        groups.truncate(n);
        groups
    }
}

/// A message as it may be shown. Credentials go before it is cut: half of one has no shape to be known by.
fn example(message: &str) -> String {
    cut(&redact_line(message), EXAMPLE_BYTES).to_owned()
}

/// A message without its values.
fn key(message: &str) -> Cow<'_, str> {
    static VALUE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let forms = [
            r#""[^"]*""#,
            r"'[^']*'",
            r"\b[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\b",
            r"\b0x[0-9A-Fa-f]+\b",
            r"(?:[A-Za-z][A-Za-z0-9+.-]*:/)?(?:/[A-Za-z0-9_.@%+=:~-]+)+/?",
            r"\b[0-9A-Fa-f]*[0-9][0-9A-Fa-f]*(?:[.:][0-9A-Fa-f]+)*\b",
            r"[0-9]+",
        ];
        Regex::new(&forms.join("|")).ok()
    });
    VALUE.as_ref().map_or(Cow::Borrowed(message), |value| value.replace_all(message, "*"))
}

fn cut(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_that_differ_in_values_are_one_group() {
        let mut groups = Groups::default();
        for i in 0..198 {
            groups.add(&format!("*{i} connect() to 10.0.0.{i}:8080 failed, upstream: \"http://10.0.0.{i}/x\", request {i:08x} /var/lib/{i}/y"));
        }
        groups.add("worker process 12 exited on signal 11");
        groups.add("worker process 13 exited on signal 9");
        assert_eq!(groups.len(), 2);
        let counts: Vec<(u64, bool)> = groups.most_frequent(3).into_iter().map(|group| (group.count, group.example.contains("worker"))).collect();
        assert_eq!(counts, [(198, false), (2, true)]);
        assert_eq!(
            groups.most_frequent(1)[0].example,
            "*0 connect() to 10.0.0.0:8080 failed, upstream: \"http://10.0.0.0/x\", request 00000000 /var/lib/0/y"
        );
    }

    #[test]
    fn groups_are_bounded() {
        let mut groups = Groups::default();
        let word = |mut i: usize| -> String {
            let mut word = String::new();
            for _ in 0..4 {
                word.push(char::from(b'g' + (i % 16) as u8));
                i /= 16;
            }
            word
        };
        (0..2_000).for_each(|i| groups.add(&word(i)));
        assert_eq!(groups.len(), GROUPS_MAX + 1);
        assert_eq!(groups.other, 1_000);
    }
}
