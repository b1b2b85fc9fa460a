//! Compiles the `.proto` files without protoc, and gives every message a JSON form for `-o json`.

#![allow(clippy::disallowed_methods, reason = "a build script writes the descriptors that reflection serves")]

use std::path::PathBuf;

const FILES: [&str; 11] = [
    "mainstay/v1/report.proto",
    "mainstay/v1/fact.proto",
    "mainstay/v1/lease.proto",
    "mainstay/v1/run.proto",
    "mainstay/v1/mesh.proto",
    "mainstay/v1/agent.proto",
    "mainstay/v1/identity.proto",
    "mainstay/v1/root.proto",
    "mainstay/v1/artifact.proto",
    "mainstay/v1/object.proto",
    "mainstay/v1/backup.proto",
];

/// Fields that hold an enum, and the function that writes its word.
const ENUMS: [(&str, &str); 19] = [
    ("Check.verdict", "verdict"),
    ("Run.verdict", "verdict"),
    ("Work.verdict", "verdict"),
    ("Finding.severity", "verdict"),
    ("Outcome.kind", "outcome"),
    ("LeaseSpec.kind", "lease_kind"),
    ("Run.state", "run_state"),
    ("Run.undo", "undo_state"),
    ("Work.state", "work_state"),
    ("Work.undo", "work_state"),
    ("Attempt.state", "attempt_state"),
    ("Member.role", "member_role"),
    ("Node.link", "link_state"),
    ("DesiredAttempt.cancel", "cancel"),
    ("Remark.severity", "severity"),
    ("Wait.kind", "wait_kind"),
    ("ArtifactFile.kind", "artifact_kind"),
    ("Artifact.kind", "artifact_kind"),
    ("Backup.read", "verdict"),
];

/// Fields that hold JSON as text, and maps of such: in the JSON form they are the values themselves.
const JSON: [(&str, &str); 6] = [
    ("PreviewInput.value", "json_value"),
    ("PreviewStep.with", "json_value"),
    ("AwaitedStep.with", "json_value"),
    ("UndoStep.with", "json_value"),
    ("Run.inputs", "json_values"),
    ("Report.outputs", "json_values"),
];

/// Fields of which a message has one.
const ONEOFS: [&str; 11] = [
    "RunEvent.event",
    "AgentMessage.message",
    "MeshMessage.message",
    "CreateJoinTokenRequest.scope",
    "PutArtifactRequest.part",
    "PutArtifactResponse.answer",
    "ArtifactPart.part",
    "StoreCopyRequest.part",
    "StoreCopyResponse.answer",
    "ObjectsEvent.event",
    "NoteBackupsRequest.note",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    let mut builder =
        tonic_prost_build::configure().btree_map(".").message_attribute(".", "#[derive(serde::Serialize)] #[serde(rename_all = \"camelCase\")]");
    for (field, function) in ENUMS.into_iter().chain(JSON) {
        builder = builder.field_attribute(format!("mainstay.v1.{field}"), format!("#[serde(serialize_with = \"crate::words::{function}\")]"));
    }
    for oneof in ONEOFS {
        builder = builder.enum_attribute(format!("mainstay.v1.{oneof}"), "#[derive(serde::Serialize)] #[serde(rename_all = \"camelCase\")]");
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}
