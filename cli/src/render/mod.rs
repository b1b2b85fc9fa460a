//! From messages of the mesh to what a person reads: pure functions of values to text. Nothing here prints,
//! connects or reads a clock.

pub mod json;
pub mod layout;
pub mod progress;
pub mod report;
pub mod run;
pub mod spark;
pub mod subject;
pub mod table;
pub mod terminal;
pub mod time;
pub mod units;
pub mod verdict;

pub use table::{Entry, Table};
pub use terminal::{Terminal, Tone};
