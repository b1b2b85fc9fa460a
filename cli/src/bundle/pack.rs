//! From entries to the bytes of a .tar.gz.

use std::io;

use flate2::Compression;
use flate2::write::GzEncoder;
use mainstay_core::WallTime;
use tar::{Builder, EntryType, Header};

use super::{Bundle, manifest};

/// All entries below one folder, the manifest first.
pub fn pack(bundle: &Bundle, folder: &str, manifest: &str, now: WallTime) -> io::Result<Vec<u8>> {
    let mut archive = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    let mut add = |name: &str, text: &str| {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        header.set_size(text.len() as u64);
        header.set_mtime(u64::try_from(now.0 / 1_000).unwrap_or(0));
        archive.append_data(&mut header, format!("{folder}/{name}"), text.as_bytes())
    };
    add(manifest::NAME, manifest)?;
    for entry in &bundle.entries {
        add(&entry.name, &entry.text)?;
    }
    archive.into_inner()?.finish()
}
