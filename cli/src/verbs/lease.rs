//! `mainstay lease`

mod hold;

use mainstay_client::Mesh;
use mainstay_core::WallTime;
use mainstay_proto::v1::{FreeClaimRequest, GetLeaseRequest, Lease, LeaseHolder, LeaseKind, LeaseSpec, ListLeasesRequest};

use super::{Screen, now};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::{Table, Terminal, Tone, names, time, units};

/// What stands before a run that holds a lease.
const RUN: &str = "run/";

pub async fn lease(verb: &args::lease::Lease, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    use args::lease::Lease as Verb;
    match verb {
        Verb::List { prefix } => {
            let leases = mesh.list_leases(ListLeasesRequest { prefix: prefix.clone() }).await?;
            screen.show(&leases, |leases| list(&leases.leases, screen.terminal, now()))?;
        }
        Verb::Show { name } => {
            let lease = mesh.get_lease(GetLeaseRequest { name: name.clone() }).await?;
            screen.show(&lease, |lease| page(lease, screen.terminal, now()))?;
        }
        Verb::Run(hold) => return hold::run(hold, mesh, screen).await,
        Verb::Release { name, proof, token, dry_run } => {
            let token = match token {
                Some(token) => token.clone(),
                None => only_holder(&mesh.get_lease(GetLeaseRequest { name: name.clone() }).await?)?,
            };
            let request = FreeClaimRequest { name: name.clone(), token: token.clone(), proof: proof.clone(), dry_run: *dry_run };
            let answer = mesh.free_claim(request).await?;
            let words = if *dry_run {
                format!("✔ would free {name} of its holder with token {token}; nothing was changed")
            } else {
                format!("✔ {name} is free; the audit log has your word for it")
            };
            screen.done(&answer, &words)?;
        }
    }
    Ok(Exit::Success)
}

/// Token of the one who holds it, where it is clear who is meant.
fn only_holder(lease: &Lease) -> Result<String, CliError> {
    match lease.held.as_slice() {
        [holder] => Ok(holder.token.clone()),
        [] => Err(CliError::failed(format!("nobody holds {}", lease.name))),
        several => {
            let error = CliError::usage(format!(
                "{} is held by {}: say by --token whose place is to be freed",
                lease.name,
                units::count(several.len() as u64, "holder", "holders")
            ));
            Err(several.iter().fold(error, |error, holder| error.with_next(format!("--token {}   {}", holder.token, holder.identity))))
        }
    }
}

fn list(leases: &[Lease], terminal: Terminal, now: WallTime) -> String {
    if leases.is_empty() {
        return "no leases yet: take one with  mainstay lease run NAME -- COMMAND\n".to_owned();
    }
    let mut table = Table::new(terminal, &["lease", "kind", "held", "waiting", "holder", "since", "token"]).wrapping(&[4]);
    for lease in leases {
        let spec = lease.spec.unwrap_or_default();
        let first = lease.held.first();
        let others = lease.held.len().saturating_sub(1);
        let holder =
            first.map_or_else(|| "–".to_owned(), |holder| if others > 0 { format!("{} and {others} more", who(holder)) } else { who(holder) });
        table.row(vec![
            lease.name.as_str().into(),
            kind(&spec).into(),
            format!("{}/{}", lease.held.len(), spec.slots.max(1)).into(),
            if lease.waiting.is_empty() { "–".into() } else { lease.waiting.len().to_string().into() },
            holder.into(),
            first.map_or_else(|| "–".to_owned(), |holder| time::ago(holder.since_unix_ms, now)).into(),
            first.map_or("", |holder| holder.token.as_str()).into(),
        ]);
    }
    table.render()
}

/// The holder; of a run, which step on which target.
fn who(holder: &LeaseHolder) -> String {
    if !holder.identity.starts_with(RUN) {
        return holder.identity.clone();
    }
    match (holder.attributes.get("step"), holder.attributes.get("target").map(|target| names::place("", target))) {
        (Some(step), None | Some("once")) => format!("{}, {step}", holder.identity),
        (Some(step), Some(target)) => format!("{}, {step} on {target}", holder.identity),
        _ => holder.identity.clone(),
    }
}

fn kind(spec: &LeaseSpec) -> String {
    match spec.kind() {
        LeaseKind::Claim => "claim".to_owned(),
        _ => format!("ttl {}", units::duration_ms(spec.ttl_ms)),
    }
}

fn page(lease: &Lease, terminal: Terminal, now: WallTime) -> String {
    let spec = lease.spec.unwrap_or_default();
    let head = format!("{} · {} · {} of {} held", terminal.paint(Tone::Strong, &lease.name), kind(&spec), lease.held.len(), spec.slots.max(1));
    let mut table = Table::new(terminal, &["", "who", "since", "token", "attributes"]).wrapping(&[1, 4]).indented(2);
    let row = |place: String, holder: &LeaseHolder| {
        let of_run = |name: &str| holder.identity.starts_with(RUN) && (name == "step" || name == "target");
        let attributes: Vec<String> =
            holder.attributes.iter().filter(|(name, _)| !of_run(name)).map(|(name, value)| format!("{name}={value}")).collect();
        vec![place.into(), who(holder).into(), time::ago(holder.since_unix_ms, now).into(), holder.token.as_str().into(), attributes.join(" ").into()]
    };
    lease.held.iter().for_each(|holder| table.row(row("holds it".to_owned(), holder)));
    lease.waiting.iter().enumerate().for_each(|(place, waiter)| table.row(row(format!("waits, {}", place + 1), waiter)));
    let runs: Vec<&str> = lease.held.iter().filter_map(|holder| holder.identity.strip_prefix(RUN)).collect();
    let why: String = runs.iter().take(3).map(|run| format!("\n  → mainstay why {run}\n")).collect();
    format!("{head}\n\n{}{why}", table.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(identity: &str, token: &str) -> LeaseHolder {
        LeaseHolder {
            identity: identity.into(),
            token: token.into(),
            since_unix_ms: 1_000,
            attributes: [("pid".to_owned(), "7".to_owned())].into(),
            ..LeaseHolder::default()
        }
    }

    fn lease(held: Vec<LeaseHolder>) -> Lease {
        Lease {
            name: "deploy/shop".into(),
            spec: Some(LeaseSpec { slots: 2, ttl_ms: 30_000, kind: LeaseKind::Ttl.into() }),
            held,
            waiting: vec![holder("operator/jo", "")],
        }
    }

    #[test]
    fn a_lease_says_who_has_it_and_who_waits() {
        let lease = lease(vec![holder("operator/ana", "1.7")]);
        assert_eq!(
            list(std::slice::from_ref(&lease), Terminal::PIPE, WallTime(241_000)),
            "LEASE        KIND        HELD  WAITING  HOLDER        SINCE   TOKEN\ndeploy/shop  ttl 30.0 s  1/2   1        operator/ana  4m ago  1.7\n"
        );
        let text = page(&lease, Terminal::PIPE, WallTime(241_000));
        assert!(text.starts_with("deploy/shop · ttl 30.0 s · 1 of 2 held\n\n"), "{text}");
        assert!(text.contains("  holds it  operator/ana  4m ago  1.7    pid=7\n  waits, 1  operator/jo   4m ago         pid=7\n"), "{text}");
    }

    #[test]
    fn a_run_that_holds_it_says_with_which_step() {
        let attributes = [("step".to_owned(), "drain".to_owned()), ("target".to_owned(), "prod/node-17".to_owned())].into();
        let run = LeaseHolder { attributes, ..holder("run/reboot-7", "1.9") };
        let lease = lease(vec![run]);
        let text = list(std::slice::from_ref(&lease), Terminal::PIPE, WallTime(241_000));
        assert!(text.contains("run/reboot-7, drain on prod/node-17  4m ago"), "{text}");
        let text = page(&lease, Terminal::PIPE, WallTime(241_000));
        assert!(text.contains("holds it  run/reboot-7, drain on prod/node-17  4m ago  1.9\n"), "{text}");
        assert!(text.ends_with("\n  → mainstay why reboot-7\n"), "{text}");
    }

    #[test]
    fn a_claim_is_freed_only_where_it_is_clear_whose() {
        assert_eq!(only_holder(&lease(vec![holder("a", "1.7")])), Ok("1.7".into()));
        assert_eq!(only_holder(&lease(vec![])).unwrap_err().exit, Exit::Failed);
        let error = only_holder(&lease(vec![holder("a", "1.7"), holder("b", "1.8")])).unwrap_err();
        assert_eq!((error.exit, error.next.len()), (Exit::Usage, 2));
    }
}
