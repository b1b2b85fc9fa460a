//! `bench/results.json`: one row a figure.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

/// One figure, beside its goal and, where there is one, its peer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub unit: String,
    /// `lower` or `higher`.
    pub better: String,
    pub mainstay: f64,
    pub peer: Option<f64>,
    pub peer_name: Option<String>,
    pub ratio: Option<f64>,
    pub goal: Option<f64>,
    /// `value` or `ratio`.
    pub goal_is: Option<String>,
    pub met: Option<bool>,
    pub measured_at: String,
    pub commit: String,
    pub machine: String,
    pub settings: String,
}

impl Row {
    /// A figure of which less is better, with a goal for its value.
    pub fn below(name: &str, unit: &str, value: f64, goal: f64, settings: &str) -> Row {
        Row {
            name: name.to_owned(),
            unit: unit.to_owned(),
            better: "lower".to_owned(),
            mainstay: rounded(value),
            peer: None,
            peer_name: None,
            ratio: None,
            goal: Some(goal),
            goal_is: Some("value".to_owned()),
            met: Some(value < goal),
            measured_at: said(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])),
            commit: said(Command::new("git").args(["rev-parse", "--short=12", "HEAD"])),
            machine: machine(),
            settings: settings.to_owned(),
        }
    }

    /// A figure beside the same one of a peer, with a goal for how many times better it is to be.
    #[allow(clippy::too_many_arguments, reason = "each is a column of the row")]
    pub fn beside(name: &str, unit: &str, better: Better, mainstay: f64, (peer_name, peer): (&str, f64), goal: f64, settings: &str) -> Row {
        let ratio = match better {
            Better::Higher => mainstay / peer,
            Better::Lower => peer / mainstay,
        };
        Row {
            better: if better == Better::Higher { "higher" } else { "lower" }.to_owned(),
            peer: Some(rounded(peer)),
            peer_name: Some(peer_name.to_owned()),
            ratio: Some(rounded(ratio)),
            goal_is: Some("ratio".to_owned()),
            met: Some(rounded(ratio) >= goal),
            ..Row::below(name, unit, mainstay, goal, settings)
        }
    }

    /// How often something happened that should not happen at all; beside it, how often it did with a peer.
    pub fn never(name: &str, unit: &str, value: f64, (peer_name, peer): (&str, f64), settings: &str) -> Row {
        Row {
            peer: Some(rounded(peer)),
            peer_name: Some(peer_name.to_owned()),
            met: Some(value <= 0.0),
            ..Row::below(name, unit, value, 0.0, settings)
        }
    }

    /// The same without a goal: it informs.
    pub fn informs(self) -> Row {
        Row { goal: None, goal_is: None, met: None, ..self }
    }
}

/// Which of two figures is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Lower,
    Higher,
}

fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<36} {:>10.3} {:<6}", self.name, self.mainstay, self.unit)?;
        if let (Some(peer), Some(name)) = (self.peer, &self.peer_name) {
            write!(f, " {name} {peer:.3}")?;
        }
        if let Some(ratio) = self.ratio {
            write!(f, ", {ratio:.2} times better")?;
        }
        match (self.goal, self.met) {
            (Some(goal), Some(met)) => write!(f, " goal {goal} {}", if met { "met" } else { "MISSED" }),
            _ => Ok(()),
        }
    }
}

/// Puts the rows into the file, each in the place of its namesake.
pub fn replace(rows: &[Row]) -> std::io::Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("results.json");
    let mut all: Vec<Row> = match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text).map_err(std::io::Error::other)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    all.retain(|old| !rows.iter().any(|row| row.name == old.name));
    all.extend(rows.iter().cloned());
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let text = serde_json::to_string_pretty(&all).map_err(std::io::Error::other)?;
    std::fs::write(&path, text + "\n")?;
    Ok(path)
}

fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)).and_then(|text| text.parse().ok()).unwrap_or(0);
    format!("{cpus} cores, {:.0} GiB, Linux {}", kib as f64 / (1 << 20) as f64, said(Command::new("uname").arg("-r")))
}

/// The middle one; half-way between the middle two of an even number.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
