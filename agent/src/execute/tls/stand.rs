//! An authority and TLS servers of it, for tests: well, and in each way that a chain can be wrong.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::execute::trust;

/// A root, and an intermediate that issues.
pub struct Authority {
    root: CertifiedIssuer<'static, KeyPair>,
    intermediate: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key.
pub struct Leaf {
    certificate: Certificate,
    key: KeyPair,
}

/// What a server shows besides its own certificate.
#[derive(Clone, Copy)]
pub enum Shows {
    Chain,
    ChainAndRoot,
    LeafAlone,
    OutOfOrder,
}

impl Authority {
    pub fn new() -> Authority {
        let root = CertifiedIssuer::self_signed(issuer("test root"), KeyPair::generate().unwrap()).unwrap();
        let intermediate = CertifiedIssuer::signed_by(issuer("test intermediate"), KeyPair::generate().unwrap(), &root).unwrap();
        Authority { root, intermediate }
    }

    /// Writes the root as `ca.pem`.
    pub fn write(&self, dir: &Path) {
        std::fs::write(dir.join("ca.pem"), self.root.pem()).unwrap();
    }

    /// For these names, from the start of 2020 to the given day.
    pub fn leaf(&self, names: &[&str], to: (i32, u8, u8)) -> Leaf {
        let key = KeyPair::generate().unwrap();
        Leaf { certificate: leaf_params(names, to).signed_by(&key, &self.intermediate).unwrap(), key }
    }

    /// A server on this machine; its port.
    pub async fn server(&self, leaf: Leaf, shows: Shows) -> u16 {
        let (own, intermediate, root) = (leaf.certificate.der().clone(), self.intermediate.der().clone(), self.root.der().clone());
        let chain = match shows {
            Shows::Chain => vec![own, intermediate],
            Shows::ChainAndRoot => vec![own, intermediate, root],
            Shows::LeafAlone => vec![own],
            Shows::OutOfOrder => vec![own, root, intermediate],
        };
        serve(chain, leaf.key).await
    }
}

/// One that has issued itself.
pub fn self_signed(names: &[&str]) -> Leaf {
    let key = KeyPair::generate().unwrap();
    Leaf { certificate: leaf_params(names, (2027, 11, 23)).self_signed(&key).unwrap(), key }
}

impl Leaf {
    /// A server that shows this and nothing else; its port.
    pub async fn server(self) -> u16 {
        serve(vec![self.certificate.der().clone()], self.key).await
    }
}

fn issuer(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn leaf_params(names: &[&str], to: (i32, u8, u8)) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, names.first().copied().unwrap_or("common.example"));
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
    params
}

/// Answers every request over TLS with 200.
async fn serve(chain: Vec<CertificateDer<'static>>, key: KeyPair) -> u16 {
    let config = rustls::ServerConfig::builder_with_provider(trust::provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = vec![0; 4_096];
                if stream.read(&mut request).await.is_ok_and(|length| length > 0) {
                    drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await);
                }
            });
        }
    });
    port
}
