//! Nodes whose power goes, and comes back.

use std::fs;

use super::{Cluster, script};

impl Cluster {
    /// Ends all that runs on a node at once. What it has on its disk stays.
    ///
    /// # Panics
    /// Where something is left of it.
    pub fn power_off(&self, node: &str) {
        let off = script("inside/off").display().to_string();
        self.on("control", &[&off, &self.name.to_string(), number(node)]).unwrap_or_else(|error| panic!("{node} goes on: {error}"));
    }

    /// Starts it again, with another boot id, and waits for nothing.
    ///
    /// # Panics
    /// Where it cannot be begun.
    pub fn power_on(&self, node: &str) {
        let (log, start) = (self.state().join(format!("log/{node}-again.log")), script("inside/node"));
        let begin = "log=$1; shift; setsid \"$@\" >> \"$log\" 2>&1 < /dev/null &";
        let words = ["bash", "-c", begin, "bash", &log.display().to_string(), &start.display().to_string(), &self.name.to_string(), number(node)];
        self.on("control", &words).unwrap_or_else(|error| panic!("{node} does not start: {error}"));
    }

    /// Which time this is that a node has been started: another one each time.
    pub fn boot_id(&self, node: &str) -> String {
        fs::read_to_string(self.state().join(node).join("boot-id")).expect("each node has one").trim().to_owned()
    }

    /// What stands before a program that is to run among a node's processes and mounts, in this machine's network. It ends
    /// with the node.
    pub fn inside(&self, node: &str) -> Vec<String> {
        let of = |file: &str| fs::read_to_string(self.state().join(file)).expect("the cluster is up").trim().to_owned();
        let (init, kubelet) = (of("init"), of(&format!("{node}/pid")));
        // Both are numbered where they are: the second one within the cluster.
        let words = ["nsenter", "--target", &init, "--mount", "--pid", "--", "nsenter", "--target", &kubelet, "--mount", "--uts", "--"];
        words.map(str::to_owned).to_vec()
    }
}

/// Nodes are numbered, and named by it.
fn number(node: &str) -> &str {
    node.trim_start_matches('n')
}
