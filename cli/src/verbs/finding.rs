//! `mainstay finding`

use mainstay_client::Mesh;
use mainstay_core::WallTime;
use mainstay_proto::v1::{Check, Finding, ListFindingsRequest};

use super::{Screen, now};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::layout::{harmless, pad, width, wrap};
use crate::render::{Terminal, Tone, subject, time, units, verdict};

pub async fn finding(verb: &args::node::Finding, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let args::node::Finding::List { cleared } = verb;
    let findings = mesh.list_findings(ListFindingsRequest { cleared: *cleared }).await?;
    screen.show(&findings, |findings| render(&findings.findings, screen.terminal, now()))?;
    Ok(Exit::Success)
}

/// A finding a block: what, where, since when; then the hint.
fn render(findings: &[Finding], terminal: Terminal, now: WallTime) -> String {
    if findings.is_empty() {
        return "✔ nothing is wrong or unknown, as far as the last runs have seen\n".to_owned();
    }
    let targets = findings.iter().map(|finding| width(&finding.target)).max().unwrap_or(0);
    let margin = 14;
    let mut text = String::new();
    for finding in findings {
        let mark = verdict::verdict(finding.severity());
        let (mark, tone) = if finding.cleared_unix_ms > 0 { ("✔ cleared".to_owned(), Tone::Quiet) } else { (mark.text(), mark.tone) };
        let room = terminal.width.map(|width| width.saturating_sub(margin + targets + 2));
        let lines = wrap(&harmless(&sentence(finding)), room);
        for (i, line) in lines.iter().enumerate() {
            text += &match i {
                0 => format!("  {}  {}  {line}\n", terminal.paint(tone, &pad(&mark, 10)), pad(&harmless(&finding.target), targets)),
                _ => format!("{}{line}\n", " ".repeat(margin + targets + 2)),
            };
        }
        let seen = units::count(finding.seen, "time", "times");
        let mut when = format!(
            "first {} · last {} · seen {seen} · {}",
            time::ago(finding.first_seen_unix_ms, now),
            time::ago(finding.last_seen_unix_ms, now),
            finding.run
        );
        if finding.cleared_unix_ms > 0 {
            when += &format!(" · cleared {}", time::ago(finding.cleared_unix_ms, now));
        }
        let mut below = vec![when];
        if !finding.hint.is_empty() && finding.cleared_unix_ms == 0 {
            below.push(format!("→ {}", finding.hint));
        }
        let lines = below.iter().flat_map(|line| wrap(&harmless(line), terminal.width.map(|width| width.saturating_sub(margin))));
        text.extend(lines.map(|line| format!("{}{}\n", " ".repeat(margin), terminal.paint(Tone::Quiet, &line))));
    }
    text
}

fn sentence(finding: &Finding) -> String {
    subject::sentence(&Check { id: finding.check.clone(), subject: finding.subject.clone(), message: finding.message.clone(), ..Check::default() })
}

#[cfg(test)]
mod tests {
    use mainstay_proto::v1::Verdict;

    use super::*;

    #[test]
    fn a_finding_says_what_where_and_since_when() {
        let finding = Finding {
            target: "local/a1".into(),
            check: "disk.used".into(),
            subject: "/var".into(),
            severity: Verdict::Critical.into(),
            message: "96 % full, 1.1 GiB left".into(),
            hint: "du -xh /var".into(),
            first_seen_unix_ms: 1_000,
            last_seen_unix_ms: 240_000,
            seen: 3,
            run: "daily-4".into(),
            ..Finding::default()
        };
        let cleared = Finding { cleared_unix_ms: 240_000, severity: Verdict::Warning.into(), ..finding.clone() };
        assert_eq!(
            render(&[finding, cleared], Terminal { width: Some(80), colour: false }, WallTime(241_000)),
            "  ✖ critical  local/a1  disk /var is 96 % full, 1.1 GiB left\n              \
             first 4m ago · last just now · seen 3 times · daily-4\n              \
             → du -xh /var\n  \
             ✔ cleared   local/a1  disk /var is 96 % full, 1.1 GiB left\n              \
             first 4m ago · last just now · seen 3 times · daily-4 · cleared\n              just now\n"
        );
        assert_eq!(render(&[], Terminal::PIPE, WallTime(0)), "✔ nothing is wrong or unknown, as far as the last runs have seen\n");
    }
}
