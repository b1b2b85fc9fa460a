//! What is left of failpoints in a build that ships: nothing.

use super::Point;

/// Which points the writes to a file count for: here, none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Doing;

impl Doing {
    #[must_use]
    pub fn of(_: Point) -> Doing {
        Doing
    }

    /// From here on, the writes count for these.
    #[inline]
    pub fn now(&self, _: &[Point]) {}

    #[inline]
    #[allow(clippy::unnecessary_wraps, reason = "as with failpoints")]
    pub(crate) fn reach(&self, _: super::Step) -> std::io::Result<()> {
        Ok(())
    }

    #[inline]
    pub(crate) fn is_torn(&self) -> bool {
        false
    }

    #[inline]
    pub(crate) fn tear(&self) {}
}

/// A disk that keeps what it is told.
pub(crate) mod effects {
    use std::fs::File;
    use std::path::Path;

    pub struct Held;

    #[inline]
    pub fn hold() -> Held {
        Held
    }

    impl Held {
        #[inline]
        pub fn made(&mut self, _: &Path) {}
        #[inline]
        pub fn written(&mut self, _: &File, _: u64, _: usize) {}
        #[inline]
        pub fn resized(&mut self, _: &File, _: u64) {}
        #[inline]
        pub fn renamed(&mut self, _: &Path, _: &Path) {}
        #[inline]
        pub fn removed(&mut self, _: &Path) {}
        #[inline]
        pub fn synced(&mut self, _: &File) {}
        #[inline]
        pub fn dir_synced(&mut self, _: &Path) {}
    }
}
