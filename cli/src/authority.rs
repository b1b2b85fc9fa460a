//! The certificate authority of a mesh, where an operator holds it: a root, an issuer for each coordinator, and
//! certificates for operators.
//!
//! `mainstay up` keeps the root's key beside the mesh, because the machine is all there is to protect; for a mesh
//! on servers it is a file that is kept elsewhere.

use std::io;
use std::path::Path;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::failpoint::Point;
use mainstay_client::files;
use mainstay_client::identity::{Bundle, IdentityError, Issuer, LEAF_LIFE, NewKey, Root, Roots};
use mainstay_core::id::MeshName;
use mainstay_core::time::WallTime;
use mainstay_core::{Identity, MemberId};

use crate::error::CliError;

/// Certificates and keys are a few KiB.
const PEM_MAX: u64 = 64 << 10;

/// The root of a mesh.
pub struct Authority {
    root: Root,
    mesh: MeshName,
}

impl Authority {
    /// A new root.
    pub fn create(mesh: &MeshName) -> Result<Authority, CliError> {
        let root = Root::create(mesh, SystemClock.wall()).map_err(|error| failed("a new certificate authority", &error))?;
        Ok(Authority { root, mesh: mesh.clone() })
    }

    /// The root in a directory (`root.pem`, `root.key`), made at the first time.
    pub fn open(dir: &Path, mesh: &MeshName) -> Result<Authority, CliError> {
        let doing = format!("the certificate authority in {}", dir.display());
        let (cert, key) = (read(&dir.join("root.pem"))?, read(&dir.join("root.key"))?);
        let root = match (cert, key) {
            (Some(cert), Some(key)) => Root::from_pem(&cert, &key).map_err(|error| failed(&doing, &error))?,
            (None, None) => {
                let root = Authority::create(mesh)?.root;
                make_dir(dir)?;
                // The certificate last: with it, the pair is whole.
                write(Point::RootKey, &dir.join("root.key"), &root.key_pem(), 0o600)?;
                write(Point::RootKey, &dir.join("root.pem"), root.cert_pem(), 0o644)?;
                root
            }
            // A start that was cut off between the two writes: nobody has seen that root yet.
            (None, Some(_)) => {
                files::remove(Point::RootKeyDrop, &dir.join("root.key")).map_err(|error| CliError::failed(format!("{doing}: {error}")))?;
                return Authority::open(dir, mesh);
            }
            (Some(_), None) => {
                return Err(CliError::failed(format!("{doing} has lost its key"))
                    .with_next("put root.key back from a backup, or remove the directory and start a new mesh"));
            }
        };
        Ok(Authority { root, mesh: mesh.clone() })
    }

    /// The root in the file that was kept for it: its certificate and its key in one, or the key alone with the
    /// certificate beside it in `root.pem`.
    pub fn from_file(path: &Path, mesh: &MeshName) -> Result<Authority, CliError> {
        let text = read(path)?.ok_or_else(|| CliError::usage(format!("{} is not there", path.display())))?;
        let key = block(&text, "PRIVATE KEY").ok_or_else(|| CliError::usage(format!("{} has no private key in it", path.display())))?;
        let beside = path.with_file_name("root.pem");
        let cert = match block(&text, "CERTIFICATE") {
            Some(cert) => Some(cert),
            None => read(&beside)?.and_then(|text| block(&text, "CERTIFICATE")),
        };
        let cert = cert.ok_or_else(|| {
            CliError::usage(format!("{} has a key and no certificate, and there is none in {}", path.display(), beside.display()))
                .with_next("put both into one file: the certificate is also below `# trusted roots` in every identity.pem of the mesh")
        })?;
        let root = Root::from_pem(&cert, &key).map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?;
        Ok(Authority { root, mesh: mesh.clone() })
    }

    /// The root in one text, certificate and key, as [`Authority::root_file`] makes it; `place` is where it was found.
    pub fn from_text(text: &str, mesh: &MeshName, place: &str) -> Result<Authority, CliError> {
        let (Some(cert), Some(key)) = (block(text, "CERTIFICATE"), block(text, "PRIVATE KEY")) else {
            return Err(CliError::failed(format!("{place} is to have a certificate and its private key in root.pem")));
        };
        let root = Root::from_pem(&cert, &key).map_err(|error| CliError::failed(format!("{place}: {error}")))?;
        Ok(Authority { root, mesh: mesh.clone() })
    }

    /// What everybody in the mesh trusts.
    #[must_use]
    pub fn root_pem(&self) -> &str {
        self.root.cert_pem()
    }

    /// Certificate and key in one text, for [`Authority::from_file`]. Whoever has it can be anybody in the mesh.
    #[must_use]
    pub fn root_file(&self) -> String {
        format!("{}\n{}\n", self.root.cert_pem().trim_end(), self.root.key_pem().trim_end())
    }

    /// Puts a coordinator's identity, and what it signs with, into its directory, where it is missing. An
    /// identity that is there is the coordinator's own to renew. Says which member lives there.
    pub fn provision(&self, dir: &Path, name: &str, member: MemberId) -> Result<MemberId, CliError> {
        let issuer = match issuer_in(dir)? {
            Some(issuer) if !issuer.is_near_its_end(SystemClock.wall()) => issuer,
            _ => self.new_issuer(dir, name)?,
        };
        if read(&dir.join("roots.pem"))?.is_none() {
            write(Point::Provision, &dir.join("roots.pem"), self.root.cert_pem(), 0o644)?;
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

    /// A new issuer for a coordinator of that name.
    pub fn issuer(&self, name: &str) -> Result<Issuer, CliError> {
        self.root.issuer(name, SystemClock.wall()).map_err(|error| failed(name, &error))
    }

    /// Signs for a new key of `identity`, who is to trust this root.
    pub fn issue(&self, issuer: &Issuer, identity: &Identity) -> Result<Bundle, CliError> {
        issue(issuer, &self.mesh, self.root.cert_pem(), identity)
    }

    fn new_issuer(&self, dir: &Path, name: &str) -> Result<Issuer, CliError> {
        let issuer = self.issuer(name)?;
        put_issuer(dir, issuer.cert_pem(), &issuer.key_pem())?;
        Ok(issuer)
    }

    /// The certificate of operator `name` in `dir`, signed by the issuer in `issuer_dir` where there is none or
    /// it is time for the next.
    pub fn operator(&self, name: &str, dir: &Path, issuer_dir: &Path) -> Result<Bundle, CliError> {
        let doing = "the operator's certificate";
        let now = SystemClock.wall();
        // What the member trusts, which is what the mesh does: roots may have changed since it was made.
        let roots_pem = read(&issuer_dir.join("roots.pem"))?.unwrap_or_else(|| self.root.cert_pem().to_owned());
        if Bundle::is_in(dir) {
            let bundle = Bundle::load(dir).map_err(|error| failed(doing, &error))?;
            let fresh = bundle.renew_at(0.0).map_err(|error| failed(doing, &error))? > now;
            let ids = |pem: &str| Roots::of(pem).map(|roots| roots.ids()).map_err(|error| failed(doing, &error));
            if fresh && ids(&bundle.roots_pem)? == ids(&roots_pem)? {
                return Ok(bundle);
            }
        }
        let issuer = issuer_in(issuer_dir)?.ok_or_else(|| CliError::failed(format!("{} has no issuer", issuer_dir.display())))?;
        let identity: Identity =
            format!("operator/{name}").parse().map_err(|error: mainstay_core::id::NameError| CliError::usage(error.to_string()))?;
        let bundle = issue(&issuer, &self.mesh, &roots_pem, &identity)?;
        make_dir(dir)?;
        bundle.store(dir).map_err(|error| failed(doing, &error))?;
        Ok(bundle)
    }
}

/// Signs a certificate for a new key of `identity`, who is to trust `roots_pem`.
pub fn issue(issuer: &Issuer, mesh: &MeshName, roots_pem: &str, identity: &Identity) -> Result<Bundle, CliError> {
    let issued = NewKey::generate().and_then(|key| {
        let chain = issuer.issue(&key.csr_pem()?, mesh, identity, SystemClock.wall(), LEAF_LIFE)?;
        Ok(key.into_bundle(chain, roots_pem.to_owned()))
    });
    issued.map_err(|error| failed(&format!("the certificate of {identity}"), &error))
}

/// Puts what a coordinator signs with into its directory.
pub fn put_issuer(dir: &Path, cert_pem: &str, key_pem: &str) -> Result<(), CliError> {
    make_dir(dir)?;
    // A pair of a new key and an old certificate is not used: without the certificate, both are made anew.
    files::remove(Point::ProvisionDrop, &dir.join("issuer.pem")).map_err(|error| CliError::failed(format!("{}: {error}", dir.display())))?;
    write(Point::Provision, &dir.join("issuer.key"), key_pem, 0o600)?;
    write(Point::Provision, &dir.join("issuer.pem"), cert_pem, 0o644)
}

/// What a coordinator's directory has to sign with.
pub fn issuer_in(dir: &Path) -> Result<Option<Issuer>, CliError> {
    let (Some(cert), Some(key)) = (read(&dir.join("issuer.pem"))?, read(&dir.join("issuer.key"))?) else { return Ok(None) };
    Issuer::from_pem(&cert, &key).map(Some).map_err(|error| failed(&dir.display().to_string(), &error))
}

/// The first PEM block of a kind, and nothing of what is around it: a key must not go where a certificate goes.
fn block(text: &str, kind: &str) -> Option<String> {
    let start = text.find(&format!("-----BEGIN {kind}-----"))?;
    let end_line = format!("-----END {kind}-----");
    let end = start + text[start..].find(&end_line)? + end_line.len();
    Some(format!("{}\n", &text[start..end]))
}

/// When a certificate ends.
pub fn end_of(cert_pem: &str) -> Result<WallTime, CliError> {
    let as_chain = Bundle { key_pem: String::new(), chain_pem: cert_pem.to_owned(), roots_pem: String::new() };
    as_chain.validity().map(|(_, end)| end).map_err(|error| failed("a certificate", &error))
}

/// A small file of certificates or keys; none is no error.
pub fn read(path: &Path) -> Result<Option<String>, CliError> {
    match files::read_sealed(path, PEM_MAX) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CliError::failed(format!("{} cannot be read: {error}", path.display()))),
    }
}

/// Replaces such a file.
pub fn write(point: Point, path: &Path, text: &str, mode: u32) -> Result<(), CliError> {
    files::write_sealed(point, path, text, mode).map_err(|error| CliError::failed(format!("{} cannot be written: {error}", path.display())))
}

fn make_dir(dir: &Path) -> Result<(), CliError> {
    files::create_private_dir(Point::CliDirectory, dir).map_err(|error| CliError::failed(format!("{} cannot be made: {error}", dir.display())))
}

fn failed(doing: &str, error: &IdentityError) -> CliError {
    CliError::failed(format!("{doing}: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MEMBER: MemberId = MemberId(0xaa);

    fn mesh() -> MeshName {
        "local".parse().unwrap()
    }

    #[test]
    fn an_authority_is_made_once_and_signs_the_operator() {
        let dir = tempfile::tempdir().unwrap();
        let (ca, c1, operator) = (dir.path().join("ca"), dir.path().join("c1"), dir.path().join("operator"));
        let authority = Authority::open(&ca, &mesh()).unwrap();
        assert_eq!(authority.provision(&c1, "c1", MEMBER).unwrap(), MEMBER);
        let issuer = read(&c1.join("issuer.pem")).unwrap();
        let bundle = authority.operator("ana", &operator, &c1).unwrap();
        assert_eq!(bundle.identity().unwrap().1.to_string(), "operator/ana");

        let again = Authority::open(&ca, &mesh()).unwrap();
        assert_eq!(again.root.cert_pem(), authority.root.cert_pem());
        assert_eq!(again.provision(&c1, "c1", MemberId(0xbb)).unwrap(), MEMBER, "who lives there stays");
        assert_eq!(read(&c1.join("issuer.pem")).unwrap(), issuer);
        assert_eq!(again.operator("ana", &operator, &c1).unwrap(), bundle);
    }

    #[test]
    fn what_is_lost_is_made_again_except_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let (ca, c2) = (dir.path().join("ca"), dir.path().join("c2"));
        let authority = Authority::open(&ca, &mesh()).unwrap();
        authority.provision(&c2, "c2", MEMBER).unwrap();
        files::remove(Point::ProvisionDrop, &c2.join("issuer.key")).unwrap();
        authority.provision(&c2, "c2", MEMBER).unwrap();
        assert!(issuer_in(&c2).unwrap().is_some());
        files::remove(Point::RootKeyDrop, &ca.join("root.key")).unwrap();
        let error = Authority::open(&ca, &mesh()).err().unwrap();
        assert!(error.message.ends_with("has lost its key"), "{error}");
    }

    #[test]
    fn a_root_is_had_back_from_its_file_or_from_its_pair() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(&dir.path().join("ca"), &mesh()).unwrap();
        let file = dir.path().join("kept.pem");
        write(Point::RootKey, &file, &authority.root_file(), 0o600).unwrap();
        for path in [file, dir.path().join("ca/root.key")] {
            assert_eq!(Authority::from_file(&path, &mesh()).unwrap().root_pem(), authority.root_pem(), "{}", path.display());
        }
        let other = Authority::create(&mesh()).unwrap();
        let mixed = dir.path().join("mixed.pem");
        write(Point::RootKey, &mixed, &format!("{}{}", authority.root_pem(), other.root.key_pem()), 0o600).unwrap();
        assert_eq!(Authority::from_file(&mixed, &mesh()).err().unwrap().exit.status(), 2);
        let alone = dir.path().join("alone.key");
        write(Point::RootKey, &alone, &other.root.key_pem(), 0o600).unwrap();
        assert!(Authority::from_file(&alone, &mesh()).err().unwrap().message.contains("has a key and no certificate"));
    }
}
