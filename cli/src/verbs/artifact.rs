//! `mainstay run artifacts`

use std::path::{Path, PathBuf};

use bytes::Bytes;
use mainstay_client::failpoint::Point;
use mainstay_client::files::{self, Content, Writing};
use mainstay_client::random::Backoff;
use mainstay_client::{Download, Mesh, TransferError};
use mainstay_proto::v1::{Artifact, ForgetArtifactRequest, GetArtifactRequest, ListArtifactsRequest, ListArtifactsResponse};
use serde::Serialize;

use super::Screen;
use crate::args::artifact::Artifacts;
use crate::error::CliError;
use crate::exit::Exit;
use crate::host;
use crate::render::layout::harmless;
use crate::render::{artifact as rendered, units};

/// Stands for standard output.
const STDOUT: &str = "-";
/// Tries of one download; between them the leader may have changed.
const TRIES: usize = 4;
/// Between two tries.
const AGAIN: (std::time::Duration, std::time::Duration) = (std::time::Duration::from_millis(200), std::time::Duration::from_secs(2));
/// Of a file without line ends, so much is shown at a time.
const LINE_MAX: usize = 64 << 10;

pub async fn artifacts(args: &Artifacts, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    if screen.is_json() && args.to.as_deref() == Some(Path::new(STDOUT)) {
        return Err(CliError::usage("standard output cannot have both the file and JSON: leave out one of `--to -` and `-o json`"));
    }
    let mut all = mesh.list_artifacts(ListArtifactsRequest { run: args.run.clone() }).await?;
    all.artifacts.retain(|artifact| is_meant(artifact, args));
    if let Some(name) = &args.get {
        get(choose(&all.artifacts, name, args)?, args.to.as_deref(), mesh, screen).await?;
    } else if let Some(name) = &args.forget {
        forget(choose(&all.artifacts, name, args)?, args.dry_run, mesh, screen).await?;
    } else {
        screen.show(&all, |all| list(all, args, screen))?;
    }
    Ok(Exit::Success)
}

fn is_meant(artifact: &Artifact, args: &Artifacts) -> bool {
    let fits = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
    fits(&args.step, &artifact.step) && fits(&args.target, &artifact.target) && fits(&args.attempt, &artifact.attempt)
}

fn list(all: &ListArtifactsResponse, args: &Artifacts, screen: Screen) -> String {
    let run = &args.run;
    if all.artifacts.is_empty() {
        return format!("no artifacts of {run}: its steps left no files, and printed no more than their reports hold\n  mainstay run show {run}\n");
    }
    format!("{}\nsave one:  mainstay run artifacts {run} --get NAME\n", rendered::list(&all.artifacts, screen.terminal))
}

/// The one that is meant: the newest of its step and target.
fn choose<'a>(all: &'a [Artifact], name: &str, args: &Artifacts) -> Result<&'a Artifact, CliError> {
    let run = &args.run;
    let named: Vec<&Artifact> = all.iter().filter(|artifact| artifact.name == name).collect();
    let Some(newest) = named.last() else {
        return Err(
            CliError::usage(format!("there is no artifact {name} of {run} like that")).with_next(format!("see all:  mainstay run artifacts {run}"))
        );
    };
    let mut places: Vec<(&str, &str)> = named.iter().map(|artifact| (artifact.step.as_str(), artifact.target.as_str())).collect();
    places.dedup();
    if places.len() > 1 {
        let error = CliError::usage(format!("{} steps or targets of {run} have an artifact {name}: say which", places.len()));
        return Err(places.iter().take(8).fold(error, |error, (step, target)| error.with_next(format!("--step {step} --target {target}"))));
    }
    Ok(newest)
}

/// What was saved, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Saved<'a> {
    #[serde(flatten)]
    artifact: &'a Artifact,
    saved_to: String,
}

async fn get(artifact: &Artifact, to: Option<&Path>, mesh: &Mesh, screen: Screen) -> Result<(), CliError> {
    let to = to.map_or_else(|| PathBuf::from(&artifact.name), Path::to_path_buf);
    if to == Path::new(STDOUT) {
        return show(mesh, artifact, screen).await;
    }
    if files::exists(&to) {
        return Err(CliError::usage(format!("{} is there already", to.display())).with_next("save it under another name:  --to FILE"));
    }
    let mut pauses = Backoff::new(AGAIN.0, AGAIN.1);
    for left in (0..TRIES).rev() {
        match save(mesh, artifact, &to).await {
            Ok(()) => break,
            Err(error) if left > 0 && error.is_transient() => tokio::time::sleep(pauses.pause()).await,
            Err(error) => return Err(failed(error)),
        }
    }
    let saved = Saved { artifact, saved_to: to.display().to_string() };
    let words = format!("✔ {} is in {}: {}, as stored", artifact.name, to.display(), units::bytes(artifact.bytes as f64));
    screen.done(&saved, &harmless(&words))
}

/// The file has its name when all of it has come and is what was stored.
async fn save(mesh: &Mesh, artifact: &Artifact, to: &Path) -> Result<(), TransferError> {
    let mut download = open(mesh, artifact).await?;
    let mut part = to.as_os_str().to_owned();
    part.push(".part");
    let mut writing = Writing::begin(Point::SavedArtifact, part.into(), artifact.bytes);
    while let Some(piece) = download.next().await? {
        writing.write(piece).await?;
    }
    let sha256 = artifact.sha256.parse().map_err(|_| TransferError::Differs(format!("`{}` is no checksum", artifact.sha256)))?;
    writing.finish_as(to.to_owned(), Content { bytes: artifact.bytes, sha256 }).await?;
    Ok(())
}

async fn open(mesh: &Mesh, artifact: &Artifact) -> Result<Download, TransferError> {
    let request = GetArtifactRequest { run: artifact.run.clone(), attempt: artifact.attempt.clone(), name: artifact.name.clone() };
    Ok(mesh.get_artifact(request).await?)
}

/// To standard output as it comes: whoever reads on learns from the exit status whether it was whole. A terminal
/// is shown text, and obeys none of it.
async fn show(mesh: &Mesh, artifact: &Artifact, screen: Screen) -> Result<(), CliError> {
    let mut download = open(mesh, artifact).await.map_err(failed)?;
    let mut lines = Lines::default();
    while let Some(piece) = download.next().await.map_err(failed)? {
        if screen.terminal.is_terminal() {
            super::print(&lines.take(&piece))?;
        } else {
            host::print_bytes(&piece).map_err(|error| CliError::failed(format!("nothing can be printed: {error}")))?;
        }
    }
    super::print(&lines.rest())
}

/// Bytes as lines that a terminal may be given.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn take(&mut self, piece: &Bytes) -> String {
        self.begun.extend_from_slice(piece);
        let whole = self.begun.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let whole = if self.begun.len() - whole > LINE_MAX { self.begun.len() } else { whole };
        let rest = self.begun.split_off(whole);
        shown(&std::mem::replace(&mut self.begun, rest))
    }

    fn rest(&mut self) -> String {
        shown(&std::mem::take(&mut self.begun))
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).split('\n').map(harmless).collect::<Vec<_>>().join("\n")
}

async fn forget(artifact: &Artifact, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<(), CliError> {
    let Artifact { run, attempt, name, step, target, .. } = artifact;
    let request = ForgetArtifactRequest { run: run.clone(), attempt: attempt.clone(), name: name.clone(), dry_run };
    mesh.forget_artifact(request).await?;
    let size = units::bytes(artifact.bytes as f64);
    let words = if dry_run {
        format!("would drop {name} of {step} on {target}, {size}; nothing was changed")
    } else {
        format!("✔ {name} of {step} on {target} is dropped: {size} will be free on the coordinators' disks")
    };
    screen.done(artifact, &harmless(&words))
}

fn failed(error: TransferError) -> CliError {
    match error {
        TransferError::Call(error) => error.into(),
        other => CliError::failed(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use crate::render::artifact::tests::artifact;

    use super::*;

    fn args(step: Option<&str>) -> Artifacts {
        Artifacts {
            run: "weekly-3".into(),
            get: None,
            forget: None,
            step: step.map(str::to_owned),
            target: None,
            attempt: None,
            to: None,
            dry_run: false,
        }
    }

    #[test]
    fn the_newest_is_meant_and_doubt_is_an_error() {
        let all = [artifact("a", "c/n1", 1, "output.log"), artifact("a", "c/n1", 2, "output.log"), artifact("a", "c/n2", 1, "other.log")];
        assert_eq!(choose(&all, "output.log", &args(None)).unwrap().number, 2);
        let missing = choose(&all, "output.txt", &args(None)).unwrap_err();
        assert_eq!((missing.exit, missing.next[0].as_str()), (Exit::Usage, "see all:  mainstay run artifacts weekly-3"));
        let two = [artifact("a", "c/n1", 1, "output.log"), artifact("b", "once", 1, "output.log")];
        let doubt = choose(&two, "output.log", &args(None)).unwrap_err();
        assert_eq!((doubt.exit, doubt.next), (Exit::Usage, vec!["--step a --target c/n1".to_owned(), "--step b --target once".to_owned()]));
        let of_step: Vec<Artifact> = two.into_iter().filter(|artifact| is_meant(artifact, &args(Some("b")))).collect();
        assert_eq!(choose(&of_step, "output.log", &args(Some("b"))).unwrap().step, "b");
    }

    #[test]
    fn a_terminal_obeys_nothing_of_a_file() {
        let mut lines = Lines::default();
        let umlaut = "ü".as_bytes();
        assert_eq!(lines.take(&Bytes::copy_from_slice(&[b"one\x1b[2J\ntw".as_slice(), &umlaut[..1]].concat())), "one [2J\n");
        assert_eq!(lines.take(&Bytes::copy_from_slice(&[&umlaut[1..], b"o"].concat())), "");
        assert_eq!(lines.rest(), "twüo");
        assert_eq!(lines.take(&Bytes::from(vec![b'x'; LINE_MAX + 1])).len(), LINE_MAX + 1, "not all of a long line is waited for");
    }

    #[test]
    fn what_was_saved_as_json() {
        let one = artifact("vacuum", "prod/db-1", 1, "output.log");
        insta::assert_snapshot!(serde_json::to_string_pretty(&Saved { artifact: &one, saved_to: "x.log".into() }).unwrap());
    }
}
