//! `mainstay support-bundle`

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use mainstay_client::failpoint::Point;
use mainstay_client::files;
use mainstay_core::WallTime;
use serde_json::{Value, json};

use super::{Screen, now};
use crate::args::Global;
use crate::args::bundle::SupportBundle;
use crate::bundle::{self, Bundle};
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::progress::Waiting;
use crate::render::units;

/// Readable by whoever made it, and nobody else.
const MODE: u32 = 0o600;

pub async fn support_bundle(args: &SupportBundle, global: &Global, screen: Screen) -> Result<Exit, CliError> {
    let now = now();
    let folder = folder(now);
    let to = args.to.clone().unwrap_or_else(|| PathBuf::from(format!("{folder}.tar.gz")));
    if !args.dry_run {
        may_write(&to)?;
    }
    let waiting = Waiting::on(screen.notes, "gathering what this machine, the members and the mesh say");
    let bundle = bundle::gather(global).await;
    drop(waiting);
    let manifest = bundle::manifest(&bundle, now, env!("CARGO_PKG_VERSION"));
    let bytes = bundle::pack(&bundle, &folder, &manifest, now).map_err(|error| CliError::failed(format!("the bundle cannot be packed: {error}")))?;
    if !args.dry_run {
        files::write_atomic(Point::Saved, &to, &bytes, MODE).map_err(|error| unwritable(&to, &error))?;
    }
    let written = (!args.dry_run).then_some(to.as_path());
    screen.show(&told(written, bytes.len(), &bundle), |_| words(args.dry_run, &to, bytes.len(), &bundle, &manifest))?;
    Ok(Exit::Success)
}

/// The answer for programs; `file` is null where none was written.
pub fn told(file: Option<&Path>, bytes: usize, bundle: &Bundle) -> Value {
    json!({ "file": file, "dryRun": file.is_none(), "bytes": bytes, "entries": bundle.entries, "leftOut": bundle.left_out })
}

/// `mainstay-support-20251201-120000`: what the file is called, and the folder in it.
fn folder(now: WallTime) -> String {
    let at = Timestamp::from_millisecond(now.0).map(|at| at.strftime("%Y%m%d-%H%M%S").to_string()).unwrap_or_default();
    format!("mainstay-support-{at}")
}

/// Asked before a minute is spent on gathering.
fn may_write(to: &Path) -> Result<(), CliError> {
    if files::exists(to) {
        return Err(CliError::failed(format!("{} is there already: nothing is written over", to.display())).with_next("name another:  --to FILE"));
    }
    let dir = to.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if files::exists(dir) { Ok(()) } else { Err(unwritable(to, &format!("there is no folder {}", dir.display()))) }
}

fn unwritable(to: &Path, why: &dyn std::fmt::Display) -> CliError {
    CliError::failed(format!("{} cannot be written: {why}", to.display())).with_next("name a place where there is room:  --to FILE")
}

fn words(dry_run: bool, to: &Path, bytes: usize, bundle: &Bundle, manifest: &str) -> String {
    if dry_run {
        return format!("{manifest}\n· nothing was written; it would have {}\n", units::bytes(bytes as f64));
    }
    let files = units::count(bundle.entries.len() as u64, "file", "files");
    format!(
        "✔ {} has {files}, {}; MANIFEST in it says which, and what was left out\n  read it before you send it:  tar -xzf {}\n",
        to.display(),
        units::bytes(bytes as f64),
        to.display()
    )
}
