//! `mainstay support-bundle`: what somebody who helps with a mesh would ask for, in one file.
//!
//! ```text
//!  mesh (by its leader) ─┐
//!  local (settings, logs) ├─▶ Bundle: redacted and bounded at the door ─▶ MANIFEST ─▶ .tar.gz
//!  metrics (of members) ──┘         └─ what was left out, and why ────────────┘
//! ```
//! Nothing gets in but through [`Bundle::text`] and [`Bundle::json`], and both take credentials out. Gathering never
//! fails as a whole: what could not be had is named in the manifest.

mod clean;
mod local;
mod manifest;
mod mesh;
mod metrics;
mod pack;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::Serialize;

use crate::args::Global;
use crate::doctor::{diagnosis, look};
use crate::mesh_finder;
use crate::render::units;

pub use manifest::manifest;
pub use pack::pack;

/// One file of the bundle holds no more than this; the rest of it is cut off, and the cut is named.
const ENTRY_MAX: usize = 1 << 20;
/// All of them together, before they are compressed: small enough to be mailed.
const TOTAL_MAX: usize = 16 << 20;
/// For everything that is asked of the mesh and its members beyond what `doctor` asks.
const PATIENCE: Duration = Duration::from_secs(30);

/// One file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    pub name: String,
    /// What it is, in a few words.
    pub about: String,
    #[serde(skip)]
    pub text: String,
    pub bytes: usize,
}

/// Something that is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    pub what: String,
    pub why: String,
}

/// What was gathered, and what was not.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    pub entries: Vec<Entry>,
    pub left_out: Vec<LeftOut>,
    #[serde(skip)]
    total: usize,
}

impl Bundle {
    /// Takes in lines of text, without their credentials.
    pub fn text(&mut self, name: &str, about: &str, text: &str) {
        self.add(name, about, clean::text(text));
    }

    /// Takes in a value as JSON, without its credentials.
    pub fn json(&mut self, name: &str, about: &str, value: &impl Serialize) {
        let text = serde_json::to_value(value).and_then(|mut value| {
            clean::json(&mut value);
            serde_json::to_string_pretty(&value)
        });
        match text {
            Ok(text) => self.add(name, about, text + "\n"),
            Err(error) => self.leave_out(name, &error),
        }
    }

    pub fn leave_out(&mut self, what: &str, why: &impl ToString) {
        self.left_out.push(LeftOut { what: what.to_owned(), why: clean::text(&why.to_string()).trim_end().to_owned() });
    }

    fn add(&mut self, name: &str, about: &str, mut text: String) {
        if text.len() > ENTRY_MAX {
            let why = format!("it has {}, and a file of the bundle holds {}", units::bytes(text.len() as f64), units::bytes(ENTRY_MAX as f64));
            self.leave_out(&format!("the end of {name}"), &why);
            text.truncate(text.floor_char_boundary(ENTRY_MAX));
        }
        if self.total + text.len() > TOTAL_MAX {
            self.leave_out(name, &format!("the bundle has {} already", units::bytes(self.total as f64)));
            return;
        }
        self.total += text.len();
        self.entries.push(Entry { name: name.to_owned(), about: about.to_owned(), bytes: text.len(), text });
    }
}

/// Gathers all there is: of this machine always, of the mesh as far as it answers.
pub async fn gather(global: &Global) -> Bundle {
    let mut bundle = Bundle::default();
    let facts = look::look(global).await;
    let diagnoses = diagnosis::diagnose(&facts);
    let exit = diagnosis::exit(&facts, &diagnoses);
    bundle.json("doctor.json", "what `mainstay doctor` says", &crate::verbs::doctor::told(&diagnoses, exit));
    bundle.json("versions.json", "which version runs where", &mesh::versions(&facts));
    mesh::of_facts(&facts, &mut bundle);
    mesh::ask(global, &facts, PATIENCE, &mut bundle).await;
    let local = mesh_finder::find(global).ok().and_then(|found| found.local);
    local::settings(local.as_deref(), &mut bundle);
    local::logs(local.as_deref(), &mut bundle);
    metrics::of_members(&local::metrics_addresses(local.as_deref()), &mut bundle).await;
    manifest::never_in(&mut bundle);
    bundle
}
