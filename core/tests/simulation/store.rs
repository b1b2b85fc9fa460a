//! A store beside the mesh that checks tokens: it takes a write under a token only if it has seen none that
//! is newer.

use std::collections::BTreeMap;

use mainstay_core::Token;

use crate::invariants::Deed;
use crate::world::World;

#[derive(Debug, Default)]
pub struct Store {
    newest: BTreeMap<&'static str, Token>,
}

impl World {
    pub fn write(&mut self, lease: &'static str, token: Token) {
        let newest = self.store.newest.entry(lease).or_insert(token);
        if token < *newest {
            return;
        }
        *newest = token;
        self.did(Deed::Stored { lease, token });
    }
}
