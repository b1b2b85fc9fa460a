//! The commands of a page: blocks of `sh` that say in their first line on which machine they are typed.

use std::fs;
use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Machine and command, in the page's order.
pub fn commands(page: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join(page)).expect("the page");
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut all = Vec::new();
    for block in blocks {
        let Some((on, commands)) = block.strip_prefix("# on ").and_then(|block| block.split_once('\n')) else { continue };
        all.extend(commands.lines().map(|command| (on.to_owned(), command.to_owned())));
    }
    assert!(all.len() > 10, "{page} has commands: {all:?}");
    all
}
