//! Versions of an object, where a store keeps those that were removed or replaced.

use bytes::Bytes;
use object_store::{GetOptions, ObjectStore};

use super::{Store, StoreError, Why};

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
}
