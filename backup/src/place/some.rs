//! What of a backup is restored, where that is not all of it: tables of a database, or what is below some paths of a directory.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

/// Tables of one schema, by the names under which they were counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    schema: String,
    /// Without quotes.
    names: Vec<String>,
    /// As they were counted.
    counted: BTreeSet<String>,
}

impl Tables {
    /// `schema.table` each, with quotes where the name needs them, as `mainstay backup show` prints them.
    ///
    /// # Errors
    /// In words: one is no such name, or they are of more than one schema.
    pub fn of(tables: &[String]) -> Result<Tables, String> {
        let mut chosen: Option<Tables> = None;
        for table in tables {
            let parts = parts(table).ok_or_else(|| format!("{table} is no table: write SCHEMA.TABLE, such as public.orders"))?;
            let (schema, name) = parts;
            let all = chosen.get_or_insert_with(|| Tables { schema: schema.clone(), names: Vec::new(), counted: BTreeSet::new() });
            if all.schema != schema {
                return Err(format!("{table} is not of schema {}: restore the tables of one schema at a time", all.schema));
            }
            all.names.push(name);
            all.counted.insert(table.clone());
        }
        chosen.ok_or_else(|| "no table is named".to_owned())
    }

    /// For `pg_restore`, which takes its names as they are.
    pub(super) fn arguments(&self) -> Vec<String> {
        let tables = self.names.iter().map(|name| format!("--table={name}"));
        std::iter::once(format!("--schema={}", self.schema)).chain(tables).collect()
    }

    /// Of what was counted, what was counted of these.
    ///
    /// # Errors
    /// In words: one of them is not there.
    pub fn only(&self, counted: &Value) -> Result<Value, String> {
        let all = counted.as_object().ok_or("its tables were not counted")?;
        let one = |name: &String| {
            let table = all.get(name).ok_or_else(|| format!("it has no table {name}; which it has:  mainstay backup show"))?;
            Ok((name.clone(), table.clone()))
        };
        self.counted.iter().map(one).collect::<Result<Map<_, _>, String>>().map(Value::Object)
    }
}

/// Schema and name, without their quotes.
fn parts(table: &str) -> Option<(String, String)> {
    let (schema, rest) = part(table)?;
    let (name, rest) = part(rest.strip_prefix('.')?)?;
    rest.is_empty().then_some((schema, name))
}

/// The first identifier, and what follows it.
fn part(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        return (!name.is_empty() && !name.contains('"')).then(|| (name.to_owned(), rest));
    };
    let mut name = String::new();
    loop {
        let (before, after) = rest.split_once('"')?;
        name.push_str(before);
        match after.strip_prefix('"') {
            // Two of them are one that belongs to the name.
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return (!name.is_empty()).then_some((name, after)),
        }
    }
}

/// Paths within a directory, each with all that is below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths(Vec<PathBuf>);

impl Paths {
    /// Such as `conf.d/app.conf`, or `conf.d` for all of it.
    ///
    /// # Errors
    /// In words: one leads out of the directory.
    pub fn of(paths: &[String]) -> Result<Paths, String> {
        let plain = |path: &String| {
            let is_plain = !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
            is_plain
                .then(|| PathBuf::from(path))
                .ok_or_else(|| format!("{path} is no path within the directory: write it without / at its beginning and without .."))
        };
        let paths: Vec<PathBuf> = paths.iter().map(plain).collect::<Result<_, _>>()?;
        if paths.is_empty() { Err("no path is named".to_owned()) } else { Ok(Paths(paths)) }
    }

    /// Which of these something that was packed belongs to. Its first part is the name of the directory that was packed.
    pub(super) fn wants(&self, packed: &Path) -> Option<&Path> {
        let mut within = packed.components();
        within.next()?;
        self.0.iter().map(PathBuf::as_path).find(|path| within.as_path().starts_with(path))
    }

    /// Those that are not among what was found.
    pub(super) fn missing(&self, found: &BTreeSet<PathBuf>) -> Vec<String> {
        self.0.iter().filter(|path| !found.contains(*path)).map(|path| path.display().to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn tables_are_named_as_they_were_counted() {
        let tables = Tables::of(&texts(&["public.orders", "public.\"Odd \"\"one\"\".\""])).unwrap();
        assert_eq!(tables.arguments(), ["--schema=public", "--table=orders", "--table=Odd \"one\"."]);
        for (names, why) in
            [(&["orders"][..], "SCHEMA.TABLE"), (&["a.b", "c.d"], "not of schema a"), (&["a.\"b"], "no table"), (&[], "no table is named")]
        {
            assert!(Tables::of(&texts(names)).unwrap_err().contains(why), "{names:?}");
        }
    }

    #[test]
    fn only_what_was_counted_of_them_is_compared() {
        let counted = json!({ "public.a": { "rows": 1 }, "public.b": { "rows": 2 } });
        let only = |names: &[&str]| Tables::of(&texts(names)).unwrap().only(&counted);
        assert_eq!(only(&["public.b"]), Ok(json!({ "public.b": { "rows": 2 } })));
        assert!(only(&["public.c"]).unwrap_err().contains("it has no table public.c"));
    }

    #[test]
    fn a_path_is_wanted_with_what_is_below_it() {
        let paths = Paths::of(&texts(&["conf.d", "a/b.conf"])).unwrap();
        for (packed, wanted) in [
            ("etc/conf.d", true),
            ("etc/conf.d/x/y", true),
            ("etc/conf.de", false),
            ("etc/a/b.conf", true),
            ("etc/a", false),
            ("etc", false),
            ("conf.d/etc", false),
        ] {
            assert_eq!(paths.wants(Path::new(packed)).is_some(), wanted, "{packed}");
        }
        assert_eq!(paths.missing(&BTreeSet::from([PathBuf::from("conf.d")])), ["a/b.conf"]);
        for path in ["", "/etc", "../etc", "a/../b", "./a"] {
            assert!(Paths::of(&texts(&[path])).is_err(), "{path}");
        }
    }
}
