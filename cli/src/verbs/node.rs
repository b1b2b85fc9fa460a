//! `mainstay node`

use std::collections::BTreeSet;

use mainstay_client::Mesh;
use mainstay_core::{AgentId, WallTime};
use mainstay_proto::v1::{ForgetNodeRequest, GetNodeRequest, KnownCluster, ListNodesRequest, ListNodesResponse, Node, NodeDetails, NodeFact};

use super::{Screen, now};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::{Entry, Sheet, Table, Terminal, Tone, time, units, verdict};

pub async fn node(verb: &args::node::Node, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    match verb {
        args::node::Node::List { cluster } => {
            let nodes = mesh.list_nodes(ListNodesRequest { cluster: cluster.clone() }).await?;
            screen.show(&nodes, |nodes| list(nodes, screen.terminal, now()))?;
        }
        args::node::Node::Show { node } => {
            let (cluster, name) = node.split_once('/').ok_or_else(|| {
                CliError::usage(format!("`{node}` is not a node: it is written CLUSTER/NODE")).with_next("see the nodes:  mainstay node list")
            })?;
            let details = mesh.get_node(GetNodeRequest { cluster: cluster.to_owned(), name: name.to_owned() }).await?;
            screen.show(&details, |details| show(node, details, screen.terminal, now()))?;
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

fn list(answer: &ListNodesResponse, terminal: Terminal, now: WallTime) -> String {
    let known: BTreeSet<String> = answer.nodes.iter().map(|node| format!("{}/{}", node.cluster, node.name)).collect();
    let told = |cluster: &str| answer.clusters.iter().find(|known| known.cluster == cluster);
    let mut rows: Vec<(String, Vec<Entry>)> = Vec::new();
    for node in &answer.nodes {
        let name = format!("{}/{}", node.cluster, node.name);
        let cluster = told(&node.cluster);
        let fact = cluster.and_then(|cluster| Some((cluster, cluster.nodes.iter().find(|fact| fact.name == node.name)?)));
        let mut row = vec![
            name.as_str().into(),
            verdict::link(node.link()).into(),
            time::ago(node.since_unix_ms, now).into(),
            if node.steps_open > 0 { node.steps_open.to_string().into() } else { "–".into() },
        ];
        row.extend(of_cluster(fact));
        row.extend([speaks_for(node).into(), node.version.as_str().into(), node.kinds.join(" ").into()]);
        rows.push((name, row));
    }
    for (cluster, fact) in answer.clusters.iter().flat_map(|cluster| cluster.nodes.iter().map(move |fact| (cluster, fact))) {
        let name = format!("{}/{}", cluster.cluster, fact.name);
        if known.contains(&name) {
            continue;
        }
        let mut row = vec![name.as_str().into(), Entry::toned("· none", Tone::Quiet), "–".into(), "–".into()];
        row.extend(of_cluster(Some((cluster, fact))));
        row.extend(["–".into(), "".into(), "".into()]);
        rows.push((name, row));
    }
    if rows.is_empty() {
        return "no nodes yet: let one in with  mainstay token create --nodes CLUSTER\n".to_owned();
    }
    rows.sort_by(|(a, _), (b, _)| a.cmp(b));
    let headings = ["node", "agent", "since", "steps", "state", "zone", "kubelet", "speaks for", "version", "kinds"];
    let mut table = Table::new(terminal, &headings).wrapping(&[9]).giving_way(&[9, 8, 7, 6, 5]);
    rows.into_iter().for_each(|(_, row)| table.row(row));
    table.render()
}

/// State, zone and kubelet, where its cluster has told of it.
fn of_cluster(told: Option<(&KnownCluster, &NodeFact)>) -> [Entry; 3] {
    let Some((cluster, fact)) = told else { return ["".into(), "".into(), "".into()] };
    let (symbol, tone, words) = match (cluster.stale, fact.ready, fact.cordoned) {
        (true, ..) => ("?", Tone::Unknown, format!("{} {} ago", state(fact), units::duration_ms(cluster.age_ms))),
        (false, false, _) => ("✖", Tone::Bad, state(fact)),
        (false, true, true) => ("▲", Tone::Warning, state(fact)),
        (false, true, false) => ("✔", Tone::Good, state(fact)),
    };
    [Entry::toned(format!("{symbol} {words}"), tone), fact.zone.as_str().into(), fact.kubelet_version.as_str().into()]
}

fn state(fact: &NodeFact) -> String {
    let ready = if fact.ready { "ready" } else { "not ready" };
    if fact.cordoned { format!("{ready}, cordoned") } else { ready.to_owned() }
}

fn show(name: &str, details: &NodeDetails, terminal: Terminal, now: WallTime) -> String {
    let mut sheet = Sheet::new(terminal, 11);
    sheet.line(name);
    sheet.heading("Agent");
    match &details.agent {
        None => {
            sheet.line("  none: the mesh can do nothing on this node");
        }
        Some(agent) => {
            sheet.fact("link", &format!("{}, since {}", verdict::link(agent.link()).text(), time::ago(agent.since_unix_ms, now)));
            sheet.fact("version", if agent.version.is_empty() { "–" } else { &agent.version });
            sheet.fact("speaks for", speaks_for(agent));
            sheet.fact("open steps", &agent.steps_open.to_string());
            sheet.fact("kinds", &agent.kinds.join(" "));
        }
    }
    let (Some(known), Some(fact)) = (&details.known, &details.fact) else { return sheet.finish() };
    sheet.heading(&format!(
        "In its cluster, as {} said {} ago{}",
        known.told_by,
        units::duration_ms(known.age_ms),
        if known.stale { ": STALE" } else { "" }
    ));
    let since = if fact.ready_since_unix_ms > 0 { format!(", since {}", time::ago(fact.ready_since_unix_ms, now)) } else { String::new() };
    sheet.fact("state", &format!("{}{since}", state(fact)));
    let or_none = |words: &str| if words.is_empty() { "–".to_owned() } else { words.to_owned() };
    if !fact.not_ready_reason.is_empty() {
        sheet.fact("because", &fact.not_ready_reason);
    }
    sheet.fact("zone", &or_none(&fact.zone));
    sheet.fact("kubelet", &or_none(&fact.kubelet_version));
    sheet.fact(
        "allocatable",
        &format!(
            "{} CPUs, {}, {}",
            fact.allocatable_cpu_milli as f64 / 1_000.0,
            units::bytes(fact.allocatable_memory_bytes as f64),
            units::count(u64::from(fact.allocatable_pods), "pod", "pods")
        ),
    );
    for (word, all) in [("taints", &fact.taints), ("conditions", &fact.conditions)] {
        sheet.fact(word, &or_none(&all.join(", ")));
    }
    sheet.fact("boot id", &or_none(&fact.boot_id));
    sheet.fact("uid", &or_none(&fact.uid));
    sheet.finish()
}

fn speaks_for(node: &Node) -> &'static str {
    match (node.cluster_agent, node.acts, node.host) {
        _ if node.hands => "its machine, as hands",
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
        let answer = ListNodesResponse { nodes: nodes.to_vec(), ..ListNodesResponse::default() };
        let text = list(&answer, Terminal { width: Some(80), colour: false }, WallTime(241_000));
        assert!(text.lines().all(|line| width(line) <= 80), "{text}");
        assert_eq!(text.lines().count(), 3, "a line for each node, without their kinds:\n{text}");
        let text = list(&answer, Terminal::PIPE, WallTime(241_000));
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("local/a1  ✔ up    4m ago  –      its machine  0.1.0    node.resources node.services"), "{text}");
    }

    fn told() -> (Node, KnownCluster) {
        let agent = Node {
            cluster: "prod".into(),
            name: "n1".into(),
            link: LinkState::Up.into(),
            since_unix_ms: 1_000,
            version: "0.1.0".into(),
            ..Node::default()
        };
        let fact = |name: &str, ready, cordoned| NodeFact {
            name: name.into(),
            ready,
            cordoned,
            zone: "z1".into(),
            kubelet_version: "v1.36.2".into(),
            not_ready_reason: if ready { String::new() } else { "NodeStatusUnknown".into() },
            ready_since_unix_ms: 181_000,
            taints: vec!["a=b:NoSchedule".into()],
            allocatable_cpu_milli: 1_500,
            allocatable_memory_bytes: 8 << 30,
            allocatable_pods: 110,
            ..NodeFact::default()
        };
        let nodes = vec![fact("n1", true, true), fact("n2", false, false), fact("n3", true, false)];
        (agent, KnownCluster { cluster: "prod".into(), told_by: "prod/agent/r1".into(), age_ms: 2_000, nodes, ..KnownCluster::default() })
    }

    #[test]
    fn nodes_that_have_no_agent_are_told_too() {
        let (agent, cluster) = told();
        let mut answer = ListNodesResponse { nodes: vec![agent], clusters: vec![cluster] };
        let text = list(&answer, Terminal::PIPE, WallTime(241_000));
        let expected = [
            "NODE     AGENT   SINCE   STEPS  STATE              ZONE  KUBELET  SPEAKS FOR  VERSION",
            "prod/n1  ✔ up    4m ago  –      ▲ ready, cordoned  z1    v1.36.2  –           0.1.0",
            "prod/n2  · none  –       –      ✖ not ready        z1    v1.36.2  –",
            "prod/n3  · none  –       –      ✔ ready            z1    v1.36.2  –",
        ];
        assert_eq!(text.lines().map(str::trim_end).collect::<Vec<_>>(), expected);
        answer.clusters[0].stale = true;
        answer.clusters[0].age_ms = 240_000;
        let text = list(&answer, Terminal::PIPE, WallTime(241_000));
        assert!(text.contains("? ready, cordoned 4m00s ago") && text.contains("? not ready 4m00s ago"), "{text}");
    }

    #[test]
    fn a_node_with_all_that_is_known_of_it() {
        let (agent, cluster) = told();
        let fact = cluster.nodes[1].clone();
        let known = Some(KnownCluster { nodes: vec![], ..cluster });
        let text = show("prod/n2", &NodeDetails { agent: None, known: known.clone(), fact: Some(fact) }, Terminal::PIPE, WallTime(241_000));
        for line in [
            "  none: the mesh can do nothing on this node",
            "In its cluster, as prod/agent/r1 said 2.0 s ago",
            "  because     NodeStatusUnknown",
            "  allocatable 1.5 CPUs, 8.0 GiB, 110 pods",
            "  taints      a=b:NoSchedule",
            "  boot id     –",
        ] {
            assert!(text.lines().any(|said| said == line), "{line}:\n{text}");
        }
        let text = show("prod/n1", &NodeDetails { agent: Some(agent), known, fact: None }, Terminal::PIPE, WallTime(241_000));
        assert!(!text.contains("In its cluster") && text.contains("✔ up, since 4m ago"), "{text}");
    }
}
