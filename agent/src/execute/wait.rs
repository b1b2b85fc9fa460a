//! `wait`: lets time pass.

use mainstay_core::report::Report;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::params::{self, Span};
use super::{Context, StepError};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    r#for: Span,
}

pub(super) async fn execute(with: &Map<String, Value>, _context: &Context) -> Result<Report, StepError> {
    let Params { r#for } = params::read("wait", with)?;
    tokio::time::sleep(r#for.0.as_duration()).await;
    Ok(Report::default())
}
