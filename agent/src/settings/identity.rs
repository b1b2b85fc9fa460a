//! `identity = { chain, key, roots }`: certificates that somebody else issues and renews.

use std::path::{Path, PathBuf};

use mainstay_client::identity::IdentityFiles;
use serde::Deserialize;

/// What one source says of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityFragment {
    pub chain: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub roots: Option<PathBuf>,
}

impl IdentityFragment {
    /// Nothing where nothing is said.
    pub fn of(chain: Option<PathBuf>, key: Option<PathBuf>, roots: Option<PathBuf>) -> Option<IdentityFragment> {
        let said = IdentityFragment { chain, key, roots };
        (said != IdentityFragment::default()).then_some(said)
    }

    /// The same with paths as they stand in a file of this folder.
    pub fn below(self, folder: &Path) -> IdentityFragment {
        let place = |path: Option<PathBuf>| path.map(|path| folder.join(path));
        IdentityFragment { chain: place(self.chain), key: place(self.key), roots: place(self.roots) }
    }

    /// All three, or the problem that one is missing.
    pub fn checked(self, mut problem: impl FnMut(String)) -> Option<IdentityFiles> {
        match (self.chain, self.key, self.roots) {
            (Some(chain), Some(key), Some(roots)) => Some(IdentityFiles { chain, key, roots }),
            (chain, key, roots) => {
                let parts = [("chain", chain.is_none()), ("key", key.is_none()), ("roots", roots.is_none())];
                let missing: Vec<&str> = parts.into_iter().filter(|(_, missing)| *missing).map(|(name, _)| name).collect();
                let verb = if missing.len() == 1 { "is" } else { "are" };
                problem(format!(
                    "identity: {} {verb} missing: a certificate issued elsewhere is three files, chain, key and roots",
                    missing.join(" and ")
                ));
                None
            }
        }
    }
}
