//! One TOML table with the lines of its keys: every wrong value is a problem of its own, and no value is
//! repeated, since it may be a secret that somebody wrote to the wrong place.

use mainstay_core::catalogue;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text that tables are of, to tell lines.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub file: &'a str,
    pub text: &'a str,
}

/// A table that is read key by key.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub source: Source<'a>,
    /// Dotted, as a person would look for it.
    pub name: &'a str,
    pub fields: &'a DeTable<'a>,
}

impl Source<'_> {
    /// `FILE line N`.
    pub fn at(&self, offset: usize) -> String {
        let before = self.text.get(..offset).unwrap_or(self.text);
        format!("{} line {}", self.file, before.matches('\n').count() + 1)
    }
}

impl<'a> Table<'a> {
    fn find(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.fields.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Where a key stands.
    pub fn line_of(&self, key: &str) -> Option<String> {
        self.fields.iter().find(|(name, _)| name.get_ref() == key).map(|(name, _)| self.source.at(name.span().start))
    }

    /// A problem with a key, or with the table where the key is missing.
    pub fn problem(&self, key: &str, table_at: &str, what: &str) -> String {
        let at = self.line_of(key).unwrap_or_else(|| table_at.to_owned());
        format!("{at}: {}: `{key}` {what}", self.name)
    }

    /// Keys that nobody asks for.
    pub fn unknown(&self, known: &[&str], problems: &mut Vec<String>) {
        for (key, _) in self.fields.iter().filter(|(key, _)| !known.contains(&&**key.get_ref())) {
            let key_text: &str = key.get_ref();
            let meant = catalogue::nearest(key_text, known.iter().copied());
            let hint = meant.map_or_else(|| format!("there are {}", known.join(", ")), |meant| format!("did you mean `{meant}`?"));
            problems.push(format!("{}: {}: there is no key `{key_text}`; {hint}", self.source.at(key.span().start), self.name));
        }
    }

    fn wrong<T>(&self, key: &str, what: &str, problems: &mut Vec<String>) -> Option<T> {
        problems.push(self.problem(key, "", &format!("should be {what}")));
        None
    }

    pub fn text(&self, key: &str, what: &str, problems: &mut Vec<String>) -> Option<String> {
        match self.find(key)?.get_ref().as_str() {
            Some(text) if !text.is_empty() && !text.contains('\0') => Some(text.to_owned()),
            _ => self.wrong(key, what, problems),
        }
    }

    pub fn number(&self, key: &str, most: u32, problems: &mut Vec<String>) -> Option<u32> {
        let number = self.find(key)?.get_ref().as_integer().filter(|number| number.radix() == 10).and_then(|number| number.as_str().parse().ok());
        match number {
            Some(number) if number <= most => Some(number),
            _ => self.wrong(key, &format!("a whole number from 0 to {most}"), problems),
        }
    }

    pub fn flag(&self, key: &str, problems: &mut Vec<String>) -> Option<bool> {
        let said = self.find(key)?.get_ref().as_bool();
        if said.is_some() { said } else { self.wrong(key, "true or false", problems) }
    }

    pub fn texts(&self, key: &str, what: &str, problems: &mut Vec<String>) -> Option<Vec<String>> {
        let items = self.find(key)?.get_ref().as_array();
        let texts = items.and_then(|items| items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect::<Option<Vec<_>>>());
        match texts {
            Some(texts) if !texts.is_empty() => Some(texts),
            _ => self.wrong(key, what, problems),
        }
    }

    /// A table below this one; `name` is its own dotted name.
    pub fn table(&self, key: &str, name: &'a str, what: &str, problems: &mut Vec<String>) -> Option<Table<'a>> {
        match self.find(key)?.get_ref().as_table() {
            Some(fields) => Some(Table { source: self.source, name, fields }),
            None => self.wrong(key, what, problems),
        }
    }
}
