//! From messages of the mesh to what a person reads: pure functions of values to text. Nothing here prints,
//! connects or reads a clock.

pub mod approval;
pub mod artifact;
pub mod forecast;
pub mod json;
pub mod layout;
pub mod names;
pub mod omitted;
pub mod page;
pub mod plan;
pub mod progress;
pub mod report;
pub mod run;
pub mod sheet;
pub mod spark;
pub mod subject;
pub mod table;
pub mod terminal;
pub mod time;
pub mod units;
pub mod values;
pub mod verdict;
pub mod why;

pub use sheet::Sheet;
pub use table::{Entry, Table};
pub use terminal::{Terminal, Tone};
