//! Artifacts.

use mainstay_core::artifact::{Artifact, ArtifactFile, ArtifactKind};
use mainstay_core::id::{MemberId, RunId};
use mainstay_core::state::State;
use mainstay_core::state::artifact::ArtifactKey;
use mainstay_core::state::run::Direction;

use super::{InvalidMessage, parsed};
use crate::v1;

fn kind_to_wire(kind: ArtifactKind) -> v1::ArtifactKind {
    match kind {
        ArtifactKind::Artifact => v1::ArtifactKind::Artifact,
        ArtifactKind::Output => v1::ArtifactKind::Output,
        ArtifactKind::Undo => v1::ArtifactKind::Undo,
    }
}

#[must_use]
pub fn file_to_wire(file: &ArtifactFile) -> v1::ArtifactFile {
    v1::ArtifactFile {
        name: file.name.to_string(),
        kind: kind_to_wire(file.kind).into(),
        bytes: file.bytes,
        sha256: file.sha256.to_string(),
        encrypted: file.encrypted,
    }
}

pub fn file_from_wire(wire: &v1::ArtifactFile) -> Result<ArtifactFile, InvalidMessage> {
    let kind = match wire.kind() {
        v1::ArtifactKind::Artifact => ArtifactKind::Artifact,
        v1::ArtifactKind::Output => ArtifactKind::Output,
        v1::ArtifactKind::Undo => ArtifactKind::Undo,
        v1::ArtifactKind::Unspecified => return Err(InvalidMessage::new("kind", "says nothing, or something that only a newer version knows")),
    };
    Ok(ArtifactFile {
        name: parsed("name", &wire.name)?,
        kind,
        bytes: wire.bytes,
        sha256: parsed("sha256", &wire.sha256)?,
        encrypted: wire.encrypted,
    })
}

/// One artifact, with what `state` knows of its attempt and of the members that have it.
#[must_use]
pub fn artifact_to_wire(run: &RunId, key: &ArtifactKey, artifact: &Artifact, state: &State) -> v1::Artifact {
    let Artifact { file, stored_on, at } = artifact;
    let attempt = state.attempts.get(&key.attempt);
    let name = |id: &MemberId| match state.members.get(id) {
        Some(member) if !member.name.is_empty() => member.name.clone(),
        _ => id.to_string(),
    };
    v1::Artifact {
        run: run.to_string(),
        step: attempt.map(|attempt| attempt.step.to_string()).unwrap_or_default(),
        target: attempt.map(|attempt| attempt.target.to_string()).unwrap_or_default(),
        attempt: key.attempt.to_string(),
        number: attempt.map_or(0, |attempt| attempt.number),
        undo: attempt.is_some_and(|attempt| attempt.direction == Direction::Undo),
        agent: attempt.map(|attempt| attempt.agent.to_string()).unwrap_or_default(),
        name: file.name.to_string(),
        kind: kind_to_wire(file.kind).into(),
        bytes: file.bytes,
        sha256: file.sha256.to_string(),
        encrypted: file.encrypted,
        stored_on: stored_on.iter().map(name).collect(),
        stored_unix_ms: at.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_survives_the_wire_and_a_bad_one_names_its_field() {
        for kind in [ArtifactKind::Artifact, ArtifactKind::Output, ArtifactKind::Undo] {
            let file = ArtifactFile {
                name: "output.log".parse().unwrap(),
                kind,
                bytes: 7,
                sha256: "ab".repeat(32).parse().unwrap(),
                encrypted: kind == ArtifactKind::Undo,
            };
            assert_eq!(file_from_wire(&file_to_wire(&file)), Ok(file));
        }
        let good = v1::ArtifactFile { name: "x".into(), kind: 1, bytes: 1, sha256: "00".repeat(32), encrypted: false };
        let field = |wire: v1::ArtifactFile| file_from_wire(&wire).unwrap_err().field;
        assert_eq!(field(v1::ArtifactFile { name: "../x".into(), ..good.clone() }), "name");
        assert_eq!(field(v1::ArtifactFile { kind: 9, ..good.clone() }), "kind");
        assert_eq!(field(v1::ArtifactFile { sha256: "00".into(), ..good }), "sha256");
    }
}
