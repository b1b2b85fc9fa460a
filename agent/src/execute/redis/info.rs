//! The answer to `INFO`: lines of `name:value`.

use std::collections::BTreeMap;

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Info {
    fields: BTreeMap<String, String>,
}

impl Info {
    pub fn parse(text: &str) -> Info {
        let field = |line: &str| line.trim_end().split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Info { fields: text.lines().filter(|line| !line.starts_with('#')).filter_map(field).collect() }
    }

    /// A field; an empty one counts as not there.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn number(&self, name: &str) -> Option<f64> {
        self.text(name)?.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// A counter, which is whole and never below zero.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    pub fn is(&self, name: &str, value: &str) -> bool {
        self.text(name) == Some(value)
    }

    /// The parts of a field such as `ip=10.0.0.2,port=6379,state=online`.
    pub fn parts(&self, name: &str) -> Option<BTreeMap<&str, &str>> {
        Some(self.text(name)?.split(',').filter_map(|part| part.split_once('=')).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_the_server_writes_them() {
        let info = Info::parse("# Server\r\nredis_version:7.0.15\r\nexecutable:\r\nslave0:ip=10.0.0.2,port=6379,lag=1\r\nratio:1.52\r\nbad:nan\r\n");
        assert_eq!((info.text("redis_version"), info.text("executable"), info.number("ratio")), (Some("7.0.15"), None, Some(1.52)));
        assert_eq!((info.number("bad"), info.count("ratio"), info.is("ratio", "1.52")), (None, None, true));
        assert_eq!(info.parts("slave0").and_then(|parts| parts.get("lag").copied()), Some("1"));
    }
}
