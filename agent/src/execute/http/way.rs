//! How the requests of one step get to their endpoints: whom they trust, where they may go, what they show.
//!
//! Without a connection, that is what the agent trusts and reaches, and nothing is shown. With one, its own
//! authorities and credential, and its host as it was declared. A redirect that leads away from that host is
//! judged like any other address, and the credential does not go along.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ClientConfig;

use super::endpoint::Asked;
use crate::connections::{Connection, Place};
use crate::execute::credential::Credential;
use crate::execute::{Context, Outgoing, OutgoingError, dial, trust};

pub(super) struct Way {
    pub tls: ClientConfig,
    pub filter: Filter,
    pub credential: Credential,
}

/// Where requests may go, asked for each host that they lead to. Cheap to clone.
#[derive(Clone)]
pub(super) struct Filter {
    plain: Outgoing,
    declared: Option<Arc<Declared>>,
}

/// The host of a connection.
struct Declared {
    /// As the URL has it: the name that the server is to prove.
    asked: String,
    /// Where it is.
    host: String,
    outgoing: Outgoing,
}

impl Way {
    /// # Errors
    /// In words, when files of this agent are in the way.
    pub(super) fn new(asked: &Asked, context: &Context) -> Result<Way, String> {
        let (mut tls, declared, credential) = match asked.connection {
            Some(connection) => {
                let tls = dial::tls_config(connection, context).map_err(|error| error.to_string())?;
                (tls, Some(Arc::new(Declared::new(connection, context)?)), Credential::of(connection, context)?)
            }
            None => {
                let roots = match &asked.ca {
                    Some(ca) => trust::roots_of_file(&context.host, &ca.to_string_lossy())?,
                    None => trust::roots(context)?,
                };
                (trust::client(trust::verifier(roots)?)?, None, Credential::None)
            }
        };
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Way { tls, filter: Filter { plain: context.outgoing.clone(), declared }, credential })
    }
}

impl Declared {
    fn new(connection: &Connection, context: &Context) -> Result<Declared, String> {
        let Place::Tcp { host, .. } = &connection.address.place else { return Err("its address is a socket".to_owned()) };
        Ok(Declared { asked: dial::server_name(connection), host: host.clone(), outgoing: context.outgoing.declared(host) })
    }
}

impl Filter {
    /// Whether `address`, as `host` or as it stands in a URL, may be connected to.
    ///
    /// # Errors
    /// Refused, with the line to add.
    pub(super) fn judge(&self, host: &str, address: IpAddr) -> Result<(), OutgoingError> {
        self.of(host).map_or(&self.plain, |declared| &declared.outgoing).judge(host, address)
    }

    fn of(&self, host: &str) -> Option<&Declared> {
        let bare = |host: &str| host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        self.declared.as_deref().filter(|declared| bare(&declared.asked) == bare(host))
    }
}

impl reqwest::dns::Resolve for Filter {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let this = self.clone();
        Box::pin(async move {
            let addresses = match this.of(name.as_str()) {
                Some(declared) => declared.outgoing.resolve(&declared.host, 0).await?,
                None => this.plain.resolve(name.as_str(), 0).await?,
            };
            Ok(Box::new(addresses.into_iter()) as reqwest::dns::Addrs)
        })
    }
}
