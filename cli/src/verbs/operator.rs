//! `mainstay operator`

use mainstay_client::Mesh;
use mainstay_core::id::PrincipalName;
use mainstay_core::{Identity, Millis, WallTime};
use mainstay_proto::v1::create_join_token_request::Scope;
use mainstay_proto::v1::{CreateJoinTokenRequest, ListOperatorsRequest, Operator, RemoveOperatorRequest, SetOperatorRequest};
use serde::Serialize;

use super::{Screen, now, print, token, zone};
use crate::args::identity::{Operator as Verb, Role};
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::progress::note;
use crate::render::{Entry, Table, Terminal, Tone, time};

pub async fn operator(verb: &Verb, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    match verb {
        Verb::Add { name, role, no_login: true, dry_run, .. } => give(name, *role, *dry_run, mesh, screen).await?,
        Verb::Add { name, role, valid, dry_run, no_login: false } => {
            add(&Invited { name, role: *role, valid: *valid, dry_run: *dry_run }, mesh, screen).await?
        }
        Verb::List => {
            let operators = mesh.list_operators(ListOperatorsRequest {}).await?;
            screen.show(&operators, |operators| render(&operators.operators, screen.terminal, now()))?;
        }
        Verb::Role { name, role, dry_run } => {
            known(name, mesh).await?;
            let answer = mesh.set_operator(SetOperatorRequest { name: name.clone(), role: role.as_str().into(), dry_run: *dry_run }).await?;
            let words = match (*dry_run, answer.before == answer.role) {
                (_, true) => format!("✔ {name} is {} already", answer.role),
                (true, false) => format!("✔ {name} would be {}, and is {}; nothing was changed", answer.role, answer.before),
                (false, false) => format!("✔ {name} is {} from now on, and was {}", answer.role, answer.before),
            };
            screen.done(&answer, &words)?;
        }
        Verb::Remove { name, dry_run } => {
            let answer = mesh.remove_operator(RemoveOperatorRequest { name: name.clone(), dry_run: *dry_run }).await?;
            let words = if *dry_run {
                format!("✔ {name}, who is {}, would have no role any more; nothing was changed", answer.before)
            } else {
                format!("✔ {name} has no role any more, and its connections are ended")
            };
            screen.done(&answer, &words)?;
        }
        Verb::Revoke { name, reason, dry_run } => {
            known(name, mesh).await?;
            return token::revoke_identity(&Identity::Operator(parsed(name)?), reason, *dry_run, mesh, screen).await;
        }
    }
    Ok(Exit::Success)
}

fn parsed(name: &str) -> Result<PrincipalName, CliError> {
    name.parse().map_err(|error| CliError::usage(format!("{error}")))
}

/// A name that is only nearly right must not be revoked: it could never be given to anybody.
async fn known(name: &str, mesh: &Mesh) -> Result<(), CliError> {
    let operators = mesh.list_operators(ListOperatorsRequest {}).await?.operators;
    if operators.iter().any(|operator| operator.name == name) {
        return Ok(());
    }
    let names: Vec<&str> = operators.iter().filter(|operator| operator.revoked_unix_ms == 0).map(|operator| operator.name.as_str()).collect();
    Err(CliError::usage(format!("there is no operator {name}")).with_next(format!("operators are {}", names.join(", "))))
}

struct Invited<'a> {
    name: &'a str,
    role: Role,
    valid: Millis,
    dry_run: bool,
}

/// `-o json` of `operator add`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Added<'a> {
    name: &'a str,
    role: &'a str,
    /// The line to hand over; empty in a dry run.
    login: String,
    token: &'a str,
    token_id: &'a str,
    expires_unix_ms: i64,
}

async fn add(invited: &Invited<'_>, mesh: &Mesh, screen: Screen) -> Result<(), CliError> {
    let &Invited { name, role, valid, dry_run } = invited;
    let scope = Some(Scope::Operator(parsed(name)?.to_string()));
    let made = mesh.create_join_token(CreateJoinTokenRequest { scope, valid_ms: valid.0, uses: 1, role: role.as_str().into(), dry_run }).await?;
    let login = if dry_run { String::new() } else { login_line(&made.token) };
    let until = time::local(made.expires_unix_ms, now(), &zone());
    if screen.is_json() {
        let (token, token_id) = (made.token.as_str(), made.id.as_str());
        let added = Added { name, role: role.as_str(), login, token, token_id, expires_unix_ms: made.expires_unix_ms };
        return screen.show(&added, |_| String::new());
    }
    if dry_run {
        return print(&format!("✔ {name} would be {}, with a login that is good until {until}; nothing was changed\n", role.as_str()));
    }
    // The line alone on standard output, so that it can go on to wherever it is to be read.
    print(&format!("{login}\n"))?;
    note(screen.notes, &format!("✔ {name} is {}: hand this line over; it is good once, until {until}", role.as_str()));
    Ok(())
}

/// Gives a new operator its role and no more.
async fn give(name: &str, role: Role, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<(), CliError> {
    let request = |dry_run| SetOperatorRequest { name: name.to_owned(), role: role.as_str().into(), dry_run };
    let present = mesh.set_operator(request(true)).await?.before;
    if !present.is_empty() && present != role.as_str() {
        return Err(CliError::failed(format!("{name} is {present} already"))
            .with_next(format!("change that:  mainstay operator role {name} {}", role.as_str())));
    }
    let answer = mesh.set_operator(request(dry_run)).await?;
    let words = if dry_run { format!("✔ {name} would be {}; nothing was changed", answer.role) } else { format!("✔ {name} is {}", answer.role) };
    screen.done(&answer, &words)
}

/// Addresses of IPv6 have brackets, which shells take for patterns.
fn login_line(token: &str) -> String {
    if token.contains('[') { format!("mainstay login '{token}'") } else { format!("mainstay login {token}") }
}

fn render(operators: &[Operator], terminal: Terminal, now: WallTime) -> String {
    let mut table = Table::new(terminal, &["operator", "role", "enrolled", "last seen", "waiting for", "revoked"]).wrapping(&[4, 5]);
    for operator in operators {
        let revoked = operator.revoked_unix_ms != 0;
        let pending: Vec<String> = operator
            .pending
            .iter()
            .map(|grant| format!("login by {} ({})", time::local(grant.expires_unix_ms, now, &zone()), token::shown_id(grant)))
            .collect();
        table.row(vec![
            operator.name.as_str().into(),
            if revoked { Entry::toned("✖ revoked", Tone::Bad) } else { operator.role.as_str().into() },
            time::ago(operator.enrolled_unix_ms, now).into(),
            time::ago(operator.last_seen_unix_ms, now).into(),
            pending.join(", ").into(),
            if revoked { format!("{}: {}", time::ago(operator.revoked_unix_ms, now), operator.reason).into() } else { "".into() },
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use mainstay_proto::v1::JoinGrant;

    use super::*;

    #[test]
    fn the_list_says_what_somebody_may_and_what_is_waited_for() {
        let now = WallTime(10_000_000);
        let operators = [
            Operator { name: "ana".into(), role: "admin".into(), enrolled_unix_ms: 1, last_seen_unix_ms: now.0 - 240_000, ..Operator::default() },
            Operator {
                name: "ben".into(),
                role: "viewer".into(),
                pending: vec![JoinGrant { id: "5f2c9a81d0b3ff".into(), expires_unix_ms: now.0, ..JoinGrant::default() }],
                ..Operator::default()
            },
            Operator { name: "eve".into(), revoked_unix_ms: now.0 - 60_000, reason: "left".into(), ..Operator::default() },
        ];
        let text = render(&operators, Terminal::PIPE, now);
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows[1].starts_with("ana       admin") && rows[1].contains("4m ago"), "{text}");
        assert!(rows[2].contains("login by ") && rows[2].contains("(5f2c9a81d0b3)"), "{text}");
        assert!(rows[3].contains("✖ revoked") && rows[3].ends_with("60s ago: left"), "{text}");
    }

    #[test]
    fn a_login_is_one_line_that_a_shell_takes_as_it_is() {
        assert_eq!(login_line("mst1.a.b.operator/ana@h:1"), "mainstay login mst1.a.b.operator/ana@h:1");
        assert_eq!(login_line("mst1.a.b.operator/ana@[::1]:1"), "mainstay login 'mst1.a.b.operator/ana@[::1]:1'");
    }
}
