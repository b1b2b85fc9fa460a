//! Where outgoing requests may go.
//!
//! In: a host and a port, or an address. Out: the addresses that may be reached, or why none may. Loopback,
//! link-local, metadata, multicast and unspecified addresses are refused unless the agent's settings allow
//! them, *after* the name was resolved; the connection then goes to exactly the address that was looked at,
//! so that a name cannot mean something else a moment later. This module holds the sockets of all steps.
#![allow(clippy::disallowed_methods, reason = "sockets that steps open are opened here and nowhere else")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::{TcpStream, UnixStream};

/// Addresses tried of one name; more than this is not a service but a list.
const ADDRESSES_MAX: usize = 8;

/// Where clouds tell their machines' secrets, besides 169.254.169.254, which is link-local.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// Judges addresses. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    allowed: Arc<Allowed>,
}

#[derive(Debug, Default)]
struct Allowed {
    networks: Vec<IpNet>,
    hosts: Vec<String>,
    /// May lead to this machine itself.
    declared: Option<String>,
}

/// Why nothing was reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutgoingError {
    #[error("`{0}` in allow_addresses is not a network, an address or a host name")]
    NotAnAddress(String),
    #[error("{host} is {what} ({address}), which this agent does not reach: allow it in its settings, allow_addresses = [\"{address}\"]")]
    Refused { host: String, address: IpAddr, what: &'static str },
    #[error("{host} cannot be resolved: {cause}")]
    NotResolved { host: String, cause: String },
    #[error("no answer from {0} within {1} s")]
    TimedOut(String, u64),
    #[error("{0} refuses connections: nothing listens there")]
    ConnectionRefused(String),
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, String),
}

impl Outgoing {
    /// With what the settings allow: networks, addresses, host names.
    ///
    /// # Errors
    /// Names the entry that is none of them.
    pub fn new(allow: &[String]) -> Result<Outgoing, OutgoingError> {
        let mut allowed = Allowed::default();
        for entry in allow {
            if let Ok(network) = entry.parse::<IpNet>() {
                allowed.networks.push(network);
            } else if let Ok(address) = entry.parse::<IpAddr>() {
                allowed.networks.push(address.into());
            } else if !entry.is_empty() && entry.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')) {
                allowed.hosts.push(entry.trim_end_matches('.').to_ascii_lowercase());
            } else {
                return Err(OutgoingError::NotAnAddress(entry.clone()));
            }
        }
        Ok(Outgoing { allowed: Arc::new(allowed) })
    }

    /// For a host that the agent's owner has declared: loopback is meant where its name leads there, and so is an
    /// address that is written out. A name still leads to no metadata and no link-local address, and another host
    /// (that of a redirect) to nothing more than without this.
    #[must_use]
    pub fn declared(&self, host: &str) -> Outgoing {
        let mut networks = self.allowed.networks.clone();
        networks.extend(host.trim_matches(['[', ']']).parse::<IpAddr>().map(IpNet::from));
        Outgoing { allowed: Arc::new(Allowed { networks, hosts: self.allowed.hosts.clone(), declared: Some(plain_name(host)) }) }
    }

    /// Whether `address`, reached under the name `host`, may be connected to.
    ///
    /// # Errors
    /// Refused, with what it is and the line to add.
    pub fn judge(&self, host: &str, address: IpAddr) -> Result<(), OutgoingError> {
        let plain = embedded(address);
        let Some(what) = refused_kind(plain) else { return Ok(()) };
        let name = plain_name(host);
        let allowed = (plain.is_loopback() && self.allowed.declared.as_ref() == Some(&name))
            || self.allowed.hosts.contains(&name)
            || self.allowed.networks.iter().any(|network| network.contains(&plain) || network.contains(&address));
        if allowed { Ok(()) } else { Err(OutgoingError::Refused { host: host.to_owned(), address: plain, what }) }
    }

    /// The addresses of a host that may be connected to.
    ///
    /// # Errors
    /// When the name cannot be resolved, or each of its addresses is refused.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, OutgoingError> {
        let bare = host.trim_matches(['[', ']']);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return self.judge(host, address).map(|()| vec![SocketAddr::new(address, port)]);
        }
        let not_resolved = |cause: String| OutgoingError::NotResolved { host: host.to_owned(), cause };
        let found = tokio::net::lookup_host((bare, port)).await.map_err(|error| not_resolved(plain_cause(&error)))?;
        let (mut allowed, mut refused) = (Vec::new(), None);
        for address in found.take(ADDRESSES_MAX) {
            match self.judge(host, address.ip()) {
                Ok(()) => allowed.push(address),
                Err(error) => refused = Some(error),
            }
        }
        if allowed.is_empty() { Err(refused.unwrap_or_else(|| not_resolved("it has no address".to_owned()))) } else { Ok(allowed) }
    }

    /// Connects to the first address of a host that may be reached and answers.
    ///
    /// # Errors
    /// The cause for the last address that was tried.
    pub async fn connect(&self, host: &str, port: u16, within: Duration) -> Result<TcpStream, OutgoingError> {
        let place = format!("{host}:{port}");
        let connect = async {
            let mut last = OutgoingError::Unreachable(place.clone(), "it has no address".to_owned());
            for address in self.resolve(host, port).await? {
                match TcpStream::connect(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => last = OutgoingError::ConnectionRefused(place.clone()),
                    Err(error) => last = OutgoingError::Unreachable(place.clone(), plain_cause(&error)),
                }
            }
            Err(last)
        };
        tokio::time::timeout(within, connect).await.unwrap_or_else(|_| Err(OutgoingError::TimedOut(place.clone(), within.as_secs())))
    }
}

/// A host's name in the one form in which names are compared.
fn plain_name(host: &str) -> String {
    host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase()
}

/// Connects to a socket of this machine, which the agent's owner has declared.
///
/// # Errors
/// Why nobody answers there.
pub(super) async fn connect_socket(path: &Path, within: Duration) -> Result<UnixStream, OutgoingError> {
    let place = path.display().to_string();
    match tokio::time::timeout(within, UnixStream::connect(path)).await {
        Err(_) => Err(OutgoingError::TimedOut(place, within.as_secs())),
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => Err(OutgoingError::ConnectionRefused(place)),
        Ok(Err(error)) => Err(OutgoingError::Unreachable(place, plain_cause(&error))),
    }
}

/// An error of the system in its words, without the number behind them.
pub(super) fn plain_cause(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(text).to_owned()
}

impl reqwest::dns::Resolve for Outgoing {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let this = self.clone();
        Box::pin(async move {
            let addresses = Outgoing::resolve(&this, name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

/// The IPv4 address that an IPv6 one stands for (mapped, NAT64, 6to4), else the address itself.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else { return address };
    if let Some(four) = six.to_ipv4_mapped() {
        return four.into();
    }
    let four = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)).into();
    match six.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => four(high, low),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => four(high, low),
        _ => address,
    }
}

fn refused_kind(address: IpAddr) -> Option<&'static str> {
    if METADATA.contains(&address) {
        return Some("a cloud's metadata address");
    }
    match address {
        IpAddr::V4(four) if four == Ipv4Addr::new(169, 254, 169, 254) => Some("a cloud's metadata address"),
        IpAddr::V4(four) if four.octets()[0] == 0 => Some("an unspecified address"),
        IpAddr::V4(four) if four.is_loopback() => Some("a loopback address"),
        IpAddr::V4(four) if four.is_link_local() => Some("a link-local address"),
        IpAddr::V4(four) if four.is_multicast() || four.is_broadcast() => Some("a multicast or broadcast address"),
        IpAddr::V6(six) if six.is_unspecified() => Some("an unspecified address"),
        IpAddr::V6(six) if six.is_loopback() => Some("a loopback address"),
        IpAddr::V6(six) if six.is_unicast_link_local() => Some("a link-local address"),
        IpAddr::V6(six) if six.is_multicast() => Some("a multicast or broadcast address"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]
    use super::*;

    fn outgoing(allow: &[&str]) -> Outgoing {
        Outgoing::new(&allow.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn addresses_by_what_they_are() {
        let strict = outgoing(&[]);
        for (address, what) in [
            ("8.8.8.8", None),
            ("10.0.0.1", None),
            ("192.168.1.1", None),
            ("172.16.0.1", None),
            ("2001:db8::1", None),
            ("fd12::1", None),
            ("127.0.0.1", Some("a loopback address")),
            ("127.9.9.9", Some("a loopback address")),
            ("::1", Some("a loopback address")),
            ("::ffff:127.0.0.1", Some("a loopback address")),
            ("::127.0.0.1", Some("a loopback address")),
            ("64:ff9b::7f00:1", Some("a loopback address")),
            ("2002:7f00:1::", Some("a loopback address")),
            ("169.254.169.254", Some("a cloud's metadata address")),
            ("::ffff:169.254.169.254", Some("a cloud's metadata address")),
            ("fd00:ec2::254", Some("a cloud's metadata address")),
            ("100.100.100.200", Some("a cloud's metadata address")),
            ("169.254.1.1", Some("a link-local address")),
            ("fe80::1", Some("a link-local address")),
            ("0.0.0.0", Some("an unspecified address")),
            ("0.1.2.3", Some("an unspecified address")),
            ("::", Some("an unspecified address")),
            ("224.0.0.1", Some("a multicast or broadcast address")),
            ("255.255.255.255", Some("a multicast or broadcast address")),
            ("ff02::1", Some("a multicast or broadcast address")),
        ] {
            let judged = strict.judge("x", address.parse().unwrap());
            let seen = judged.err().map(|error| if let OutgoingError::Refused { what, .. } = error { what } else { "another error" });
            assert_eq!(seen, what, "{address}");
        }
    }

    #[test]
    fn settings_allow_networks_addresses_and_hosts() {
        let allowing = outgoing(&["127.0.0.0/8", "169.254.169.254", "Printer.local"]);
        let judge = |host: &str, address: &str| allowing.judge(host, address.parse().unwrap()).is_ok();
        assert!(judge("x", "127.1.2.3") && judge("x", "::ffff:127.0.0.1") && judge("x", "169.254.169.254") && judge("printer.local.", "fe80::9"));
        assert!(!judge("x", "169.254.169.253") && !judge("x", "::1") && !judge("other.local", "fe80::9"));
        assert_eq!(Outgoing::new(&["a b".into()]).unwrap_err(), OutgoingError::NotAnAddress("a b".into()));
    }

    #[test]
    fn a_declared_host_is_meant_as_it_is_written() {
        let judge = |host: &str, address: &str| outgoing(&[]).declared(host).judge(host, address.parse().unwrap()).is_ok();
        assert!(judge("localhost", "127.0.0.1") && judge("db.example", "::1") && judge("[::1]", "::1"));
        assert!(judge("169.254.169.254", "169.254.169.254") && judge("fe80::1", "fe80::1"));
        assert!(outgoing(&[]).declared("db.example").judge("other.example", "127.0.0.1".parse().unwrap()).is_err(), "the host of a redirect");
        assert!(!judge("db.example", "169.254.169.254") && !judge("db.example", "fe80::1") && !judge("169.254.169.253", "169.254.169.254"));
    }

    #[tokio::test]
    async fn a_name_is_judged_by_the_address_that_it_has() {
        let error = outgoing(&[]).resolve("localhost", 80).await.unwrap_err();
        assert!(matches!(&error, OutgoingError::Refused { what: "a loopback address", .. }), "{error}");
        assert!(outgoing(&["localhost"]).resolve("localhost", 80).await.unwrap().iter().all(|address| address.ip().is_loopback()));
        assert!(matches!(outgoing(&[]).resolve("[::1]", 80).await.unwrap_err(), OutgoingError::Refused { .. }));
    }

    #[tokio::test]
    async fn a_closed_port_is_told_from_a_wrong_name() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let here = outgoing(&["127.0.0.1"]);
        let within = Duration::from_secs(5);
        assert_eq!(here.connect("127.0.0.1", free, within).await.unwrap_err(), OutgoingError::ConnectionRefused(format!("127.0.0.1:{free}")));
        assert!(matches!(
            here.connect("no-such-host.invalid", 1, within).await.unwrap_err(),
            OutgoingError::NotResolved { .. } | OutgoingError::TimedOut(..)
        ));
    }
}
