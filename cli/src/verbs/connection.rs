//! `mainstay connection`

use mainstay_client::Mesh;
use mainstay_core::catalogue;
use mainstay_proto::v1::{KnownConnection, ListConnectionsRequest, StartRunRequest};

use super::Screen;
use super::run::follow::{Follow, follow};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::{Table, Terminal, units};

/// The bundled plan that looks at one connection.
const PLAN: &str = "connection-test";
/// Nodes that are named in a table; more are counted.
const NODES_NAMED: usize = 3;

pub async fn connection(verb: &args::connection::Connection, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    match verb {
        args::connection::Connection::List => {
            let known = mesh.list_connections(ListConnectionsRequest {}).await?;
            screen.show(&known, |known| render(&known.connections, screen.terminal))?;
            Ok(Exit::Success)
        }
        args::connection::Connection::Test { name, dry_run } => test(name, *dry_run, mesh, screen).await,
    }
}

async fn test(name: &str, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let known = mesh.list_connections(ListConnectionsRequest {}).await?.connections;
    let connection = choose(name, &known)?;
    if dry_run {
        let by = nodes(connection.agents_up, &connection.up);
        let words = format!("✔ {name} ({}) would be looked at by an agent of {by}; nothing was started", connection.kind);
        screen.done(connection, &words)?;
        return Ok(Exit::Success);
    }
    let request = StartRunRequest {
        plan: PLAN.to_owned(),
        inputs: [("connection", name), ("kind", connection.kind.as_str())].map(|(input, value)| (input.to_owned(), json(value))).into(),
        ..StartRunRequest::default()
    };
    let started = mesh.start_run(request).await?;
    follow(mesh, &started.run, Follow { screen, quiet: false }).await
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The connection of that name that somebody has who can be asked.
fn choose<'a>(name: &str, known: &'a [KnownConnection]) -> Result<&'a KnownConnection, CliError> {
    let named: Vec<&KnownConnection> = known.iter().filter(|connection| connection.name == name).collect();
    match named.as_slice() {
        [] => {
            let error = CliError::usage(format!("no agent has a connection {name}"));
            let meant = catalogue::nearest(name, known.iter().map(|connection| connection.name.as_str()));
            let error = meant.into_iter().fold(error, |error, meant| error.with_next(format!("did you mean  mainstay connection test {meant}")));
            Err(error.with_next(format!("or add to an agent's connections.toml:  [connections.{name}]  kind = \"…\"  url = \"…\"")))
        }
        several => match several.iter().find(|connection| connection.agents_up > 0) {
            Some(connection) => Ok(connection),
            None => {
                let who = several.first().map_or_else(String::new, |connection| nodes(connection.agents_away, &connection.away));
                Err(CliError::failed(format!("nobody who has the connection {name} is linked now: {who}")).with_next("see  mainstay node list"))
            }
        },
    }
}

fn render(known: &[KnownConnection], terminal: Terminal) -> String {
    if known.is_empty() {
        return "no connections yet: declare one in an agent's connections.toml\n  [connections.orders-db]\n  kind = \"postgres\"\n  url = \"postgres://app@db.example/orders\"\n".to_owned();
    }
    let mut table = Table::new(terminal, &["connection", "kind", "by agents of", "not linked"]).wrapping(&[2, 3]);
    for connection in known {
        let cell = |count, named: &[String]| if count == 0 { "–".to_owned() } else { nodes(count, named) };
        table.row(vec![
            connection.name.as_str().into(),
            connection.kind.as_str().into(),
            cell(connection.agents_up, &connection.up).into(),
            if connection.agents_away == 0 { String::new().into() } else { cell(connection.agents_away, &connection.away).into() },
        ]);
    }
    table.render()
}

/// The first of so many nodes.
fn nodes(count: u32, named: &[String]) -> String {
    let shown = named.iter().take(NODES_NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = (count as usize).saturating_sub(named.len().min(NODES_NAMED));
    if more == 0 { shown } else { format!("{shown} and {}", units::count(more as u64, "more", "more")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::layout::width;

    fn known(name: &str, kind: &str, up: &[&str], away: &[&str]) -> KnownConnection {
        let texts = |nodes: &[&str]| nodes.iter().map(|&node| node.to_owned()).collect::<Vec<_>>();
        KnownConnection {
            name: name.into(),
            kind: kind.into(),
            agents_up: up.len() as u32,
            up: texts(up),
            agents_away: away.len() as u32,
            away: texts(away),
        }
    }

    #[test]
    fn connections_fit_a_terminal_and_are_lines_in_a_pipe() {
        let all = [known("orders-db", "postgres", &["prod/a1", "prod/a2", "prod/a3", "prod/a4"], &[]), known("cache", "redis", &[], &["prod/a9"])];
        let text = render(&all, Terminal { width: Some(80), colour: false });
        assert!(text.lines().all(|line| width(line) <= 80), "{text}");
        let text = render(&all, Terminal::PIPE);
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("orders-db   postgres  prod/a1, prod/a2, prod/a3 and 1 more"), "{text}");
        assert!(render(&[], Terminal::PIPE).contains("[connections.orders-db]"));
    }

    #[test]
    fn the_connection_that_is_meant_is_one_that_somebody_has_now() {
        let all = [known("db", "postgres", &[], &["c/b"]), known("db", "redis", &["c/a"], &[]), known("gone", "redis", &[], &["c/b"])];
        assert_eq!(choose("db", &all).map(|connection| connection.kind.as_str()), Ok("redis"));
        let error = choose("gone", &all).map(|_| ()).unwrap_err();
        assert!(error.message.ends_with("is linked now: c/b") && error.exit == Exit::Failed, "{error}");
        let error = choose("gon", &all).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("no agent has a connection gon") && error.contains("mainstay connection test gone"), "{error}");
    }
}
