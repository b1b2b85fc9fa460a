//! Trials: a job is done by a child that dies at each step of each write, and what it leaves is judged.
//!
//! The child is the test's own executable, told by its environment to do one job in one place:
//!
//! ```text
//!  test ──run──▶ child: Trial::asked() ─▶ does the job, notes what was acknowledged ─▶ dies, or ends
//!    └── judge(place) ◀── what is on the disk, and the notes
//! ```
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "for tests only: one that cannot go on stops with words")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::{Point, Step};

const JOB: &str = "MAINSTAY_TRIAL_JOB";
const PLACE: &str = "MAINSTAY_TRIAL_PLACE";
/// Children at one time: most of a child's life is spent waiting.
const CHILDREN: usize = 3;

/// A job that a child does.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// The test that does it when [`asked`], by its full name.
    pub test: &'a str,
    pub job: &'a str,
}

/// What this process was asked to do as a child, and where.
#[must_use]
pub fn asked() -> Option<(String, PathBuf)> {
    Some((std::env::var(JOB).ok()?, std::env::var_os(PLACE)?.into()))
}

/// Notes something that must be so from here on, whatever happens.
pub fn note(place: &Path, line: &str) {
    let mut file = fs::File::options().create(true).append(true).open(place.join("told")).expect("a file for notes");
    writeln!(file, "{line}").expect("a note is written");
}

/// What was noted, oldest first.
#[must_use]
pub fn noted(place: &Path) -> Vec<String> {
    fs::read_to_string(place.join("told")).unwrap_or_default().lines().map(str::to_owned).collect()
}

impl Trial<'_> {
    /// Has a child do the job, with such an order. Says whether it died of it.
    #[must_use]
    pub fn dies(&self, place: &Path, order: &str) -> bool {
        self.run(place, "MAINSTAY_FAILPOINT", order)
    }

    /// All points that the job passes, with their steps.
    #[must_use]
    pub fn passed(&self, place: &Path) -> BTreeSet<(Point, Step)> {
        let seen = place.join("seen");
        let _ = self.run(place, "MAINSTAY_FAILPOINTS_SEEN", &seen.display().to_string());
        let pair = |line: &str| {
            let (point, step) = line.split_once(' ')?;
            let point = Point::ALL.iter().find(|known| known.name() == point)?;
            Some((*point, *Step::ALL.iter().find(|known| known.name() == step)?))
        };
        fs::read_to_string(seen).unwrap_or_default().lines().filter_map(pair).collect()
    }

    fn run(&self, place: &Path, variable: &str, value: &str) -> bool {
        let fired = place.join("fired");
        let output = Command::new(std::env::current_exe().expect("a test knows its own path"))
            .args(["--exact", self.test, "--quiet"])
            .env(JOB, self.job)
            .env(PLACE, place)
            .env(variable, value)
            .env("MAINSTAY_FAILPOINT_FIRED", &fired)
            .stdin(Stdio::null())
            .output()
            .expect("the child starts");
        let died = fired.exists();
        let words = || String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(died || output.status.success(), "{} {value}: {}", self.job, words());
        died
    }

    /// Has a child die at each step of each of these points, each time also with one of `also` behind the order, and
    /// judges what it left. `place` makes an empty directory.
    ///
    /// # Panics
    /// When a point is not passed, a child does not die, or what it left is not right.
    pub fn everywhere<P: AsRef<Path>>(
        &self,
        points: &[Point],
        also: &[&str],
        place: impl Fn() -> P + Sync,
        judge: impl Fn(&Path) -> Result<(), String> + Sync,
    ) {
        let passed = self.passed(place().as_ref());
        let missed: Vec<&str> = points.iter().filter(|point| !passed.iter().any(|(known, _)| known == *point)).map(|point| point.name()).collect();
        assert!(missed.is_empty(), "{} does not come by {missed:?}", self.job);
        let wanted = passed.iter().filter(|(point, _)| points.contains(point));
        let orders: Vec<String> =
            wanted.flat_map(|(point, step)| also.iter().map(move |more| format!("{}:{}{more}", point.name(), step.name()))).collect();
        let (left, problems) = (Mutex::new(orders), Mutex::new(Vec::new()));
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).pop();
        std::thread::scope(|scope| {
            for _ in 0..CHILDREN {
                scope.spawn(|| {
                    while let Some(order) = next() {
                        let place = place();
                        let judged = match self.dies(place.as_ref(), &order) {
                            true => judge(place.as_ref()),
                            // Not everything is done twice.
                            false if order.contains("nth") => Ok(()),
                            false => Err("it did not die".to_owned()),
                        };
                        if let Err(problem) = judged {
                            problems.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{} {order}: {problem}", self.job));
                        }
                    }
                });
            }
        });
        let problems = problems.into_inner().unwrap_or_else(PoisonError::into_inner);
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}
