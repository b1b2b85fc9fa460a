//! What a mesh of an older feature level had in its log, what each entry was answered, and what the state was in the end.
//!
//! A member of this version that applies the same log has to come to the same, or the members of a mesh would differ
//! while it is upgraded. `KEEP=1 cargo test -p mainstay-core --test scenarios` writes the file of the level that the
//! program has, from the scenarios; that is done once for each level, before it is raised, and never again.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use mainstay_core::state::FEATURE_LEVEL;
use mainstay_core::{Reply, State, codec};
use serde::{Deserialize, Serialize};

use crate::rig::Rig;

/// Bytes of entries that one story has at most: a large state says no more than a small one.
const MOST: usize = 256 << 10;

/// One scenario.
#[derive(Serialize, Deserialize)]
pub struct Story {
    scenario: String,
    /// Each as it is in the log.
    entries: Vec<Vec<u8>>,
    replies: Vec<Reply>,
    /// As it is in a snapshot.
    state: Vec<u8>,
}

impl Story {
    /// Nothing where it was not recorded, or is too long.
    pub fn of(scenario: &Path, rig: Rig) -> Option<Story> {
        let (entries, replies): (Vec<Vec<u8>>, Vec<Reply>) =
            rig.record?.into_iter().map(|(entry, reply)| (codec::encode_entry(&entry), reply)).unzip();
        let scenario = scenario.file_stem()?.to_string_lossy().into_owned();
        let is_short = entries.iter().map(Vec::len).sum::<usize>() <= MOST;
        is_short.then(|| Story { scenario, entries, replies, state: codec::encode_state(&rig.state) })
    }
}

fn place(level: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/kept/level-{level}.gz"))
}

pub fn write(stories: &[Story]) {
    let mut file = GzEncoder::new(File::create(place(FEATURE_LEVEL)).unwrap(), Compression::best());
    rmp_serde::encode::write(&mut file, stories).unwrap();
    file.finish().unwrap();
}

fn read(level: u32) -> Vec<Story> {
    let file = File::open(place(level)).unwrap_or_else(|error| panic!("{}: {error}", place(level).display()));
    rmp_serde::decode::from_read(BufReader::new(GzDecoder::new(file))).unwrap()
}

#[test]
fn the_log_of_an_older_level_comes_to_the_same() {
    for level in 2..FEATURE_LEVEL {
        let stories = read(level);
        assert!(stories.len() >= 40, "level {level} has {} stories", stories.len());
        for story in stories {
            let mut state = State::default();
            for (place, (bytes, before)) in story.entries.iter().zip(&story.replies).enumerate() {
                let entry = codec::decode_entry(bytes).unwrap_or_else(|error| panic!("{}, entry {place}: {error}", story.scenario));
                let reply = state.apply(&entry);
                assert_eq!(reply, *before, "level {level}, {}, entry {place}: {}", story.scenario, entry.command);
            }
            assert_eq!(state.feature_level, level, "{}", story.scenario);
            let before = codec::decode_state(&story.state).unwrap_or_else(|error| panic!("{}: {error}", story.scenario));
            assert!(state == before, "level {level}, {}: another state in the end", story.scenario);
        }
    }
}
