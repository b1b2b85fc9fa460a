//! S3 and what speaks like it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use object_store::{BackoffConfig, Certificate, ClientOptions, RetryConfig};
use zeroize::Zeroizing;

use super::version::Versions;
use super::{StoreError, Why};

/// Repetitions of one request, which object_store makes where that does no harm.
const RETRIES: usize = 5;
/// After this no further one is begun.
const RETRY_FOR: Duration = Duration::from_secs(120);
/// One request, with a piece of 16 MiB in it.
pub(super) const REQUEST: Duration = Duration::from_secs(120);
pub(super) const CONNECT: Duration = Duration::from_secs(10);
/// What an endpoint that is not Amazon's is told where no region is named.
const REGION: &str = "us-east-1";

/// A key and its secret. They are never shown.
#[derive(Clone)]
pub struct Credentials {
    /// Which key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: Zeroizing<String>,
    /// For credentials that end.
    pub session_token: Option<Zeroizing<String>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// How the store encrypts what it is given, for those who want that besides: backups are encrypted before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerSide {
    /// With keys of its own: `AES256`.
    Own,
    /// By its key service, with this key, or with the usual one of the bucket: `aws:kms`.
    Kms(Option<String>),
}

impl ServerSide {
    /// From what S3 calls it, and a key of the key service.
    ///
    /// # Errors
    /// In words, when the store could not do as it is said.
    pub fn read(name: Option<&str>, key: Option<&str>) -> Result<Option<ServerSide>, String> {
        match (name, key) {
            (None, None) => Ok(None),
            (Some("AES256"), None) => Ok(Some(ServerSide::Own)),
            (Some("AES256"), Some(_)) => Err("AES256 takes keys of the store's own: leave the key out, or say aws:kms".to_owned()),
            (None | Some("aws:kms"), key) => Ok(Some(ServerSide::Kms(key.map(str::to_owned)))),
            (Some(other), _) => Err(format!("`{other}` is neither AES256 nor aws:kms")),
        }
    }
}

/// Where a bucket is.
#[derive(Debug, Clone)]
pub struct S3 {
    /// Which one.
    pub bucket: String,
    /// What all names in it begin with; may be empty.
    pub prefix: String,
    /// `https://…`; Amazon's where it is missing. Plain `http://` has to be allowed.
    pub endpoint: Option<String>,
    /// Where it is not the usual one.
    pub region: Option<String>,
    /// `https://HOST/BUCKET`, as most others than Amazon want it, instead of `https://BUCKET.HOST`.
    pub path_style: bool,
    /// Certificates of whoever signed the endpoint's, in PEM, beside those that everybody trusts.
    pub authorities: Option<String>,
    /// Without TLS. Contents are encrypted in any case; the credentials' signatures are seen.
    pub allow_http: bool,
    /// Whose rights count.
    pub credentials: Credentials,
    /// Encrypted by the store too.
    pub server_side: Option<ServerSide>,
    /// A checksum goes with all that is put there. A bucket with a default retention takes nothing without; not all that speak
    /// like S3 know it. Where nothing is said, Amazon's own gets it.
    pub checksums: Option<bool>,
}

impl S3 {
    /// For words.
    pub(super) fn place(&self) -> String {
        let at = self.endpoint.as_deref().map_or_else(String::new, |endpoint| format!(" at {endpoint}"));
        let prefix = if self.prefix.is_empty() { String::new() } else { format!("/{}", self.prefix) };
        format!("s3://{}{prefix}{at}", self.bucket)
    }
}

pub(super) fn open(settings: &S3) -> Result<(Arc<AmazonS3>, Versions), StoreError> {
    let place = settings.place();
    let wrong = |said: &dyn fmt::Display| StoreError::new(Why::Unusable, &place, "its settings", said);
    if settings.endpoint.as_deref().is_some_and(|endpoint| endpoint.contains('@')) {
        return Err(wrong(&"an endpoint has no credentials in it: name them beside it"));
    }
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(wrong(&"the program has not said what it encrypts connections with"));
    }
    let mut client =
        ClientOptions::new().with_allow_http(settings.allow_http).with_timeout(REQUEST).with_connect_timeout(CONNECT).with_pool_max_idle_per_host(4);
    if let Some(pem) = &settings.authorities {
        let bundle = Certificate::from_pem_bundle(pem.as_bytes()).map_err(|error| wrong(&format!("its authorities: {error}")))?;
        if bundle.is_empty() {
            return Err(wrong(&"there is no certificate among its authorities"));
        }
        client = bundle.into_iter().fold(client, ClientOptions::with_root_certificate);
    }
    let backoff = BackoffConfig { init_backoff: Duration::from_millis(250), max_backoff: Duration::from_secs(10), base: 2.0 };
    let Credentials { access_key, secret_key, session_token } = &settings.credentials;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&settings.bucket)
        .with_region(settings.region.as_deref().unwrap_or(REGION))
        .with_virtual_hosted_style_request(!settings.path_style)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_allow_http(settings.allow_http)
        .with_client_options(client)
        .with_retry(RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY_FOR })
        // Not all that speak like S3 remove many at once.
        .with_disable_bulk_delete(true)
        .with_access_key_id(access_key)
        .with_secret_access_key(secret_key.as_str());
    if let Some(token) = session_token {
        builder = builder.with_token(token.as_str());
    }
    if let Some(endpoint) = &settings.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if settings.checksums.unwrap_or(settings.endpoint.is_none()) {
        // Payloads are signed by the same sum, so that it costs nothing.
        builder = builder.with_checksum_algorithm(Checksum::SHA256);
    }
    for (key, value) in encryption(settings.server_side.as_ref()) {
        let key: AmazonS3ConfigKey = key.parse().map_err(|error| wrong(&error))?;
        builder = builder.with_config(key, value);
    }
    let bucket = Arc::new(builder.build().map_err(|error| wrong(&error))?);
    let versions = Versions::of(Arc::clone(&bucket), settings.authorities.clone(), settings.allow_http);
    Ok((bucket, versions))
}

/// As the library is told.
fn encryption(server_side: Option<&ServerSide>) -> Vec<(&'static str, String)> {
    let how = |name: &str| ("aws_server_side_encryption", name.to_owned());
    match server_side {
        None => Vec::new(),
        Some(ServerSide::Own) => vec![how("AES256")],
        Some(ServerSide::Kms(key)) => [how("aws:kms")].into_iter().chain(key.iter().map(|key| ("aws_sse_kms_key_id", key.clone()))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_is_to_encrypt_with_is_read_or_refused_in_words() {
        assert_eq!(ServerSide::read(None, None), Ok(None));
        assert_eq!(ServerSide::read(Some("AES256"), None), Ok(Some(ServerSide::Own)));
        assert_eq!(ServerSide::read(Some("aws:kms"), None), Ok(Some(ServerSide::Kms(None))));
        // A key says which of the two is meant.
        assert_eq!(ServerSide::read(None, Some("alias/backups")), Ok(Some(ServerSide::Kms(Some("alias/backups".to_owned())))));
        assert!(ServerSide::read(Some("AES256"), Some("alias/backups")).unwrap_err().contains("leave the key out"));
        assert_eq!(ServerSide::read(Some("aes"), None).unwrap_err(), "`aes` is neither AES256 nor aws:kms");
    }
}
