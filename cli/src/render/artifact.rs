//! Artifacts as rows.

use mainstay_proto::v1::Artifact;
use mainstay_proto::words::Word;

use super::units;
use super::{Entry, Table, Terminal, Tone};

/// Digits of a checksum that tell files apart at a glance.
const SHORT: usize = 12;

/// One row for each artifact; which attempt only where a step had more than one.
#[must_use]
pub fn list(artifacts: &[Artifact], terminal: Terminal) -> String {
    let several = artifacts.iter().any(|artifact| artifact.number > 1 || artifact.undo);
    let mut table = Table::new(terminal, &["step", "target", "attempt", "name", "kind", "size", "sha256", "on"]).wrapping(&[1, 3, 7]);
    for artifact in artifacts {
        let kind = artifact.kind().word();
        table.row(vec![
            artifact.step.as_str().into(),
            artifact.target.as_str().into(),
            if several { attempt(artifact).into() } else { "".into() },
            artifact.name.as_str().into(),
            if artifact.encrypted { format!("{kind}, encrypted").into() } else { kind.into() },
            units::bytes(artifact.bytes as f64).into(),
            artifact.sha256.get(..SHORT).unwrap_or(&artifact.sha256).into(),
            copies(artifact),
        ]);
    }
    table.render()
}

fn attempt(artifact: &Artifact) -> String {
    format!("{} ({}{})", artifact.attempt, if artifact.undo { "undo " } else { "" }, artifact.number)
}

/// Which members have it. A single copy is one disk away from being lost.
fn copies(artifact: &Artifact) -> Entry {
    match artifact.stored_on.as_slice() {
        [] => Entry::toned("✖ lost", Tone::Bad),
        all => all.join(" ").into(),
    }
}

#[cfg(test)]
pub mod tests {
    use mainstay_proto::v1::ArtifactKind;

    use super::super::layout::width;
    use super::*;

    pub fn artifact(step: &str, target: &str, number: u32, name: &str) -> Artifact {
        Artifact {
            run: "weekly-3".into(),
            step: step.into(),
            target: target.into(),
            attempt: format!("1.{number}"),
            number,
            agent: target.into(),
            name: name.into(),
            kind: ArtifactKind::Output.into(),
            bytes: 1_048_576,
            sha256: "0123456789abcdef".repeat(4),
            stored_on: vec!["c1".into(), "c2".into(), "c3".into()],
            stored_unix_ms: 1_000,
            ..Artifact::default()
        }
    }

    #[test]
    fn a_row_for_each_artifact() {
        let undo =
            Artifact { kind: ArtifactKind::Undo.into(), encrypted: true, stored_on: Vec::new(), ..artifact("patch", "prod/n1", 1, "undo.age") };
        let all = [artifact("vacuum", "prod/db-1", 1, "output.log"), undo];
        assert_eq!(
            list(&all, Terminal::PIPE),
            "STEP    TARGET     NAME        KIND             SIZE     SHA256        ON\n\
             vacuum  prod/db-1  output.log  output           1.0 MiB  0123456789ab  c1 c2 c3\n\
             patch   prod/n1    undo.age    undo, encrypted  1.0 MiB  0123456789ab  ✖ lost\n"
        );
        let again = [artifact("vacuum", "prod/db-1", 1, "output.log"), artifact("vacuum", "prod/db-1", 2, "output.log")];
        assert!(list(&again, Terminal::PIPE).contains("1.2 (2)"));
        let text = list(&all, Terminal { width: Some(80), colour: false });
        assert!(text.lines().all(|line| width(line) <= 80), "{text}");
    }
}
