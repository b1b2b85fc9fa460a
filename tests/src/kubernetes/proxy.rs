//! A way to the API server that counts what is asked, and can fail: it refuses, hangs, hangs up, forgets, loses answers, or
//! cuts what is open.
//!
//! Plain HTTP/1.1 on loopback in front, TLS behind. Whoever asks is judged by the token that goes through.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::Cluster;

/// What is wrong with the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    Nothing,
    /// This is what everybody is answered, such as `429 Too Many Requests\r\nRetry-After: 2`.
    Refused(&'static str),
    /// Nobody is answered: connections end.
    Away,
    /// Nobody is answered, and connections stay open.
    Hangs,
    /// What goes on from an earlier answer, a watch or the next page of a list, is answered with 410: that is forgotten.
    Forgetful,
    /// What is to be changed is changed, and who asked for it does not hear of it, the first time that he asks.
    AnswersLost,
}

/// As an API server says it.
const FORGOTTEN: &str =
    r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","message":"too old resource version","code":410}"#;

/// Goes with the value; what is open through it stays open until it ends.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: tokio::task::JoinHandle<()>,
}

struct Shared {
    api: String,
    tls: TlsConnector,
    /// When, and the first line of what was asked.
    asked: Mutex<Vec<(Instant, String)>>,
    trouble: Mutex<Trouble>,
    /// First lines of changes whose answer was lost.
    lost: Mutex<BTreeSet<String>>,
    /// Grows with each cut.
    cuts: watch::Sender<u64>,
}

impl Proxy {
    /// In front of a cluster's API server.
    pub async fn of(cluster: &Cluster) -> Proxy {
        mainstay_client::tls::install_provider();
        let settings = cluster.kubectl(&["config", "view", "--raw", "--flatten", "-o", "json"]).expect("settings");
        let settings: Value = serde_json::from_str(&settings).expect("JSON");
        let settings = &settings["clusters"][0]["cluster"];
        let ca = settings["certificate-authority-data"].as_str().expect("its authority");
        let ca = base64::engine::general_purpose::STANDARD.decode(ca).expect("base64");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&ca).expect("a certificate")).expect("an authority");
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let api = settings["server"].as_str().expect("its address").trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            api,
            tls: TlsConnector::from(Arc::new(tls)),
            asked: Mutex::default(),
            trouble: Mutex::new(Trouble::Nothing),
            lost: Mutex::default(),
            cuts: watch::Sender::new(0),
        });
        let served = shared.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = served.clone();
                tokio::spawn(async move {
                    let mut cuts = shared.cuts.subscribe();
                    tokio::select! {
                        _ = cuts.changed() => {}
                        // A connection that breaks is the client's to notice.
                        _ = shared.connection(stream) => {}
                    }
                });
            }
        });
        Proxy { address, shared, serving }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Settings of a client, changed so that it goes this way.
    pub fn leads(&self, kubeconfig: &Path) {
        let mut settings: Value = serde_json::from_slice(&fs::read(kubeconfig).expect("the settings")).expect("JSON");
        settings["clusters"][0]["cluster"] = json!({ "server": self.url() });
        fs::write(kubeconfig, settings.to_string()).expect("the settings");
    }

    /// From here on this is wrong with it.
    pub fn is(&self, trouble: Trouble) {
        *self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// First lines of the changes whose answers were lost.
    pub fn lost(&self) -> BTreeSet<String> {
        self.shared.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends all that is open.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// First lines of what was asked since an instant.
    pub fn asked_since(&self, since: Instant) -> Vec<String> {
        let asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|(at, _)| *at >= since).map(|(_, line)| line.clone()).collect()
    }

    /// The most that was ever asked within a time of this length.
    pub fn most_within(&self, window: Duration) -> usize {
        let asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let within = |from: Instant| asked.iter().filter(|(at, _)| *at >= from && *at < from + window).count();
        asked.iter().map(|(at, _)| within(*at)).max().unwrap_or(0)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
        self.cut();
    }
}

impl Shared {
    /// Whether it is the first time.
    fn loses(&self, line: String) -> bool {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).insert(line)
    }

    async fn connection(&self, client: TcpStream) -> std::io::Result<()> {
        let (mut from_client, mut to_client) = client.into_split();
        let mut server = None;
        let mut read = Vec::new();
        loop {
            // What is asked has a head and no body.
            let end = loop {
                if let Some(end) = memchr::memmem::find(&read, b"\r\n\r\n") {
                    break end + 4;
                }
                if from_client.read_buf(&mut read).await? == 0 {
                    return Ok(());
                }
            };
            let head: Vec<u8> = read.drain(..end).collect();
            let text = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok()).unwrap_or(0);
            while read.len() < length {
                if from_client.read_buf(&mut read).await? == 0 {
                    return Ok(());
                }
            }
            let body: Vec<u8> = read.drain(..length).collect();
            let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
            self.asked.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), line.clone()));
            let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match trouble {
                Trouble::Nothing | Trouble::AnswersLost => {}
                Trouble::Away => return Ok(()),
                Trouble::Hangs => {
                    while from_client.read_buf(&mut read).await? > 0 {
                        read.clear();
                    }
                    return Ok(());
                }
                Trouble::Forgetful if line.contains("watch=1") || line.contains("continue=") => {
                    let length = FORGOTTEN.len();
                    let head =
                        format!("HTTP/1.1 410 Gone\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                    to_client.write_all(format!("{head}{FORGOTTEN}").as_bytes()).await?;
                    return Ok(());
                }
                Trouble::Forgetful => {}
                Trouble::Refused(with) => {
                    // Closed, so that the answer of a server that was asked before cannot follow it.
                    to_client.write_all(format!("HTTP/1.1 {with}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes()).await?;
                    return Ok(());
                }
            }
            let is_lost = trouble == Trouble::AnswersLost && !line.starts_with("GET ") && self.loses(line);
            let (writer, answers) = match server.take() {
                Some(open) => open,
                None => {
                    let stream = TcpStream::connect(&self.api).await?;
                    let name = self.api.split(':').next().unwrap_or_default().to_owned();
                    let name = ServerName::try_from(name).map_err(std::io::Error::other)?;
                    let (reader, writer) = tokio::io::split(self.tls.connect(name, stream).await?);
                    (writer, reader)
                }
            };
            let (mut writer, mut answers) = (writer, answers);
            writer.write_all(&head).await?;
            writer.write_all(&body).await?;
            if is_lost {
                // Once there is an answer it has been done.
                answers.read_u8().await?;
                return Ok(());
            }
            // Answers are passed on until the next question, which follows the end of the answer.
            let mut piece = vec![0; 64 << 10];
            loop {
                tokio::select! {
                    biased;
                    count = answers.read(&mut piece) => match count? {
                        0 => return Ok(()),
                        count => to_client.write_all(&piece[..count]).await?,
                    },
                    count = from_client.read_buf(&mut read) => match count? {
                        0 => return Ok(()),
                        _ => break,
                    },
                }
            }
            server = Some((writer, answers));
        }
    }
}
