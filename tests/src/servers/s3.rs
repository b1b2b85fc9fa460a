//! S3: a real server that nobody here wrote, with TLS by an authority of the suite's. It lets everybody do everything, until
//! it is told to ask for signatures and rights.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::certificates::{Authority, LONG};
use super::place::Place;
use super::{Login, Program, ports};

/// It is written in Python, and several of them start beside each other.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// Which service a call is for is told by whom it pretends to be signed for.
const S3_CALL: &str = "authorization: AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/s3/aws4_request";
const IAM_CALL: &str = "authorization: AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/iam/aws4_request";
const XML: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

pub struct S3 {
    /// Before its place, which goes with the value: it ends first.
    _program: Program,
    pub port: u16,
    /// The certificate of the root that its own is signed under.
    pub root: String,
    place: Place,
}

/// What it answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    /// A header of it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let is_it = |line: &&str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        self.head.lines().find(is_it).and_then(|line| Some(line.split_once(':')?.1.trim()))
    }
}

impl S3 {
    /// Starts it, without any bucket.
    pub async fn start() -> S3 {
        S3::start_named(&["127.0.0.1"]).await
    }

    /// The same, with a certificate for these names.
    pub async fn start_named(names: &[&str]) -> S3 {
        let (place, port, authority) = (Place::new("s3"), ports::free(), Authority::new());
        let leaf = authority.leaf(names, LONG);
        let (chain, key) = (place.write("chain.pem", &leaf.chain()), place.write("key.pem", &leaf.key));
        place.write("root.pem", &authority.root());
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("s3");
        let folder = Command::new(scripts.join("install")).arg("--where").output().expect("where it is").stdout;
        let folder = String::from_utf8(folder).expect("a path").trim().to_owned();
        // As the suite's own user: it is installed below that one's home.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", "python3"]).arg(scripts.join("serve.py")).args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command.arg("-c").arg(chain).arg("-k").arg(key).env("PYTHONPATH", folder).stdin(Stdio::null());
        let mut program = Program::start("s3", &place, command, Signal::KILL);
        let root = authority.root();
        program.ready_within(READY_WITHIN, || async { ask(port, &root, "GET", "/", &[S3_CALL], "").await.map(drop) }).await;
        S3 { _program: program, port, root, place }
    }

    /// Where it is asked.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// File with the certificate of its root.
    #[must_use]
    pub fn root_file(&self) -> PathBuf {
        self.place.path().join("root.pem")
    }

    /// Asks it something as nobody in particular; for before it asks for signatures.
    pub async fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        self.call(method, path, &[&[S3_CALL][..], headers].concat(), body).await
    }

    async fn call(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        ask(self.port, &self.root, method, path, headers, body).await.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    async fn done(&self, path: &str, headers: &[&str], body: &str) {
        let answer = self.ask("PUT", path, headers, body).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }

    /// Makes a bucket.
    pub async fn bucket(&self, name: &str) {
        self.done(&format!("/{name}"), &[], "").await;
    }

    /// Makes a bucket that keeps what is removed or replaced.
    pub async fn bucket_of_versions(&self, name: &str) {
        self.bucket(name).await;
        let body = format!("<VersioningConfiguration xmlns=\"{XML}\"><Status>Enabled</Status></VersioningConfiguration>");
        self.done(&format!("/{name}?versioning"), &[], &body).await;
    }

    /// Makes a bucket that lets nobody remove a version for a day.
    pub async fn bucket_of_locks(&self, name: &str) {
        self.done(&format!("/{name}"), &["x-amz-bucket-object-lock-enabled: true"], "").await;
        let rule = "<Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule>";
        let body = format!("<ObjectLockConfiguration xmlns=\"{XML}\"><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>");
        self.done(&format!("/{name}?object-lock"), &[], &body).await;
    }

    /// Makes a user with these statements of a policy, as JSON; the id of its access key, and the secret.
    pub async fn user(&self, name: &str, statements: &str) -> Login {
        let policy = format!("{{\"Version\": \"2012-10-17\", \"Statement\": [{statements}]}}");
        self.identity(&format!("Action=CreateUser&UserName={name}")).await;
        self.identity(&format!("Action=PutUserPolicy&UserName={name}&PolicyName=own&PolicyDocument={}", encoded(&policy))).await;
        let made = self.identity(&format!("Action=CreateAccessKey&UserName={name}")).await;
        let of = |tag: &str| {
            let from = made.split_once(&format!("<{tag}>")).and_then(|(_, rest)| rest.split_once(&format!("</{tag}>")));
            from.unwrap_or_else(|| panic!("no {tag}: {made}")).0.to_owned()
        };
        Login { user: of("AccessKeyId"), password: of("SecretAccessKey") }
    }

    async fn identity(&self, form: &str) -> String {
        let headers = [IAM_CALL, "content-type: application/x-www-form-urlencoded"];
        let answer = self.call("POST", "/", &headers, &format!("{form}&Version=2010-05-08")).await;
        assert_eq!(answer.status, 200, "{form}: {answer:?}");
        answer.body
    }

    /// From here on it wants signatures, and looks at rights.
    pub async fn looks_at_rights(&self) {
        let answer = self.call("POST", "/moto-api/reset-auth", &["content-type: text/plain"], "0").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

fn encoded(text: &str) -> String {
    let one = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

/// One request by hand: what is tested must not judge itself.
async fn ask(port: u16, root: &str, method: &str, path: &str, headers: &[&str], body: &str) -> Result<Answer, String> {
    let mut trusted = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(root.as_bytes()) {
        trusted.add(certificate.expect("a certificate")).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions of TLS");
    let client = client.with_root_certificates(trusted).with_no_client_auth();
    let answer = async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, stream).await?;
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let length = body.len();
        // 1.0, so that the answer comes in one piece and ends with the connection.
        let request = format!("{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer).await {
            // It ends connections without a word.
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(answer),
        }
    };
    let answer = answer.await.map_err(|error: std::io::Error| error.to_string())?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("not an answer: {answer:?}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| format!("no status: {head:?}"))?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}
