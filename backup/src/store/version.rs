//! Versions of an object, where a store keeps those that were removed or replaced.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer};
use object_store::{GetOptions, ObjectStore};
use reqwest::StatusCode;

use super::{Removed, Store, StoreError, Why, s3};

/// A request is signed for so long.
const SIGNED_FOR: Duration = Duration::from_secs(120);
/// What a store says of a request that it refuses; more is not read.
const SAID_MAX: usize = 16 << 10;
const S3: &str = "S3";

/// Versions of a bucket. The library reads them and removes none, but signs whatever request it is asked to.
pub(super) struct Versions {
    bucket: Arc<AmazonS3>,
    authorities: Option<String>,
    allow_http: bool,
}

impl Versions {
    pub fn of(bucket: Arc<AmazonS3>, authorities: Option<String>, allow_http: bool) -> Versions {
        Versions { bucket, authorities, allow_http }
    }

    /// Made anew each time: what is erased is a handful of objects.
    fn client(&self) -> reqwest::Result<reqwest::Client> {
        let trusted = match &self.authorities {
            Some(pem) => reqwest::Certificate::from_pem_bundle(pem.as_bytes())?,
            None => Vec::new(),
        };
        let client = reqwest::Client::builder().https_only(!self.allow_http).redirect(reqwest::redirect::Policy::none());
        client.timeout(s3::REQUEST).connect_timeout(s3::CONNECT).tls_certs_merge(trusted).build()
    }

    /// Removes one for good. That it is not there is as good.
    async fn remove(&self, path: &Path, version: &str) -> object_store::Result<()> {
        let options = SignedUrlOptions::default().with_query([("versionId", version)]);
        let url = self.bucket.signed_url_opts(Method::DELETE, path, SIGNED_FOR, &options).await?;
        // The signature is in the URL, and is not told.
        let failed = |error: reqwest::Error| object_store::Error::Generic { store: S3, source: error.without_url().into() };
        let mut answer = self.client().map_err(failed)?.delete(url).send().await.map_err(failed)?;
        let status = answer.status();
        if status.is_success() || status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        let mut said = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            said.extend_from_slice(&piece);
            if said.len() > SAID_MAX {
                break;
            }
        }
        let source = format!("{status}: {}", String::from_utf8_lossy(&said)).into();
        let path = path.to_string();
        Err(match status {
            StatusCode::FORBIDDEN => object_store::Error::PermissionDenied { path, source },
            StatusCode::UNAUTHORIZED => object_store::Error::Unauthenticated { path, source },
            _ => object_store::Error::Generic { store: S3, source },
        })
    }
}

/// A small object, as it is in one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Versioned {
    pub bytes: Bytes,
    /// Which; nothing where the store keeps one only.
    pub version: Option<String>,
}

impl Store {
    /// A small object as a whole: of this version, or as it is now. Nothing where that is not there.
    pub(crate) async fn version(&self, name: &str, version: Option<&str>, max: usize) -> Result<Option<Versioned>, StoreError> {
        let path = self.path(name)?;
        let read = self.repeated(|| async {
            let options = GetOptions { version: version.map(str::to_owned), ..GetOptions::default() };
            let got = self.answered(name, self.objects.get_opts(&path, options)).await?;
            if got.meta.size > max as u64 {
                let why = format!("it has more than {max} bytes, and is not what it should be");
                return Err(StoreError::new(Why::Unusable, &self.place, name, &why));
            }
            let version = got.meta.version.clone();
            let bytes = self.answered(name, got.bytes()).await?;
            self.pass(bytes.len()).await;
            Ok(Versioned { bytes, version })
        });
        match read.await {
            Ok(read) => Ok(Some(read)),
            Err(error) if error.why == Why::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a version for good; nothing where this store cannot be told to.
    pub(crate) async fn remove_version(&self, name: &str, version: &str) -> Result<Option<Removed>, StoreError> {
        let Some(versions) = &self.versions else { return Ok(None) };
        let path = self.path(name)?;
        let removed = self.repeated(|| self.answered(name, versions.remove(&path, version))).await;
        Removed::of(removed).map(Some)
    }
}
