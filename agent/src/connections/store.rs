//! What a connection of kind `store` says besides where it leads: to whom its backups are encrypted, what signs that one
//! counts, whose word counts, and what opens them where that may be done.

use std::path::PathBuf;

use mainstay_backup::keys::Recipients;
use mainstay_backup::manifest::Role;
use mainstay_backup::receipt::PublicKey;
use mainstay_backup::store::ServerSide;

use super::declare::Declared;
use super::{Address, ConnectionKind, Place, SecretRef, TlsMode};

/// Keys of a table that only a store has.
pub(super) const KEYS: [&str; 10] = ["endpoint", "region", "sse", "kmsKey", "checksums", "breakGlass", "drill", "sign", "signers", "identity"];
/// Those that only a bucket has.
const OF_BUCKETS: [&str; 5] = ["endpoint", "region", "sse", "kmsKey", "checksums"];
const RECIPIENTS: &str = "a list of public keys, age1…";

/// Settings of a store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreSettings {
    /// Of what speaks like S3; Amazon's own if left out.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// How the bucket's own service encrypts besides.
    pub server_side: Option<ServerSide>,
    /// Whether a checksum goes with all that is put there, where that is said.
    pub checksums: Option<bool>,
    /// Public halves of keys that are kept offline.
    pub break_glass: Vec<String>,
    /// Of keys that are held where drills run.
    pub drill: Vec<String>,
    /// File of the key that signs that a backup counts.
    pub sign: Option<PathBuf>,
    /// Whose signatures count, besides that one's.
    pub signers: Vec<String>,
    /// The secret half of a drill key: only where what is stored may be read.
    pub identity: Option<SecretRef>,
}

/// Reads them.
pub(super) fn read(own: &Declared<'_>, problems: &mut Vec<String>) -> StoreSettings {
    let endpoint = own.table.text("endpoint", "a URL such as https://s3.internal", problems);
    if let Some(endpoint) = &endpoint {
        let url = reqwest::Url::parse(endpoint).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
        match url {
            None => problems.push(own.problem("endpoint", "should be a URL such as https://s3.internal")),
            Some(url) if url.password().is_some() || !url.username().is_empty() => {
                problems.push(own.problem("endpoint", "holds credentials: name them beside it, as  username  and  password"));
            }
            Some(_) => {}
        }
    }
    let region = own.table.text("region", "text such as eu-central-1", problems);
    let server_side = server_side(own, problems);
    let checksums = own.table.flag("checksums", problems);
    let break_glass = recipients(own, "breakGlass", Role::BreakGlass, problems);
    let drill = recipients(own, "drill", Role::Drill, problems);
    let signers = own.table.texts("signers", "a list of public keys, ed25519:…", problems).unwrap_or_default();
    for key in &signers {
        if let Err(why) = key.parse::<PublicKey>() {
            problems.push(own.problem("signers", &why));
        }
    }
    let sign = match own.reference("sign", problems) {
        Some(SecretRef::File(path)) => Some(path),
        Some(SecretRef::Env(_)) => {
            problems.push(own.problem("sign", "is the file of a key: { file = \"sign.der\" }"));
            None
        }
        None => None,
    };
    let identity = own.reference("identity", problems);
    StoreSettings { endpoint, region, server_side, checksums, break_glass, drill, sign, signers, identity }
}

fn server_side(own: &Declared<'_>, problems: &mut Vec<String>) -> Option<ServerSide> {
    let name = own.table.text("sse", "\"AES256\" or \"aws:kms\"", problems);
    let key = own.table.text("kmsKey", "the id, the ARN or the alias of a key", problems);
    let read = ServerSide::read(name.as_deref(), key.as_deref());
    read.unwrap_or_else(|why| {
        problems.push(own.problem("sse", &format!("cannot be done: {why}")));
        None
    })
}

fn recipients(own: &Declared<'_>, key: &str, role: Role, problems: &mut Vec<String>) -> Vec<String> {
    let keys = own.table.texts(key, RECIPIENTS, problems).unwrap_or_default();
    // What is no public key may be a secret one: it is not repeated.
    if !keys.is_empty() && Recipients::read(keys.iter().map(|key| (role, key.as_str()))).is_err() {
        problems.push(own.problem(key, &format!("should be {RECIPIENTS} (age-keygen -y FILE prints one)")));
    }
    keys
}

/// Problems of a store as a whole.
pub(super) fn together(own: &Declared<'_>, address: &Address, tls: Option<TlsMode>, has_login: (bool, bool), problems: &mut Vec<String>) {
    let is_bucket = matches!(address.place, Place::Bucket(_));
    if let Some(key) = OF_BUCKETS.into_iter().find(|key| !is_bucket && own.table.has(key)) {
        problems.push(own.problem(key, "is for a bucket, and the URL is that of a directory"));
    }
    if is_bucket && !has_login.0 {
        problems.push(own.problem("username", "is missing: the id of the access key"));
    }
    if is_bucket && !has_login.1 {
        problems.push(own.problem("password", "is missing: where the secret of the access key is,  { file = \"…\" }  or  { env = \"…\" }"));
    }
    if !is_bucket && (has_login.0 || has_login.1) {
        problems.push(own.problem("password", "is of no use: a directory is opened as the agent's own user"));
    }
    let is_plain = own.table.text("endpoint", "text", &mut Vec::new()).is_some_and(|endpoint| endpoint.starts_with("http://"));
    if is_plain && tls != Some(TlsMode::Off) {
        problems.push(own.problem("endpoint", "does not ask for TLS: write  https://, or  tls = \"off\"  if that is meant"));
    }
}

/// Keys that are a store's, where something else is declared.
pub(super) fn strangers(own: &Declared<'_>, kind: ConnectionKind, problems: &mut Vec<String>) {
    for key in KEYS.into_iter().filter(|key| own.table.has(key)) {
        problems.push(own.problem(key, &format!("is for store, and this is {kind}")));
    }
}
