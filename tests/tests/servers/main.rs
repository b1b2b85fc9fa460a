//! The bundled plans against real PostgreSQL, Redis, Prometheus and nginx, through a whole mesh: all well, and
//! with each fault that a person would want to be told of. What is put into the connections is seen nowhere else.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops with words")]

mod backups;
mod bucket;
mod canary;
mod faults;
mod interrupted;
mod look;
mod requests;
mod restores;
mod silences;
mod stage;
mod values;

use stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daily_plan_finds_what_is_wrong_and_nothing_else_and_keeps_its_secrets() {
    let mut stage = Stage::start().await;
    let watch = stage.canary.watch(stage.up.supervisor_pid());
    faults::all_is_well(&stage).await;
    faults::each_is_found_and_clears(&mut stage).await;
    requests::stay_where_they_may_go(&stage).await;
    canary::is_found_nowhere(&stage, watch).await;
}
