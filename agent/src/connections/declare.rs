//! From the tables of a file to connections. Every value is looked at, whatever the others are.

use std::path::{Path, PathBuf};

use mainstay_core::PlanName;
use mainstay_core::catalogue;
use mainstay_core::id::{ConnectionName, NodeName};
use toml::de::DeTable;

use super::address::{self, Parsed};
use super::table::{Source, Table};
use super::{Address, Connection, ConnectionKind, Place, SecretRef, Tls, TlsMode, objects, store, worker};

/// The table of connections.
const SECTION: &str = "connections";
const KEYS: [&str; 14] =
    ["kind", "url", "username", "password", "token", "tls", "ca", "serverName", "cert", "key", "allow", "replicas", "sourceNode", "programs"];
const SECRET_KEYS: [&str; 3] = ["file", "env", "secret"];
/// Standbys of one server; more are not watched one by one.
const REPLICAS_MAX: u32 = 1_000;
const FORMS: &str = "{ file = \"…\" } or { env = \"…\" }: a secret itself does not stand in this file";

/// Every connection of a text that can be used.
pub(super) fn all(path: &Path, text: &str, problems: &mut Vec<String>) -> Vec<Connection> {
    let file = path.display().to_string();
    let source = Source { file: &file, text };
    let document = match DeTable::parse(text) {
        Ok(document) => document,
        Err(error) => {
            // Without the line itself, which may hold what should not be there.
            let at = error.span().map_or_else(|| file.clone(), |span| source.at(span.start));
            problems.push(format!("{at}: not TOML: {}", error.message()));
            return Vec::new();
        }
    };
    let root = Table { source, name: SECTION, fields: document.get_ref() };
    let Some(section) = root.table(SECTION, SECTION, "tables of the form  [connections.NAME]", problems) else { return Vec::new() };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    let mut keys: Vec<_> = section.fields.keys().collect();
    keys.sort_by_key(|key| key.span().start);
    for key in keys {
        let (name_text, at): (&str, String) = (key.get_ref(), source.at(key.span().start));
        let dotted = format!("{SECTION}.{name_text}");
        let name = name_text.parse::<ConnectionName>().map_err(|error| problems.push(format!("{at}: {error}"))).ok();
        let Some(table) = section.table(name_text, &dotted, "a table", problems) else { continue };
        let connection = declare(Declared { name, at, folder, table }, problems);
        found.extend(connection);
    }
    found
}

/// Keys of a file of connections that are something else.
pub(super) fn strangers(path: &Path, text: &str) -> Vec<String> {
    let file = path.display().to_string();
    let source = Source { file: &file, text };
    let Ok(document) = DeTable::parse(text) else { return Vec::new() };
    let strange = document.get_ref().keys().filter(|key| key.get_ref() != SECTION);
    let line = |key: &toml::Spanned<toml::de::DeString<'_>>| {
        format!("{}: `{}` does not belong here: this file has  [connections.NAME]  only", source.at(key.span().start), key.get_ref())
    };
    strange.map(line).collect()
}

/// One table, before it is looked at.
pub(super) struct Declared<'a> {
    name: Option<ConnectionName>,
    at: String,
    folder: &'a Path,
    pub table: Table<'a>,
}

impl Declared<'_> {
    pub fn problem(&self, key: &str, what: &str) -> String {
        self.table.problem(key, &self.at, what)
    }

    /// A file that is named relative to the one that names it.
    fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    /// Where a secret is, as this key says it; nothing where it says nothing.
    pub fn reference(&self, key: &str, problems: &mut Vec<String>) -> Option<SecretRef> {
        if !self.table.has(key) {
            return None;
        }
        let dotted = format!("{}.{key}", self.table.name);
        let table = self.table.table(key, &dotted, FORMS, problems)?;
        table.unknown(&SECRET_KEYS, problems);
        if table.has("secret") {
            problems.push(table.problem("secret", &self.at, "needs a cluster agent: this one has no access to Kubernetes; use  file  or  env"));
            return None;
        }
        let file = table.text("file", "the path of a file", problems).map(|path| SecretRef::File(self.path(&path)));
        let env = table.text("env", "the name of a variable", problems).map(SecretRef::Env);
        match (file, env) {
            (Some(_), Some(_)) => problems.push(self.problem(key, "has a file and a variable: keep one")),
            (Some(one), None) | (None, Some(one)) => return Some(one),
            (None, None) if !table.has("file") && !table.has("env") => problems.push(self.problem(key, &format!("should be {FORMS}"))),
            (None, None) => {}
        }
        None
    }
}

fn declare(own: Declared<'_>, problems: &mut Vec<String>) -> Option<Connection> {
    let before = problems.len();
    own.table.unknown(&[&KEYS[..], &store::KEYS, &objects::KEYS, &[worker::KEY]].concat(), problems);
    let kind = kind(&own, problems);
    let parsed = kind.and_then(|kind| url(&own, kind, problems));
    let username = own.table.text("username", "text", problems);
    let user = match (parsed.as_ref().and_then(|parsed| parsed.user.clone()), username) {
        (Some(_), Some(_)) => {
            problems.push(own.problem("username", "is in the URL too: say it once"));
            None
        }
        (in_url, given) => in_url.or(given),
    };
    let (secret, bearer) = secret(&own, kind, problems);
    let replicas = own.table.number("replicas", REPLICAS_MAX, problems);
    let plans = plans(&own, problems);
    let source_node = source_node(&own, problems);
    let programs = own.table.text("programs", "the path of a directory", problems).map(|path| own.path(&path));
    let (kind, Parsed { address, encrypted, .. }) = (kind?, parsed?);
    if kind == ConnectionKind::Postgres && user.is_none() {
        problems.push(own.problem("url", &format!("names no user: {}", address::example(kind))));
    }
    if replicas.is_some() && !matches!(kind, ConnectionKind::Postgres | ConnectionKind::Redis) {
        problems.push(own.problem("replicas", &format!("is for postgres and redis, and this is {kind}")));
    }
    if source_node.is_some() && !matches!(kind, ConnectionKind::Postgres | ConnectionKind::Redis) {
        problems.push(own.problem("sourceNode", &format!("is for postgres and redis, which are backed up from there, and this is {kind}")));
    }
    if programs.is_some() && kind != ConnectionKind::Postgres {
        problems.push(own.problem("programs", &format!("is for postgres, whose client programs are there, and this is {kind}")));
    }
    if kind.is_http() {
        if user.is_some() && secret.is_none() {
            problems.push(own.problem("password", "is missing: there is a user"));
        }
        if user.is_none() && secret.is_some() && !bearer {
            problems.push(own.problem("password", "has no user: add  username, or write  token"));
        }
    }
    let tls = tls(&own, kind, &address, encrypted, secret.is_some(), problems);
    let store = if kind == ConnectionKind::Store {
        let settings = store::read(&own, problems);
        store::together(&own, &address, tls.as_ref().map(|tls| tls.mode), (user.is_some(), secret.is_some()), problems);
        Some(Box::new(settings))
    } else {
        store::strangers(&own, kind, problems);
        None
    };
    let objects = if kind == ConnectionKind::Kubernetes {
        Some(Box::new(objects::read(&own, problems)))
    } else {
        objects::strangers(&own, kind, problems);
        None
    };
    worker::together(&own, kind, &address, tls.as_ref(), problems);
    let worker = worker::read(&own, problems).map(Box::new);
    let name = own.name?;
    (problems.len() == before).then_some(())?;
    Some(Connection {
        name,
        kind,
        address,
        user,
        secret,
        bearer,
        tls: tls?,
        replicas,
        plans,
        source_node,
        programs,
        store,
        objects,
        worker,
        declared_at: own.at,
    })
}

fn kind(own: &Declared<'_>, problems: &mut Vec<String>) -> Option<ConnectionKind> {
    let known = || ConnectionKind::ALL.map(ConnectionKind::as_str);
    let what = format!("one of {}", known().join(", "));
    if !own.table.has("kind") {
        problems.push(own.problem("kind", &format!("is missing; it should be {what}")));
        return None;
    }
    let text = own.table.text("kind", &what, problems)?;
    let found = ConnectionKind::ALL.into_iter().find(|kind| kind.as_str() == text);
    if found.is_none() {
        let hint = catalogue::nearest(&text, known()).map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
        problems.push(own.problem("kind", &format!("should be {what}{hint}")));
    }
    found
}

fn url(own: &Declared<'_>, kind: ConnectionKind, problems: &mut Vec<String>) -> Option<Parsed> {
    if kind == ConnectionKind::Kubernetes {
        return Some(Parsed { address: objects::address(), user: None, encrypted: None });
    }
    if kind == ConnectionKind::Mesh {
        if let Some(key) = ["url", "username"].into_iter().find(|key| own.table.has(key)) {
            problems.push(own.problem(key, "is of no use: it is the mesh that this agent is of"));
        }
        return Some(Parsed { address: Address { place: Place::Mesh, path: String::new() }, user: None, encrypted: None });
    }
    if !own.table.has("url") {
        problems.push(own.problem("url", &format!("is missing; for {kind} it looks like {}", address::example(kind))));
        return None;
    }
    let text = own.table.text("url", &format!("text such as {}", address::example(kind)), problems)?;
    address::parse(kind, &text).map_err(|why| problems.push(own.problem("url", &why))).ok()
}

/// Password or token, and whether it is a token.
fn secret(own: &Declared<'_>, kind: Option<ConnectionKind>, problems: &mut Vec<String>) -> (Option<SecretRef>, bool) {
    let (has_password, bearer) = (own.table.has("password"), own.table.has("token"));
    if has_password && bearer {
        problems.push(own.problem("token", "and `password` are both there, and one of them is sent"));
    }
    let key = if bearer { "token" } else { "password" };
    if !has_password && !bearer {
        return (None, false);
    }
    if bearer && kind.is_some_and(|kind| !kind.is_http()) {
        problems.push(own.problem("token", "is for prometheus, alertmanager and http: write  password"));
    }
    if let Some(kind @ (ConnectionKind::Tls | ConnectionKind::Files | ConnectionKind::Kubernetes | ConnectionKind::Mesh)) = kind {
        problems.push(own.problem(key, &format!("is of no use: to {kind} nothing is sent")));
    }
    (own.reference(key, problems), bearer)
}

/// The node that a server is on, for whoever takes that node out of use.
fn source_node(own: &Declared<'_>, problems: &mut Vec<String>) -> Option<NodeName> {
    let name = own.table.text("sourceNode", "the name of a node", problems)?;
    name.parse().map_err(|error| problems.push(own.problem("sourceNode", &format!("names no node: {error}")))).ok()
}

fn plans(own: &Declared<'_>, problems: &mut Vec<String>) -> Option<Vec<String>> {
    let dotted = format!("{}.allow", own.table.name);
    let what = "{ plans = [\"daily\", \"health*\"] }";
    let allow = own.table.table("allow", &dotted, what, problems)?;
    allow.unknown(&["plans"], problems);
    if !allow.has("plans") {
        problems.push(own.problem("allow", &format!("should be {what}")));
        return None;
    }
    let plans = allow.texts("plans", "a list of plans, in which * stands for any text", problems)?;
    for pattern in plans.iter().filter(|pattern| pattern.replace('*', "x").parse::<PlanName>().is_err()) {
        problems.push(allow.problem("plans", &own.at, &format!("holds `{pattern}`, which no plan can be called")));
    }
    Some(plans)
}

fn tls(
    own: &Declared<'_>,
    kind: ConnectionKind,
    address: &Address,
    encrypted: Option<bool>,
    has_secret: bool,
    problems: &mut Vec<String>,
) -> Option<Tls> {
    let mode = mode(own, kind, address, encrypted, has_secret).map_err(|problem| problems.push(problem)).ok();
    let mut file = |key: &str| own.table.text(key, "the path of a PEM file", problems).map(|path| own.path(&path));
    let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
    let server_name = own.table.text("serverName", "a host name", problems);
    let client = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => {
            problems.push(own.problem("key", "is missing: a certificate is shown with its key"));
            None
        }
        (None, Some(_)) => {
            problems.push(own.problem("cert", "is missing: a key is shown with its certificate"));
            None
        }
    };
    if (mode == Some(TlsMode::Off) || encrypted == Some(false))
        && let Some(key) = ["ca", "serverName", "cert", "key"].into_iter().find(|key| own.table.has(key))
    {
        let how = if encrypted == Some(false) { "the URL does not ask for TLS" } else { "TLS is off: add  tls = \"verify\"" };
        problems.push(own.problem(key, &format!("is of no use: {how}")));
    }
    if mode == Some(TlsMode::Require) && ca.is_some() {
        problems.push(own.problem("ca", "is of no use with  tls = \"require\": write  tls = \"verify\""));
    }
    if let Some(name) = &server_name
        && rustls::pki_types::ServerName::try_from(name.as_str()).is_err()
    {
        problems.push(own.problem("serverName", "cannot be the name of a server"));
    }
    Some(Tls { mode: mode?, ca, server_name, client })
}

/// What is said, what the URL says, or the safe default; what contradicts itself is a problem.
fn mode(own: &Declared<'_>, kind: ConnectionKind, address: &Address, encrypted: Option<bool>, has_secret: bool) -> Result<TlsMode, String> {
    const WHAT: &str = "\"verify\", \"require\" or \"off\"";
    let mut problems = Vec::new();
    let said = match own.table.text("tls", WHAT, &mut problems).as_deref() {
        None => None,
        Some("verify") => Some(TlsMode::Verify),
        Some("require") => Some(TlsMode::Require),
        Some("off") => Some(TlsMode::Off),
        Some(_) => return Err(own.problem("tls", &format!("should be {WHAT}"))),
    };
    if let Some(problem) = problems.pop() {
        return Err(problem);
    }
    let scheme = if kind == ConnectionKind::Redis { "rediss://" } else { "https://" };
    match (encrypted, said) {
        (Some(true), Some(TlsMode::Off)) => Err(own.problem("tls", "is off, and the URL asks for TLS: say one of them")),
        (Some(false), Some(TlsMode::Verify | TlsMode::Require)) => {
            Err(own.problem("tls", &format!("is on, and the URL does not ask for it: write  {scheme}")))
        }
        // Across a network a secret in plain text has to be somebody's decision.
        (Some(false), None) if has_secret && !address.is_local() => {
            Err(own.problem("url", &format!("sends a secret in plain text over the network: write  {scheme}, or  tls = \"off\"  if that is meant")))
        }
        (Some(false), _) => Ok(TlsMode::Off),
        (None, None) if address.is_local() => Ok(TlsMode::Off),
        (_, said) => Ok(said.unwrap_or(TlsMode::Verify)),
    }
}
