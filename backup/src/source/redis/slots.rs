//! The shards of a cluster: which servers have which of its slots, as `CLUSTER NODES` says it.

use super::Server;

/// Each cluster has so many.
pub(super) const SLOTS: u16 = 16_384;
/// Each is a part of a backup, which has no more of them.
const SHARDS_MAX: usize = 1_000;

/// Servers that have the same data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shard {
    /// From and to; none where there is no cluster.
    pub slots: Vec<(u16, u16)>,
    pub primary: Server,
    /// Those that are said to be there.
    pub replicas: Vec<Server>,
}

impl Shard {
    /// Its slots as `CLUSTER NODES` writes them: `0-5460 5462`.
    pub fn slots_in_words(&self) -> String {
        let range = |(from, to): &(u16, u16)| if from == to { from.to_string() } else { format!("{from}-{to}") };
        self.slots.iter().map(range).collect::<Vec<_>>().join(" ")
    }
}

/// A line of `CLUSTER NODES`.
struct Node<'l> {
    id: &'l str,
    address: &'l str,
    flags: Vec<&'l str>,
    primary: &'l str,
    is_linked: bool,
    slots: Vec<&'l str>,
}

impl<'l> Node<'l> {
    fn read(line: &'l str) -> Option<Node<'l>> {
        let mut fields = line.split_whitespace();
        let (id, address, flags, primary) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let link = fields.nth(3)?;
        Some(Node { id, address, flags: flags.split(',').collect(), primary, is_linked: link == "connected", slots: fields.collect() })
    }

    fn is(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    fn is_up(&self) -> bool {
        self.is("myself") || (self.is_linked && !["fail", "fail?", "handshake", "noaddr"].iter().any(|flag| self.is(flag)))
    }

    /// `ADDRESS:PORT@BUS,HOSTNAME`, where the name is there if it was announced, and counts then: certificates have names.
    fn server(&self) -> Result<Server, String> {
        if self.is("myself") {
            return Ok(Server::Named);
        }
        let mut parts = self.address.split(',');
        let place = parts.next().unwrap_or_default();
        let place = place.split_once('@').map_or(place, |(place, _)| place);
        let name = parts.next().filter(|name| !name.is_empty() && *name != "?" && !name.contains('='));
        let read = place.rsplit_once(':').and_then(|(address, port)| Some((name.unwrap_or(address), port.parse::<u16>().ok()?)));
        match read.filter(|(host, port)| !host.is_empty() && *port > 0) {
            Some((host, port)) => Ok(Server::Other { host: host.trim_matches(['[', ']']).to_owned(), port }),
            None => Err(format!("the address of a server of its cluster is not known: {}", self.address)),
        }
    }

    fn ranges(&self) -> Result<Vec<(u16, u16)>, String> {
        if let Some(moving) = self.slots.iter().find(|slots| slots.starts_with('[')) {
            return Err(moved(moving));
        }
        let read = |slots: &&str| {
            let (from, to) = slots.split_once('-').unwrap_or((slots, slots));
            let range = (from.parse().ok()?, to.parse().ok()?);
            (range.0 <= range.1 && range.1 < SLOTS).then_some(range)
        };
        let wrong = || format!("which slots {} has is not understood: {}", self.address, self.slots.join(" "));
        self.slots.iter().map(read).collect::<Option<Vec<_>>>().ok_or_else(wrong)
    }
}

fn moved(slot: &str) -> String {
    format!(
        "slots of its cluster are being moved from one server to another ({slot}), and their keys would be in two backups or in none: back it up when that has ended"
    )
}

/// Whether the server that says this moves slots: each says so only of its own.
///
/// # Errors
/// In words, if it does.
pub(super) fn at_rest(nodes: &str) -> Result<(), String> {
    let own = nodes.lines().filter_map(Node::read).find(|node| node.is("myself"));
    own.map_or(Ok(()), |own| own.ranges().map(drop))
}

/// All shards, in the order of their slots. Together they have each slot once.
///
/// # Errors
/// In words: not all slots are served, or some are being moved.
pub(super) fn shards(nodes: &str) -> Result<Vec<Shard>, String> {
    let nodes: Vec<Node> = nodes.lines().filter(|line| !line.trim().is_empty()).filter_map(Node::read).collect();
    let mut shards = Vec::new();
    for primary in nodes.iter().filter(|node| node.is("master") && !node.slots.is_empty()) {
        let mut slots = primary.ranges()?;
        slots.sort_unstable();
        if !primary.is_up() {
            return Err(format!("{} of its cluster, which has slots, is down: back it up when each slot is served again", primary.address));
        }
        let of = |node: &&Node| node.is("slave") && node.primary == primary.id && node.is_up();
        let replicas = nodes.iter().filter(of).filter_map(|node| node.server().ok()).collect();
        shards.push(Shard { slots, primary: primary.server()?, replicas });
    }
    shards.sort_by(|one, other| one.slots.cmp(&other.slots));
    if shards.len() > SHARDS_MAX {
        return Err(format!("its cluster has {} shards, and a backup has up to {SHARDS_MAX} parts", shards.len()));
    }
    covered(&shards)?;
    Ok(shards)
}

fn covered(shards: &[Shard]) -> Result<(), String> {
    let mut ranges: Vec<(u16, u16)> = shards.iter().flat_map(|shard| shard.slots.iter().copied()).collect();
    ranges.sort_unstable();
    let mut next = 0;
    for (from, to) in ranges {
        if from < next {
            return Err(format!(
                "two servers of its cluster say that they have slot {from}: wait until they agree, or repair it  (redis-cli --cluster check)"
            ));
        }
        if from > next {
            return Err(nobodys(next, from - 1));
        }
        next = to + 1;
    }
    if next == SLOTS { Ok(()) } else { Err(nobodys(next, SLOTS - 1)) }
}

fn nobodys(from: u16, to: u16) -> String {
    format!(
        "slots {from} to {to} of its cluster are served by nobody: what is missing would not be in the backup; repair it first  (redis-cli --cluster check)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(port: u16) -> Server {
        Server::Other { host: "10.0.0.1".to_owned(), port }
    }

    const WHOLE: &str = "\
aa 10.0.0.1:7005@17005 slave bb 0 1796071115132 1 connected
bb 10.0.0.1:7000@17000 myself,master - 0 1796071116000 1 connected 0-5460
cc 10.0.0.1:7001@17001,redis-1.example master - 0 1796071116541 2 connected 5461 5463-10922
dd 10.0.0.1:7003@17003 slave,fail cc 0 1796071116641 2 disconnected
ee 10.0.0.1:7002@17002 master - 0 1796071116541 3 connected 5462 10923-16383
ff 10.0.0.1:7006@17006 master - 0 1796071116541 4 connected
";

    #[test]
    fn each_shard_is_known_with_the_replicas_that_are_up() {
        let shards = shards(WHOLE).unwrap();
        let named = Server::Other { host: "redis-1.example".to_owned(), port: 7001 };
        assert_eq!(
            shards,
            [
                Shard { slots: vec![(0, 5460)], primary: Server::Named, replicas: vec![other(7005)] },
                Shard { slots: vec![(5461, 5461), (5463, 10922)], primary: named, replicas: Vec::new() },
                Shard { slots: vec![(5462, 5462), (10923, 16383)], primary: other(7002), replicas: Vec::new() },
            ]
        );
        assert_eq!(shards[1].slots_in_words(), "5461 5463-10922");
        assert_eq!(at_rest(WHOLE), Ok(()));
    }

    #[test]
    fn a_cluster_that_is_not_whole_is_refused_in_words() {
        for (change, to, part) in [
            ("5462 10923-16383", "5462 10923-16382", "slots 16383 to 16383 of its cluster are served by nobody"),
            (" 5461 5463", " 5463", "slots 5461 to 5461"),
            (" 0-5460", "", "slots 0 to 5460"),
            ("5462 10923", "5460-5462 10923", "two servers of its cluster say that they have slot 5460"),
            ("0-5460\n", "0-5460 [93->-cc]\n", "are being moved"),
            ("master - 0 1796071116541 3", "master,fail - 0 1796071116541 3", "10.0.0.1:7002@17002 of its cluster, which has slots, is down"),
            ("10.0.0.1:7002@17002", ":0@0", "is not known"),
            ("10923-16383", "10923-16384", "is not understood"),
        ] {
            let changed = WHOLE.replacen(change, to, 1);
            assert_ne!(changed, WHOLE, "{change}");
            let said = shards(&changed).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
        assert!(at_rest(&WHOLE.replacen("0-5460", "0-5460 [93-<-cc]", 1)).is_err());
    }
}
