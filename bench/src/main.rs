//! Measures a mesh of real processes and replaces the rows it measured in `bench/results.json`.
//!
//! `make bench` runs all areas, `make bench ONLY=agent` one, `make bench ONLY=lease.held` one part of an area. Figures are of the release build, with mutual
//! TLS and fsync as shipped.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::expect_used, reason = "a measurement reads the clock and prints")]

mod backup;
mod expressions;
mod idle;
mod kube;
mod leader_loss;
mod lease;
mod results;
mod transition;
mod up_ready;

use std::process::ExitCode;

use results::Row;

#[tokio::main]
async fn main() -> ExitCode {
    let only = std::env::args().nth(1);
    let wanted = |area: &str| only.as_deref().is_none_or(|only| area.starts_with(only));
    let mut rows: Vec<Row> = Vec::new();
    if wanted("expr") {
        rows.push(expressions::measure());
    }
    rows.extend(lease::measure(only.as_deref()).await);
    if wanted("mesh") {
        rows.push(up_ready::measure().await);
        rows.push(leader_loss::measure().await);
    }
    if wanted("agent") || wanted("mesh") {
        rows.extend(idle::measure().await);
    }
    if wanted("kube") {
        rows.extend(kube::measure().await);
    }
    if wanted("transition") {
        rows.extend(transition::measure().await);
    }
    if wanted("backup") {
        rows.extend(backup::measure().await);
    }
    match results::replace(&rows) {
        Ok(path) => {
            for row in &rows {
                println!("{row}");
            }
            println!("written to {}", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("cannot write the results: {error}");
            ExitCode::FAILURE
        }
    }
}
