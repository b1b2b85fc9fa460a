//! `mainstay audit`

use mainstay_client::Mesh;
use mainstay_proto::v1::{ListAuditRequest, ListAuditResponse};

use super::{Screen, now, zone};
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::{Table, Terminal, Tone, time};

/// Ends with failure when the chain is broken: somebody has changed what was written.
pub async fn audit(limit: u32, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let audit = mesh.list_audit(ListAuditRequest { limit }).await?;
    screen.show(&audit, |audit| render(audit, screen.terminal))?;
    Ok(if audit.intact { Exit::Success } else { Exit::Failed })
}

fn render(audit: &ListAuditResponse, terminal: Terminal) -> String {
    let (now, zone) = (now(), zone());
    let mut table = Table::new(terminal, &["no", "when", "who", "what", "outcome"]).wrapping(&[3, 4]);
    for record in &audit.records {
        table.row(vec![
            record.number.to_string().into(),
            time::local(record.unix_ms, now, &zone).into(),
            record.by.as_str().into(),
            record.what.as_str().into(),
            record.outcome.as_str().into(),
        ]);
    }
    let chain = if audit.intact {
        terminal.paint(Tone::Good, "✔ the chain of hashes is whole")
    } else {
        terminal.paint(Tone::Bad, "✖ the chain of hashes is broken: records were changed or taken out")
    };
    format!("{}\n{chain}\n", table.render())
}
