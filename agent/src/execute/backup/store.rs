//! The way to where backups are, and its keys, each read when it is used.

use std::path::Path;
use std::time::Duration;

use mainstay_backup::Store;
use mainstay_backup::keys::{Identities, Recipients};
use mainstay_backup::manifest::Role;
use mainstay_backup::receipt::{PublicKey, SigningKey};
use mainstay_backup::store::{Credentials, S3};
use mainstay_client::files;
use mainstay_core::id::ConnectionName;
use zeroize::Zeroizing;

use super::super::{Context, StepError, outgoing};
use crate::connections::{Connection, ConnectionKind, Place, StoreSettings, TlsMode};

/// A key, or a bundle of certificates.
const FILE_MAX: u64 = 1 << 20;
/// For a bucket to take a connection.
const REACHED_WITHIN: Duration = Duration::from_secs(10);

/// A store, opened.
pub(super) struct Opened<'a> {
    pub store: Store,
    pub connection: &'a Connection,
    settings: &'a StoreSettings,
    kind: &'static str,
}

impl<'a> Opened<'a> {
    /// The store of this name, or the only one there is.
    ///
    /// # Errors
    /// Refused, with the line to add; failed, when it cannot be reached.
    pub async fn of(kind: &'static str, named: Option<&str>, limit: Option<u64>, context: &'a Context) -> Result<Opened<'a>, StepError> {
        let refused = |why: String| StepError::refused(format!("{kind}: {why}"));
        let connection = find(named, context).map_err(refused)?;
        if let Some(plan) = &context.labels.plan {
            connection.allows(plan).map_err(|error| refused(error.to_string()))?;
        }
        let settings = connection.store.as_deref().ok_or_else(|| refused(format!("{} is no store", connection.name)))?;
        let store = match &connection.address.place {
            Place::Dir(dir) => directory(dir),
            Place::Bucket(bucket) => bucket_of(connection, settings, bucket, context).await,
            Place::Tcp { .. } | Place::Socket(_) | Place::Cluster | Place::Mesh => Err("its address is no store's".to_owned()),
        };
        let store = store.map_err(|why| StepError::failed(format!("{kind}: {}: {why}", connection.name)))?;
        let store = match limit {
            Some(limit) => store.limited(limit.max(1)),
            None => store,
        };
        Ok(Opened { store, connection, settings, kind })
    }

    fn wrong(&self, why: impl std::fmt::Display) -> StepError {
        StepError::refused(format!("{}: {}: {why}; see {}", self.kind, self.connection.name, self.connection.declared_at))
    }

    /// To whom backups are encrypted.
    pub fn recipients(&self) -> Result<Recipients, StepError> {
        let keys = |role, keys: &'a [String]| keys.iter().map(move |key| (role, key.as_str()));
        let all = keys(Role::BreakGlass, &self.settings.break_glass).chain(keys(Role::Drill, &self.settings.drill));
        Recipients::read(all).map_err(|error| self.wrong(format!("{error}: add there  breakGlass = [\"age1…\"]")))
    }

    /// What signs that a backup counts, where there is one.
    pub fn signs(&self) -> Result<Option<SigningKey>, StepError> {
        let Some(file) = &self.settings.sign else { return Ok(None) };
        let kept = files::read_bounded(file, FILE_MAX).map(Zeroizing::new).map_err(|error| self.wrong(format!("{}: {error}", file.display())))?;
        SigningKey::read(&kept, file).map(Some).map_err(|why| self.wrong(why))
    }

    /// Whose word counts.
    pub fn signers(&self) -> Result<Vec<PublicKey>, StepError> {
        let named: Vec<PublicKey> =
            self.settings.signers.iter().map(|key| key.parse()).collect::<Result<_, String>>().map_err(|why| self.wrong(why))?;
        Ok(named.into_iter().chain(self.signs()?.map(|key| key.public())).collect())
    }

    /// What opens backups, where that may be done here.
    pub fn identities(&self, context: &Context) -> Result<Option<Identities>, StepError> {
        let Some(reference) = &self.settings.identity else { return Ok(None) };
        let secret = context.secrets.read(reference).map_err(|error| self.wrong(error))?;
        Identities::read(secret.reveal()).map(Some).map_err(|error| self.wrong(format!("its {reference}: {error}")))
    }
}

fn find<'a>(named: Option<&str>, context: &'a Context) -> Result<&'a Connection, String> {
    const LINE: &str = "add to its connections.toml  [connections.backups]  kind = \"store\"  url = \"s3://…\" or \"file:///…\"";
    let Some(named) = named.filter(|named| !named.is_empty()) else {
        let mut all = context.connections.of_kind(ConnectionKind::Store);
        return match (all.next(), all.next()) {
            (Some(only), None) => Ok(only),
            (Some(first), Some(second)) => Err(format!("this agent has several stores, {} and {}: say which, by  store", first.name, second.name)),
            (None, _) => Err(format!("this agent has no connection of kind store: {LINE}")),
        };
    };
    let name: ConnectionName = named.parse().map_err(|error: mainstay_core::id::NameError| error.to_string())?;
    let found = context.connections.get(&name).ok_or_else(|| format!("this agent has no connection {name}: {LINE}"))?;
    if found.kind == ConnectionKind::Store {
        Ok(found)
    } else {
        Err(format!("the connection {name} is of kind {}, and one of kind store is needed", found.kind))
    }
}

/// A directory that is there: one that is missing may be a disk that is not mounted.
fn directory(dir: &Path) -> Result<Store, String> {
    if !dir.is_dir() {
        return Err(format!("{} is no directory: make it, or mount what is to be there", dir.display()));
    }
    Store::local(dir).map_err(|error| error.to_string())
}

async fn bucket_of(connection: &Connection, settings: &StoreSettings, bucket: &str, context: &Context) -> Result<Store, String> {
    let secret = connection.secret.as_ref().ok_or("it has no credentials")?;
    let secret = context.secrets.read(secret).map_err(|error| error.to_string())?;
    let authorities = connection
        .tls
        .ca
        .as_ref()
        .map(|path| files::read_text(path, FILE_MAX).map_err(|error| format!("{}: {}", path.display(), outgoing::plain_cause(&error))));
    if let Some(endpoint) = &settings.endpoint {
        reachable(endpoint, context).await?;
    }
    let s3 = S3 {
        bucket: bucket.to_owned(),
        prefix: connection.address.path.clone(),
        endpoint: settings.endpoint.clone(),
        region: settings.region.clone(),
        path_style: settings.endpoint.is_some(),
        authorities: authorities.transpose()?,
        allow_http: connection.tls.mode == TlsMode::Off,
        credentials: Credentials {
            access_key: connection.user.clone().unwrap_or_default(),
            secret_key: Zeroizing::new(secret.reveal().to_owned()),
            session_token: None,
        },
        server_side: settings.server_side.clone(),
        checksums: settings.checksums,
    };
    Store::s3(&s3).map_err(|error| error.to_string())
}

/// Whether an endpoint is one that this agent may go to, and there.
async fn reachable(endpoint: &str, context: &Context) -> Result<(), String> {
    let url = reqwest::Url::parse(endpoint).map_err(|error| format!("{endpoint}: {error}"))?;
    let (host, port) = url.host_str().zip(url.port_or_known_default()).ok_or_else(|| format!("{endpoint} names no host"))?;
    context.outgoing.declared(host).connect(host, port, REACHED_WITHIN).await.map(drop).map_err(|error| error.to_string())
}
