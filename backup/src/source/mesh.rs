//! The mesh's own snapshot, as a backup has it. Who reads it from a mesh, and who begins a mesh from it, brings that along:
//! here is only what it is called, so that a check knows its form and a scan finds it.

/// As in plans and manifests.
pub const KIND: &str = "mesh.snapshot";
/// Its one part.
pub const PART: &str = "mesh";
/// What its part is.
pub const CONTENT: &str = "application/vnd.mainstay.snapshot";
/// How it begins.
pub(crate) const MAGIC: &[u8] = b"MAINMESH";
