//! The certificate authority of a mesh on this machine: a root, an issuer for each coordinator, and the
//! certificate of the operator who started it.
//!
//! The root's key lies beside the mesh here, because the machine is all there is to protect; a mesh that is
//! not on one machine keeps it elsewhere.

use std::io;
use std::path::Path;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::files;
use mainstay_client::identity::{Bundle, ISSUER_LIFE, IdentityError, Issuer, LEAF_LIFE, NewKey, Root};
use mainstay_core::id::MeshName;
use mainstay_core::time::WallTime;
use mainstay_core::{Identity, MemberId};

use super::layout::Layout;
use super::record::MESH;
use crate::error::CliError;

/// The operator that `up` makes; an admin.
pub const OPERATOR: &str = "local";
/// Certificates and keys are a few KiB.
const PEM_MAX: u64 = 64 << 10;

/// The root of a mesh on this machine.
pub struct Authority {
    root: Root,
    mesh: MeshName,
}

impl Authority {
    /// The root in `ca/`, made at the first time.
    pub fn open(layout: &Layout) -> Result<Authority, CliError> {
        let mesh: MeshName = MESH.parse().map_err(|error: mainstay_core::id::NameError| CliError::failed(error.to_string()))?;
        let dir = layout.ca();
        let doing = format!("the certificate authority in {}", dir.display());
        let (cert, key) = (read(&dir.join("root.pem"))?, read(&dir.join("root.key"))?);
        let root = match (cert, key) {
            (Some(cert), Some(key)) => Root::from_pem(&cert, &key).map_err(|error| failed(&doing, &error))?,
            (None, None) => {
                let root = Root::create(&mesh, SystemClock.wall()).map_err(|error| failed(&doing, &error))?;
                make_dir(&dir)?;
                // The certificate last: with it, the pair is whole.
                write(&dir.join("root.key"), &root.key_pem(), 0o600)?;
                write(&dir.join("root.pem"), root.cert_pem(), 0o644)?;
                root
            }
            // A start that was cut off between the two writes: nobody has seen that root yet.
            (None, Some(_)) => {
                crate::host::remove_file(&dir.join("root.key")).map_err(|error| CliError::failed(format!("{doing}: {error}")))?;
                return Authority::open(layout);
            }
            (Some(_), None) => {
                return Err(CliError::failed(format!("{doing} has lost its key"))
                    .with_next("put root.key back from a backup, or remove the directory and start a new mesh"));
            }
        };
        Ok(Authority { root, mesh })
    }

    /// Puts a coordinator's identity, and what it signs with, into its directory, where it is missing. An
    /// identity that is there is the coordinator's own to renew. Says which member lives there.
    pub fn provision(&self, dir: &Path, name: &str, member: MemberId) -> Result<MemberId, CliError> {
        let issuer = match issuer_in(dir)? {
            Some(issuer) if !is_near_its_end(&issuer) => issuer,
            _ => self.new_issuer(dir, name)?,
        };
        if read(&dir.join("roots.pem"))?.is_none() {
            write(&dir.join("roots.pem"), self.root.cert_pem(), 0o644)?;
        }
        if Bundle::is_in(dir) {
            let (_, identity) = Bundle::load(dir).and_then(|bundle| bundle.identity()).map_err(|error| failed(name, &error))?;
            return match identity {
                Identity::Coordinator(member) => Ok(member),
                other => Err(CliError::failed(format!("the identity in {} is {other}, and {name} needs a coordinator's", dir.display()))),
            };
        }
        self.issue(&issuer, &Identity::Coordinator(member))?.store(dir).map_err(|error| failed(name, &error))?;
        Ok(member)
    }

    fn new_issuer(&self, dir: &Path, name: &str) -> Result<Issuer, CliError> {
        let issuer = self.root.issuer(name, SystemClock.wall()).map_err(|error| failed(name, &error))?;
        make_dir(dir)?;
        // A pair of a new key and an old certificate is not used: without the certificate, both are made anew.
        crate::host::remove_file(&dir.join("issuer.pem")).map_err(|error| CliError::failed(format!("{}: {error}", dir.display())))?;
        write(&dir.join("issuer.key"), &issuer.key_pem(), 0o600)?;
        write(&dir.join("issuer.pem"), issuer.cert_pem(), 0o644)?;
        Ok(issuer)
    }

    fn issue(&self, issuer: &Issuer, identity: &Identity) -> Result<Bundle, CliError> {
        let issued = NewKey::generate().and_then(|key| {
            let chain = issuer.issue(&key.csr_pem()?, &self.mesh, identity, SystemClock.wall(), LEAF_LIFE)?;
            Ok(key.into_bundle(chain, self.root.cert_pem().to_owned()))
        });
        issued.map_err(|error| failed(&format!("the certificate of {identity}"), &error))
    }

    /// The operator's certificate, signed by the issuer in `issuer_dir` where there is none or it is time
    /// for the next.
    pub fn operator(&self, layout: &Layout, issuer_dir: &Path) -> Result<Bundle, CliError> {
        let dir = layout.operator();
        let doing = "the operator's certificate";
        let now = SystemClock.wall();
        if Bundle::is_in(&dir) {
            let bundle = Bundle::load(&dir).map_err(|error| failed(doing, &error))?;
            let fresh = bundle.renew_at(0.0).map_err(|error| failed(doing, &error))? > now;
            if fresh && bundle.roots_pem.contains(self.root.cert_pem().trim()) {
                return Ok(bundle);
            }
        }
        let issuer = issuer_in(issuer_dir)?.ok_or_else(|| CliError::failed(format!("{} has no issuer", issuer_dir.display())))?;
        let identity: Identity =
            format!("operator/{OPERATOR}").parse().map_err(|error: mainstay_core::id::NameError| CliError::failed(error.to_string()))?;
        let bundle = self.issue(&issuer, &identity)?;
        make_dir(&dir)?;
        bundle.store(&dir).map_err(|error| failed(doing, &error))?;
        Ok(bundle)
    }
}

fn issuer_in(dir: &Path) -> Result<Option<Issuer>, CliError> {
    let (Some(cert), Some(key)) = (read(&dir.join("issuer.pem"))?, read(&dir.join("issuer.key"))?) else { return Ok(None) };
    Issuer::from_pem(&cert, &key).map(Some).map_err(|error| failed(&dir.display().to_string(), &error))
}

/// Less than a third of its life is left.
fn is_near_its_end(issuer: &Issuer) -> bool {
    let third = i64::try_from(ISSUER_LIFE.0 / 3).unwrap_or(i64::MAX);
    let as_chain = Bundle { key_pem: String::new(), chain_pem: issuer.cert_pem().to_owned(), roots_pem: String::new() };
    as_chain.validity().map_or(true, |(_, end)| WallTime(end.0 - third) < SystemClock.wall())
}

fn read(path: &Path) -> Result<Option<String>, CliError> {
    match files::read_text(path, PEM_MAX) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CliError::failed(format!("{} cannot be read: {error}", path.display()))),
    }
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), CliError> {
    files::write_atomic(path, text.as_bytes(), mode).map_err(|error| CliError::failed(format!("{} cannot be written: {error}", path.display())))
}

fn make_dir(dir: &Path) -> Result<(), CliError> {
    files::create_private_dir(dir).map_err(|error| CliError::failed(format!("{} cannot be made: {error}", dir.display())))
}

fn failed(doing: &str, error: &IdentityError) -> CliError {
    CliError::failed(format!("{doing}: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MEMBER: MemberId = MemberId(0xaa);

    #[test]
    fn an_authority_is_made_once_and_signs_the_operator() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let authority = Authority::open(&layout).unwrap();
        let c1 = layout.part("c1");
        assert_eq!(authority.provision(&c1, "c1", MEMBER).unwrap(), MEMBER);
        let issuer = read(&c1.join("issuer.pem")).unwrap();
        let bundle = authority.operator(&layout, &c1).unwrap();
        assert_eq!(bundle.identity().unwrap().1.to_string(), "operator/local");

        let again = Authority::open(&layout).unwrap();
        assert_eq!(again.root.cert_pem(), authority.root.cert_pem());
        assert_eq!(again.provision(&c1, "c1", MemberId(0xbb)).unwrap(), MEMBER, "who lives there stays");
        assert_eq!(read(&c1.join("issuer.pem")).unwrap(), issuer);
        assert_eq!(again.operator(&layout, &c1).unwrap(), bundle);
    }

    #[test]
    fn what_is_lost_is_made_again_except_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let authority = Authority::open(&layout).unwrap();
        let c2 = layout.part("c2");
        authority.provision(&c2, "c2", MEMBER).unwrap();
        crate::host::remove_file(&c2.join("issuer.key")).unwrap();
        authority.provision(&c2, "c2", MEMBER).unwrap();
        assert!(issuer_in(&c2).unwrap().is_some());
        crate::host::remove_file(&layout.ca().join("root.key")).unwrap();
        let error = Authority::open(&layout).err().unwrap();
        assert!(error.message.ends_with("has lost its key"), "{error}");
    }
}
