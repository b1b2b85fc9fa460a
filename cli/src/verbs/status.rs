//! `mainstay status`

use mainstay_client::Mesh;
use mainstay_proto::v1::{GetStatusRequest, Member, MemberRole, RunOnHold, Status, Verdict};
use mainstay_proto::words::Word;

use super::Screen;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::page::Page;
use crate::render::{Entry, Table, Terminal, Tone, units, verdict};

pub async fn status(mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let status = mesh.get_status(GetStatusRequest {}).await?;
    screen.show(&status, |status| render(status, screen.terminal))?;
    Ok(Exit::Success)
}

fn render(status: &Status, terminal: Terminal) -> String {
    let agents = format!("{} of {} agents up", status.agents_up, status.agents_total);
    let agents = if status.agents_up < status.agents_total { terminal.paint(Tone::Warning, &format!("▲ {agents}")) } else { agents };
    let parts = [
        format!("mesh {}", terminal.paint(Tone::Strong, &status.mesh)),
        units::count(status.members.len() as u64, "member", "members"),
        agents,
        format!("{} open", units::count(status.runs_open.into(), "run", "runs")),
        format!("{} held", units::count(status.leases_held.into(), "lease", "leases")),
    ];
    let mut text = format!("{}\n\n", parts.join(" · "));
    text += &members(&status.members, terminal);
    text += &format!("\n  findings  {}\n", findings(status, terminal));
    text += &on_hold(&status.runs_on_hold, terminal);
    let share = status.state_bytes as f64 / status.state_bytes_max.max(1) as f64 * 100.0;
    text += &format!(
        "  state     {} of {} ({}) · {} applied\n",
        units::bytes(status.state_bytes as f64),
        units::bytes(status.state_bytes_max as f64),
        units::quantity(share, "%"),
        units::count(status.applied, "entry", "entries")
    );
    text
}

/// Runs that need a person, with what to type.
fn on_hold(runs: &[RunOnHold], terminal: Terminal) -> String {
    const SHOWN: usize = 5;
    let mut page = Page::new(terminal);
    for (i, hold) in runs.iter().take(SHOWN).enumerate() {
        let label = if i == 0 { "on hold" } else { "" };
        let time = units::duration_ms(hold.waited_ms);
        let when = if hold.ended { format!("ended {time} ago") } else { format!("for {time}") };
        let words = format!("▲ {} {when}: {}", hold.run, hold.reason);
        page.labelled(2, 10, (label, Tone::Plain), Tone::Warning, &words);
    }
    if runs.len() > SHOWN {
        page.line(12, Tone::Warning, &format!("and {} more   mainstay why", runs.len() - SHOWN));
    }
    page.finish()
}

fn findings(status: &Status, terminal: Terminal) -> String {
    let counts = [(status.critical, Verdict::Critical), (status.unknown, Verdict::Unknown), (status.warning, Verdict::Warning)];
    let open: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, severity)| {
            let mark = verdict::verdict(severity);
            terminal.paint(mark.tone, &format!("{} {count} {}", mark.symbol, mark.word))
        })
        .collect();
    if open.is_empty() { terminal.paint(Tone::Good, "✔ none") } else { format!("{}   mainstay finding list", open.join(" · ")) }
}

/// The table of members, also of `mainstay member list`.
pub fn members(members: &[Member], terminal: Terminal) -> String {
    let mut table = Table::new(terminal, &["member", "role", "state", "behind", "address", "version", "id"]).wrapping(&[]).indented(2);
    for member in members {
        let role = if member.leader { Entry::toned("leader", Tone::Strong) } else { member.role().word().into() };
        let state = match (member.reachable, member.role()) {
            (false, _) => Entry::toned("✖ silent", Tone::Bad),
            (true, MemberRole::Learner) => Entry::toned("↻ catching up", Tone::Warning),
            (true, _) => Entry::toned("✔ up", Tone::Good),
        };
        table.row(vec![
            member.name.as_str().into(),
            role,
            state,
            if member.behind > 0 { units::quantity(member.behind as f64, "").into() } else { "–".into() },
            member.address.as_str().into(),
            member.version.as_str().into(),
            member.id.as_str().into(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::layout::width;

    fn example() -> Status {
        let member = |name: &str, leader, reachable| Member {
            id: format!("00000000000000{name}"),
            name: name.into(),
            address: "127.0.0.1:21001".into(),
            role: MemberRole::Voter.into(),
            leader,
            reachable,
            version: "0.1.0".into(),
            behind: if reachable { 0 } else { 1_204 },
            ..Member::default()
        };
        Status {
            mesh: "local".into(),
            members: vec![member("c1", true, true), member("c2", false, false)],
            agents_up: 2,
            agents_total: 3,
            critical: 1,
            warning: 2,
            applied: 1_204,
            state_bytes: 51_200,
            state_bytes_max: 64 << 20,
            runs_on_hold: vec![
                RunOnHold {
                    run: "reboot-7".into(),
                    reason: "approval by an operator:  mainstay run approve reboot-7 --wave 3".into(),
                    waited_ms: 252_000,
                    ended: false,
                },
                RunOnHold {
                    run: "deploy-4".into(),
                    reason: "it still holds lease deploy/shop for switch on prod/a1:  mainstay lease release deploy/shop --proof \"…\"".into(),
                    waited_ms: 7_200_000,
                    ended: true,
                },
            ],
            ..Status::default()
        }
    }

    #[test]
    fn the_mesh_at_a_glance() {
        insta::assert_snapshot!(render(&example(), Terminal { width: Some(80), colour: false }));
    }

    #[test]
    fn it_fits() {
        for columns in [80, 100, 160] {
            let text = render(&example(), Terminal { width: Some(columns), colour: false });
            assert!(text.lines().all(|line| width(line) <= columns), "{text}");
        }
    }

    #[test]
    fn json_has_all_of_it() {
        insta::assert_snapshot!(crate::render::json::json(&example()).unwrap());
    }
}
