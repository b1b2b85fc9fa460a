//! What a connection says of the worker that backs it up: a pod beside what is backed up, in place of the agent itself.

use super::declare::Declared;
use super::objects::is_name;
use super::{Address, ConnectionKind, Place, Tls, TlsMode};

/// The table of a connection.
pub(super) const KEY: &str = "worker";
const KEYS: [&str; 6] = ["namespace", "image", "serviceAccount", "secret", "claim", "user"];
const FORM: &str = "a table such as { namespace = \"shop\", image = \"registry.example.com/mainstay-worker:1\" }";
/// Of a namespace.
const NAMESPACE_MAX: usize = 63;
/// Of other names.
const NAME_MAX: usize = 253;
/// A reference to an image that is longer is something else.
const IMAGE_MAX: usize = 512;
/// The account that a worker runs as, unless another is named. It needs no rights.
const ACCOUNT: &str = "mainstay-worker";
/// As whom it runs, unless somebody else is named: nobody in particular.
const USER: u32 = 65_532;

/// A pod that backs up what its connection leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerSettings {
    pub namespace: String,
    /// With the command line, and the client programs of what is backed up.
    pub image: String,
    /// It is given no token of it.
    pub service_account: String,
    /// A Secret of that namespace whose entries become its environment: `PGPASSWORD`, `AWS_ACCESS_KEY_ID`, …
    pub secret: Option<String>,
    /// The volume that has the files.
    pub claim: Option<String>,
    /// The user that it runs as.
    pub user: u32,
}

/// Reads them; nothing where the connection has none.
pub(super) fn read(own: &Declared<'_>, problems: &mut Vec<String>) -> Option<WorkerSettings> {
    if !own.table.has(KEY) {
        return None;
    }
    let dotted = format!("{}.{KEY}", own.table.name);
    let table = own.table.table(KEY, &dotted, FORM, problems)?;
    table.unknown(&KEYS, problems);
    let at = own.table.line_of(KEY).unwrap_or_default();
    let mut name = |key: &str, what: &str, most: usize| {
        let text = table.text(key, what, problems)?;
        if is_name(&text, most) {
            return Some(text);
        }
        problems.push(table.problem(key, &at, &format!("should be {what}")));
        None
    };
    let namespace = name("namespace", "the name of a namespace", NAMESPACE_MAX);
    let service_account = name("serviceAccount", "the name of a ServiceAccount", NAME_MAX);
    let secret = name("secret", "the name of a Secret of that namespace", NAME_MAX);
    let claim = name("claim", "the name of a PersistentVolumeClaim of that namespace", NAME_MAX);
    let image = table.text("image", "an image with the command line of Mainstay and the client programs", problems);
    if let Some(image) = &image
        && (image.len() > IMAGE_MAX || image.contains(char::is_whitespace))
    {
        problems.push(table.problem("image", &at, "is no reference to an image"));
    }
    for key in ["namespace", "image"].into_iter().filter(|key| !table.has(key)) {
        problems.push(table.problem(key, &at, &format!("is missing: the worker is {FORM}")));
    }
    let user = table.number("user", u32::MAX, problems).unwrap_or(USER);
    Some(WorkerSettings {
        namespace: namespace?,
        image: image?,
        service_account: service_account.unwrap_or_else(|| ACCOUNT.to_owned()),
        secret,
        claim,
        user,
    })
}

/// Problems of a worker with what its connection leads to.
pub(super) fn together(own: &Declared<'_>, kind: ConnectionKind, address: &Address, tls: Option<&Tls>, problems: &mut Vec<String>) {
    if !own.table.has(KEY) {
        return;
    }
    let dotted = format!("{}.{KEY}", own.table.name);
    let has_claim = own.table.table(KEY, &dotted, FORM, &mut Vec::new()).is_some_and(|table| table.has("claim"));
    let is_encrypted = tls.is_some_and(|tls| tls.mode != TlsMode::Off);
    let what = match (kind, &address.place) {
        (ConnectionKind::Files, _) if !has_claim => "names no `claim`: the volume that has the files",
        (ConnectionKind::Postgres | ConnectionKind::Redis, _) if has_claim => "names a `claim`, and what is backed up is no directory",
        (ConnectionKind::Postgres | ConnectionKind::Redis, Place::Socket(_)) => "cannot reach a socket of the agent's machine",
        (ConnectionKind::Redis, _) if is_encrypted => "reaches a Redis without TLS only, and this one asks for it",
        (ConnectionKind::Postgres, _) if tls.is_some_and(|tls| tls.client.is_some()) => {
            "has no `cert` and `key` to show: it is known by its password"
        }
        (ConnectionKind::Postgres, _) if tls.is_some_and(|tls| tls.mode == TlsMode::Verify && tls.ca.is_none()) => {
            "knows no authorities of its own: name the server's as `ca`"
        }
        (ConnectionKind::Postgres, _) if own.table.has("programs") => "has its client programs from its image, and `programs` is of no use",
        (ConnectionKind::Postgres | ConnectionKind::Redis | ConnectionKind::Files, _) => return,
        (kind, _) => {
            problems.push(own.problem(KEY, &format!("is for postgres, redis and files, and this is {kind}")));
            return;
        }
    };
    problems.push(own.problem(KEY, what));
}
