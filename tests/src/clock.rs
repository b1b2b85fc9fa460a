//! Another wall clock for one process and its children, by libfaketime. Monotonic time goes on as it is.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian's package `faketime` and others put it.
const PLACES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib64/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];

fn library() -> PathBuf {
    let found = PLACES.iter().map(Path::new).find(|path| path.exists());
    found.expect("libfaketime is installed (Debian: apt-get install faketime)").to_owned()
}

/// Sets the wall clock of a command ahead, by a length of time as libfaketime writes it; empty changes nothing.
pub fn ahead(command: &mut Command, by: &str) {
    if !by.is_empty() {
        command.env("LD_PRELOAD", library()).env("FAKETIME", by).env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_NO_CACHE", "1");
    }
}

/// Sets the wall clock of a command by what a file says, whenever it says something else: `+0`, `-1h`.
pub fn by_file(command: &mut Command, file: &Path) {
    command.env("LD_PRELOAD", library()).env("FAKETIME_TIMESTAMP_FILE", file).env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME_NO_CACHE", "1");
}
