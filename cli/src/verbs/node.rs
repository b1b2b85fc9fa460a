//! `mainstay node`

use mainstay_client::Mesh;
use mainstay_core::{AgentId, WallTime};
use mainstay_proto::v1::{ForgetNodeRequest, ListNodesRequest, Node};

use super::{Screen, now};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::{Table, Terminal, time, verdict};

pub async fn node(verb: &args::node::Node, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    match verb {
        args::node::Node::List { cluster } => {
            let nodes = mesh.list_nodes(ListNodesRequest { cluster: cluster.clone() }).await?;
            screen.show(&nodes, |nodes| render(&nodes.nodes, screen.terminal, now()))?;
        }
        args::node::Node::Forget { node, dry_run } => {
            let id: AgentId = node.parse().map_err(|error| CliError::usage(format!("{error}")).with_next("see the nodes:  mainstay node list"))?;
            let answer = mesh.forget_node(ForgetNodeRequest { cluster: id.cluster.to_string(), name: id.name(), dry_run: *dry_run }).await?;
            let words = if *dry_run {
                format!("✔ would take {node} out of the registry; nothing was changed")
            } else {
                format!("✔ {node} is no longer in the registry")
            };
            screen.done(&answer, &words)?;
        }
    }
    Ok(Exit::Success)
}

fn render(nodes: &[Node], terminal: Terminal, now: WallTime) -> String {
    if nodes.is_empty() {
        return "no nodes yet: let one in with  mainstay token create --nodes CLUSTER\n".to_owned();
    }
    let mut table =
        Table::new(terminal, &["node", "agent", "since", "steps", "speaks for", "version", "kinds"]).wrapping(&[6]).giving_way(&[6, 5, 4]);
    for node in nodes {
        table.row(vec![
            format!("{}/{}", node.cluster, node.name).into(),
            verdict::link(node.link()).into(),
            time::ago(node.since_unix_ms, now).into(),
            if node.steps_open > 0 { node.steps_open.to_string().into() } else { "–".into() },
            speaks_for(node).into(),
            node.version.as_str().into(),
            node.kinds.join(" ").into(),
        ]);
    }
    table.render()
}

fn speaks_for(node: &Node) -> &'static str {
    match (node.cluster_agent, node.acts, node.host) {
        (true, true, _) => "its cluster, acts",
        (true, false, _) => "its cluster",
        (false, _, true) => "its machine",
        (false, _, false) => "–",
    }
}

#[cfg(test)]
mod tests {
    use mainstay_proto::v1::LinkState;

    use super::*;
    use crate::render::layout::width;

    #[test]
    fn nodes_fit_a_terminal_and_are_lines_in_a_pipe() {
        let kinds = ["node.resources", "node.services", "logs.errors", "http.check", "tls.check"].map(str::to_owned).to_vec();
        let node = |name: &str, link: LinkState, host| Node {
            cluster: "local".into(),
            name: name.into(),
            link: link.into(),
            since_unix_ms: 1_000,
            version: "0.1.0".into(),
            host,
            kinds: kinds.clone(),
            ..Node::default()
        };
        let nodes = [node("a1", LinkState::Up, true), node("a2", LinkState::Lost, false)];
        let text = render(&nodes, Terminal { width: Some(80), colour: false }, WallTime(241_000));
        assert!(text.lines().all(|line| width(line) <= 80), "{text}");
        assert_eq!(text.lines().count(), 3, "a line for each node, without their kinds:\n{text}");
        let text = render(&nodes, Terminal::PIPE, WallTime(241_000));
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("local/a1  ✔ up    4m ago  –      its machine  0.1.0    node.resources node.services"), "{text}");
    }
}
