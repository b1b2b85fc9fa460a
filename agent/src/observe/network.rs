//! Packets and errors of network interfaces, from /proc/net/dev.
//!
//! Only interfaces of the node itself count: the host's end of a pod's pair drops packets whenever a pod
//! goes away, and says nothing about the node.

use std::collections::BTreeMap;
use std::io;

use crate::host::Host;

/// Counters of one interface since it came up, both directions together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    pub packets: u64,
    pub errors: u64,
    pub drops: u64,
}

/// Interfaces that belong to pods, tunnels or to nothing.
const NOT_THE_NODES: [&str; 14] =
    ["veth", "cali", "lxc", "cilium", "flannel", "cni", "docker", "br-", "ifb", "dummy", "tunl", "tap", "nodelocaldns", "kube-ipvs"];

/// Reads the counters of every interface of the node.
pub fn read(host: &Host) -> io::Result<BTreeMap<String, Traffic>> {
    // With the host's root mounted elsewhere, the agent's own network is not the one to look at.
    let path = if host.is_own_root() { "/proc/net/dev" } else { "/proc/1/net/dev" };
    match host.text(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !host.is_own_root() => host.text("/proc/net/dev"),
        other => other,
    }
    .map(|text| parse(&text))
}

#[must_use]
pub fn parse(text: &str) -> BTreeMap<String, Traffic> {
    let interface = |line: &str| -> Option<(String, Traffic)> {
        let (name, rest) = line.split_once(':')?;
        let name = name.trim();
        let numbers: Vec<u64> = rest.split_ascii_whitespace().map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let sum = |received: usize, sent: usize| Some(numbers.get(received)?.saturating_add(*numbers.get(sent)?));
        let traffic = Traffic { packets: sum(1, 9)?, errors: sum(2, 10)?, drops: sum(3, 11)? };
        let counts = name != "lo" && !NOT_THE_NODES.iter().any(|prefix| name.starts_with(prefix)) && traffic.packets > 0;
        counts.then(|| (name.to_owned(), traffic))
    };
    text.lines().filter_map(interface).collect()
}

impl Traffic {
    /// What was counted since `earlier`; everything when the interface was made anew in between.
    #[must_use]
    pub fn since(&self, earlier: &Traffic) -> Traffic {
        match (self.packets.checked_sub(earlier.packets), self.errors.checked_sub(earlier.errors), self.drops.checked_sub(earlier.drops)) {
            (Some(packets), Some(errors), Some(drops)) => Traffic { packets, errors, drops },
            _ => *self,
        }
    }

    /// Percent of the packets that were lost here. A dropped packet is not among those counted as passed.
    #[must_use]
    pub fn lost_percent(&self) -> f64 {
        let lost = self.errors.saturating_add(self.drops);
        let all = self.packets.saturating_add(lost);
        if all == 0 { 0.0 } else { 100.0 * lost as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: &str = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    3193      29    9    0    0     0          0         0     3193      29    0    0    0     0       0          0
  veth1a2b:    1     1    9    0    0     0          0         0     3193      29    0    0    0     0       0          0
  ifb0:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  eth0:106904234    4306    1    2    0     0          0         0   388593    2848    3    4    0     0       0          0
";

    #[test]
    fn only_the_nodes_own_interfaces_count() {
        let eth0 = Traffic { packets: 7_154, errors: 4, drops: 6 };
        assert_eq!(parse(DEV), BTreeMap::from([("eth0".to_owned(), eth0)]));
    }

    #[test]
    fn the_share_is_of_what_came_since() {
        let earlier = Traffic { packets: 1_000, errors: 5, drops: 5 };
        let now = Traffic { packets: 1_990, errors: 10, drops: 10 };
        assert_eq!(now.since(&earlier), Traffic { packets: 990, errors: 5, drops: 5 });
        assert_eq!(now.since(&earlier).lost_percent(), 1.0);
        assert_eq!(earlier.since(&now), earlier);
        assert_eq!(Traffic::default().lost_percent(), 0.0);
    }
}
