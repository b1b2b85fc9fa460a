//! Hosts on one bridge, and what can go wrong between them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Where the test and its clients are.
const BRIDGE: &str = "10.77.0.254";
/// All hosts, and the far ends of those that are called by another way. The clients are not among them.
const HOSTS: &str = "10.77.0.1-10.77.0.199";
/// The highest number of a host.
const HOSTS_MAX: usize = 99;

/// What becomes of a host's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes between it and anybody.
    Gone,
    /// Nothing passes between it and other hosts; clients reach it.
    Apart,
    /// What other hosts send does not arrive; what it sends does.
    Deaf,
    /// What it sends to other hosts does not arrive; what they send does.
    Mute,
    /// Of a hundred packets that should arrive, so many do not.
    Lossy(u8),
}

impl Fault {
    /// Rules for what arrives and for what is sent.
    fn rules(self) -> (String, String) {
        let (from, to) = (format!("ip saddr {HOSTS} drop"), format!("ip daddr {HOSTS} drop"));
        let nothing = String::new;
        match self {
            Fault::Gone => ("drop".to_owned(), "drop".to_owned()),
            Fault::Apart => (from, to),
            Fault::Deaf => (from, nothing()),
            Fault::Mute => (nothing(), to),
            Fault::Lossy(percent) => (format!("numgen random mod 100 < {percent} drop"), nothing()),
        }
    }
}

/// Makes the bridge. The first thing that happens in the namespaces.
pub fn prepare() {
    // Names of network namespaces are files below /run; so is all that the test writes.
    run("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
    run("mkdir", &["/run/netns", "/run/mesh"]);
    ip("link set lo up");
    ip("link add br0 type bridge");
    ip(&format!("addr add {BRIDGE}/24 dev br0"));
    ip("link set br0 up");
}

/// Makes a host, and says its address.
pub fn host(number: usize) -> String {
    assert!((1..=HOSTS_MAX).contains(&number), "hosts are 1 to {HOSTS_MAX}");
    let address = format!("10.77.0.{number}");
    ip(&format!("netns add h{number}"));
    ip(&format!("link add v{number} type veth peer name eth0 netns h{number}"));
    ip(&format!("link set v{number} master br0 up"));
    for of_host in ["link set lo up".to_owned(), format!("addr add {address}/24 dev eth0"), "link set eth0 up".to_owned()] {
        ip(&format!("-n h{number} {of_host}"));
    }
    address
}

/// A second address for a host, which does not lead to it: somebody has to listen there and pass on what comes.
pub fn far_address(number: usize) -> String {
    let address = format!("10.77.0.{}", 100 + number);
    ip(&format!("addr add {address}/24 dev br0"));
    address
}

/// A command that runs a program on a host. The process that is spawned becomes the program.
pub fn on(number: usize, program: &Path) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &format!("h{number}")]).arg(program);
    command
}

/// From now on this is wrong with a host, and nothing else; nothing is `None`.
pub fn set_fault(number: usize, fault: Option<Fault>) {
    let mut rules = "add table inet faults\ndelete table inet faults\n".to_owned();
    if let Some((arriving, sent)) = fault.map(Fault::rules) {
        rules += "table inet faults {\n";
        for (hook, rule) in [("input", arriving), ("output", sent)] {
            rules += &format!("chain {hook} {{\ntype filter hook {hook} priority 0\nmeta {}ifname lo accept\n{rule}\n}}\n", &hook[..1]);
        }
        rules += "}\n";
    }
    let mut nft = on(number, Path::new("nft")).args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft runs (Debian: nftables)");
    nft.stdin.take().expect("its input").write_all(rules.as_bytes()).expect("the rules");
    assert!(nft.wait().expect("it ends").success(), "nft does not take these rules:\n{rules}");
}

fn ip(words: &str) {
    run("ip", &words.split(' ').collect::<Vec<_>>());
}

fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_one_way_says_nothing_about_the_other() {
        assert_eq!(Fault::Deaf.rules().1, "");
        assert_eq!(Fault::Mute.rules().0, "");
        let (from, to) = Fault::Apart.rules();
        assert_eq!((Fault::Deaf.rules().0, Fault::Mute.rules().1), (from, to));
    }
}
