//! Settings as one source gives them: text, unchecked, any of it missing.

use std::path::Path;

use mainstay_client::files;
use serde::Deserialize;

/// Largest settings file.
const FILE_MAX: u64 = 256 << 10;

macro_rules! fragment {
    ($($field:ident),* $(,)?) => {
        /// What one source says. Lists are joined by commas.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Fragment {
            $(#[serde(deserialize_with = "text")] pub $field: Option<String>,)*
        }

        impl Fragment {
            /// What this one does not say, the weaker one does.
            #[must_use]
            pub fn or(self, weaker: Fragment) -> Fragment {
                Fragment { $($field: self.$field.or(weaker.$field),)* }
            }

            /// `MAINSTAY_` and the setting's name in capitals; an empty variable says nothing.
            #[must_use]
            pub fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Fragment {
                Fragment { $($field: variable(&format!("MAINSTAY_{}", stringify!($field).to_uppercase())).filter(|value| !value.is_empty()),)* }
            }
        }
    };
}

fragment!(
    config,
    dir,
    name,
    node,
    listen,
    advertise,
    enrol_listen,
    enrol_advertise,
    http_listen,
    form,
    founding,
    join,
    enrol,
    join_token,
    join_token_file,
    admins,
    join_grants,
    artifacts_max,
    artifacts_reserve,
    identity_chain,
    identity_key,
    identity_roots,
    die_with_parent,
    log,
    log_format
);

impl Fragment {
    /// Reads a settings file; an error is a sentence about it.
    pub fn from_file(path: &Path) -> Result<Fragment, String> {
        let text = files::read_text(path, FILE_MAX).map_err(|error| format!("cannot read the settings file {}: {error}", path.display()))?;
        let fragment = Fragment::from_toml(&text).map_err(|error| format!("{}: {}", path.display(), error.to_string().trim_end()))?;
        match fragment.join_token {
            // A settings file is read by more eyes than a secret should be.
            Some(_) => Err(format!("{}: join_token is a secret: put it into a file of its own, and that into join_token_file", path.display())),
            None => Ok(fragment),
        }
    }

    fn from_toml(text: &str) -> Result<Fragment, toml::de::Error> {
        // A first look for the table, which has flat names everywhere else; errors have their lines from the second.
        let nested = toml::from_str::<WithIdentity>(text).ok().and_then(|found| found.identity);
        match nested {
            None => toml::from_str(text),
            Some(identity) => {
                let mut table: toml::Table = toml::from_str(text)?;
                table.remove("identity");
                let said: Fragment = table.try_into()?;
                let IdentityTable { chain, key, roots } = identity;
                Ok(said.or(Fragment { identity_chain: chain, identity_key: key, identity_roots: roots, ..Fragment::default() }))
            }
        }
    }
}

#[derive(Deserialize)]
struct WithIdentity {
    identity: Option<IdentityTable>,
}

/// `identity = { chain, key, roots }`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct IdentityTable {
    chain: Option<String>,
    key: Option<String>,
    roots: Option<String>,
}

/// Takes what people write in TOML: text, numbers, booleans, lists of text.
fn text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(match toml::Value::deserialize(deserializer)? {
        toml::Value::String(text) => text,
        toml::Value::Boolean(value) => value.to_string(),
        toml::Value::Integer(value) => value.to_string(),
        toml::Value::Array(items) if items.iter().all(toml::Value::is_str) => {
            items.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
        }
        other => return Err(serde::de::Error::custom(format!("a {} makes no sense here", other.type_str()))),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(listen: &str) -> Fragment {
        Fragment { listen: Some(listen.into()), ..Fragment::default() }
    }

    #[test]
    fn the_stronger_source_goes_before() {
        let weaker = Fragment { name: Some("c1".into()), ..says("b:1") };
        assert_eq!(says("a:1").or(weaker), Fragment { name: Some("c1".into()), ..says("a:1") });
    }

    #[test]
    fn a_file_may_use_lists_and_booleans_and_nothing_unknown() {
        let fragment: Fragment = toml::from_str("listen = 'a:1'\njoin = ['x:1', 'y:2']\ndie_with_parent = true").unwrap();
        assert_eq!((fragment.join.as_deref(), fragment.die_with_parent.as_deref()), (Some("x:1,y:2"), Some("true")));
        assert!(toml::from_str::<Fragment>("lisen = 'a:1'").unwrap_err().to_string().contains("lisen"));
        assert!(toml::from_str::<Fragment>("listen = 1.5").is_err());
    }

    #[test]
    fn an_identity_from_elsewhere_is_a_table() {
        let fragment = Fragment::from_toml("listen = 'a:1'\nidentity = { chain = 'c', key = 'k', roots = 'r' }").unwrap();
        let said =
            (fragment.listen.as_deref(), fragment.identity_chain.as_deref(), fragment.identity_key.as_deref(), fragment.identity_roots.as_deref());
        assert_eq!(said, (Some("a:1"), Some("c"), Some("k"), Some("r")));
        for wrong in ["identity = { chain = 'c', keys = 'k' }", "identity = 'c'"] {
            assert!(Fragment::from_toml(wrong).unwrap_err().to_string().contains("identity"), "{wrong}");
        }
    }

    #[test]
    fn the_environment_names_each_setting() {
        let variable = |name: &str| (name == "MAINSTAY_HTTP_LISTEN").then(|| "none".to_owned());
        assert_eq!(Fragment::from_environment(&variable), Fragment { http_listen: Some("none".into()), ..Fragment::default() });
    }
}
