//! `mainstay mesh snapshot`

use std::path::Path;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::failpoint::Point;
use mainstay_client::mesh::{SnapshotError, whole};
use mainstay_client::{Mesh, files};
use mainstay_core::snapshot::{self, About};
use mainstay_proto::v1::ReadSnapshotRequest;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::host;
use crate::render::progress::{Waiting, note};
use crate::render::units;
use crate::verbs::Screen;

pub async fn snapshot(args: &args::mesh::Snapshot, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    if args.to.as_deref() == Some("-") && screen.is_json() {
        return Err(CliError::usage("standard output has room for the snapshot or for JSON, not for both").with_next("name a file:  --to FILE"));
    }
    let begun = SystemClock.monotonic();
    let waiting = Waiting::on(screen.notes, "reading the state of the mesh");
    let bytes = read(mesh).await?;
    drop(waiting);
    // Looked at before anybody relies on it: what cannot be read back is no snapshot.
    let (about, _) = snapshot::decode(&bytes).map_err(|error| CliError::failed(format!("the snapshot that came is not usable: {error}")))?;
    let name = args.to.clone().unwrap_or_else(|| format!("{}-{}-{}.snapshot", about.mesh, about.incarnation, about.applied));
    if name == "-" {
        host::print_bytes(&bytes).map_err(|error| CliError::failed(format!("the snapshot is not written: {error}")))?;
    } else {
        files::write_atomic(Point::Saved, Path::new(&name), &bytes, 0o600)
            .map_err(|error| CliError::failed(format!("{name} cannot be written: {error}")))?;
    }
    let took = u64::try_from((SystemClock.monotonic() - begun).as_millis()).unwrap_or(u64::MAX);
    let sha256 = hex(&Sha256::digest(&bytes));
    let words = told(&name, &about, bytes.len() as u64, &sha256, took);
    if name == "-" {
        words.lines().for_each(|line| note(screen.notes, line));
    } else {
        screen.show(&as_json(&name, &about, bytes.len() as u64, &sha256), |_| words)?;
    }
    Ok(Exit::Success)
}

async fn read(mesh: &Mesh) -> Result<Vec<u8>, CliError> {
    let pieces = mesh.read_snapshot(ReadSnapshotRequest {}).await?;
    whole(pieces).await.map_err(|error| {
        let exit = if matches!(error, SnapshotError::TooLarge(_)) { Exit::Failed } else { Exit::Unreachable };
        CliError::new(exit, error.to_string())
    })
}

fn as_json(file: &str, about: &About, bytes: u64, sha256: &str) -> Value {
    json!({
        "file": file,
        "mesh": about.mesh,
        "incarnation": about.incarnation,
        "applied": about.applied,
        "featureLevel": about.feature_level,
        "takenUnixMs": about.taken.0,
        "bytes": bytes,
        "sha256": sha256,
    })
}

fn told(file: &str, about: &About, bytes: u64, sha256: &str, took_ms: u64) -> String {
    let file = if file == "-" { "standard output" } else { file };
    format!(
        "✔ {file}: mesh {} · incarnation {} · {} applied · {} · {}\n  sha256  {sha256}\n  no key and no password is in it, and of join tokens digests only; begin again from it:  mainstay mesh recover\n",
        about.mesh,
        about.incarnation,
        units::count(about.applied, "entry", "entries"),
        units::bytes(bytes as f64),
        units::duration_ms(took_ms),
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about() -> About {
        About {
            mesh: "prod".parse().unwrap(),
            incarnation: 1,
            applied: 20_480,
            feature_level: 1,
            taken: mainstay_core::WallTime(1_764_590_400_000),
            version: "0.1.0".into(),
            roots: vec!["ab".repeat(32)],
            survivor: None,
            state_bytes: 1_000,
            state_sha256: [0; 32],
        }
    }

    #[test]
    fn it_says_what_was_written() {
        insta::assert_snapshot!(told("mesh.snapshot", &about(), 2_345_678, &"cd".repeat(32), 1_240));
        insta::assert_snapshot!(crate::render::json::json(&as_json("mesh.snapshot", &about(), 2_345_678, &"cd".repeat(32))).unwrap());
    }
}
