//! What is asked for of a dump.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::queries::Queries;
use super::rows::Compare;

/// What somebody asks for of a dump, where that is not the usual.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ask {
    /// What is in each row is summed up too.
    pub content: bool,
    /// As in [`Options`].
    pub queries: Queries,
    /// As in [`Options`]; none is one.
    pub streams: u8,
}

impl Ask {
    /// As options.
    #[must_use]
    pub fn options(self, deadline: Duration) -> Options {
        let compare = if self.content { Compare::Content } else { Compare::Rows };
        Options { compare, queries: self.queries, streams: self.streams, deadline, ..Options::default() }
    }
}

/// What is taken along.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the programs are; else the newest that are installed.
    pub programs: Option<PathBuf>,
    /// Roles and settings of the server too. Their passwords only where the user may read them.
    pub globals: bool,
    /// What a restore is compared by.
    pub compare: Compare,
    /// What of the user's own a restore is compared by too.
    pub queries: Queries,
    /// How many streams of data are read at the same time, up to [`super::streams::STREAMS_MAX`]. One is all of it in one part.
    pub streams: u8,
    /// How long its snapshot may be held.
    pub deadline: Duration,
}

impl Default for Options {
    fn default() -> Options {
        let deadline = Duration::from_secs(4 * 3600);
        Options { programs: None, globals: true, compare: Compare::default(), queries: Queries::default(), streams: 1, deadline }
    }
}
