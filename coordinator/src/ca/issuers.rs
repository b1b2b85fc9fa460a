//! The issuers of one member: what it signs with, one under each root that it has one for.
//!
//! ```text
//! issuer.pem  issuer.key            the one that the installer gave, or that has taken its place
//! issuer-ROOT.pem  issuer-ROOT.key  one under another root, while both are trusted
//! issuer-ROOT.next.key              a key whose certificate the holder of the root's key is still to sign
//! ```

use std::io;
use std::path::{Path, PathBuf};

use mainstay_client::failpoint::Point;
use mainstay_client::files;
use mainstay_client::identity::{IdentityError, Issuer, NewKey, Roots};
use mainstay_core::WallTime;
use mainstay_core::state::trust::{IssuerGrant, IssuerRequest, RootId};

/// Largest file of certificates.
const FILE_MAX: u64 = 256 << 10;

/// All issuers of a member.
pub struct Issuers {
    dir: PathBuf,
    held: Vec<Held>,
    pending: Option<Pending>,
}

struct Held {
    root: RootId,
    issuer: Issuer,
}

struct Pending {
    key: NewKey,
    request: IssuerRequest,
}

impl Issuers {
    /// Of a member that signs nothing.
    #[must_use]
    pub fn none(dir: &Path) -> Issuers {
        Issuers { dir: dir.to_owned(), held: Vec::new(), pending: None }
    }

    /// Reads what a directory has for these roots. What belongs to another root is not used.
    pub fn open(dir: &Path, roots: &Roots) -> Result<Issuers, IdentityError> {
        let mut issuers = Issuers::none(dir);
        let names = std::iter::once("issuer".to_owned()).chain(roots.iter().map(|root| named(root.id)));
        for name in names {
            let (Some(cert), Some(key)) = (issuers.read(&format!("{name}.pem"))?, issuers.read(&format!("{name}.key"))?) else { continue };
            let issuer = Issuer::from_pem(&cert, &key)?;
            match roots.of_chain_pem(&cert) {
                Some(root) => issuers.hold(Held { root: root.id, issuer }),
                None => {
                    tracing::warn!(file = %dir.join(format!("{name}.pem")).display(), "this issuer is of a root that is not trusted: it is not used")
                }
            }
        }
        for root in roots.iter() {
            let next = format!("{}.next.key", named(root.id));
            let Some(key) = issuers.read(&next)? else { continue };
            // Taken, and cut off before that was tidied up.
            if issuers.under(root.id).is_some_and(|issuer| issuer.has_key(&key)) {
                issuers.remove(&next)?;
            } else {
                issuers.pending = Some(Pending::of(NewKey::from_pem(&key)?, root.id)?);
            }
        }
        Ok(issuers)
    }

    /// Of two under one root, the one that signs longer.
    fn hold(&mut self, new: Held) {
        match self.held.iter_mut().find(|held| held.root == new.root) {
            Some(held) if held.issuer.not_after() < new.issuer.not_after() => *held = new,
            Some(_) => {}
            None => self.held.push(new),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The roots under which it can sign, sorted.
    #[must_use]
    pub fn roots(&self) -> Vec<RootId> {
        let mut roots: Vec<RootId> = self.held.iter().map(|held| held.root).collect();
        roots.sort_unstable();
        roots
    }

    #[must_use]
    pub fn under(&self, root: RootId) -> Option<&Issuer> {
        self.held.iter().find(|held| held.root == root).map(|held| &held.issuer)
    }

    /// The one under `wanted`, or else the one that has been there longest.
    #[must_use]
    pub fn best(&self, wanted: Option<RootId>) -> Option<(RootId, &Issuer)> {
        let held = self.held.iter().find(|held| Some(held.root) == wanted).or(self.held.first())?;
        Some((held.root, &held.issuer))
    }

    /// What the holder of a root's key is to sign.
    #[must_use]
    pub fn request(&self) -> Option<&IssuerRequest> {
        self.pending.as_ref().map(|pending| &pending.request)
    }

    /// Asks for an issuer under a root, unless there is one that is good for long enough, or it is asked for
    /// already. A member that never signed does not begin to. Says whether something changed.
    pub fn want(&mut self, root: RootId, now: WallTime) -> Result<bool, IdentityError> {
        let has = self.under(root).is_some_and(|issuer| !issuer.is_near_its_end(now));
        if has || self.held.is_empty() || self.request().is_some_and(|request| request.root == root) {
            return Ok(false);
        }
        self.ask(root).map(|()| true)
    }

    /// Makes a key for the next issuer; it is on disk before anybody signs for it.
    fn ask(&mut self, root: RootId) -> Result<(), IdentityError> {
        self.give_up_request()?;
        let key = NewKey::generate()?;
        self.write(&format!("{}.next.key", named(root)), &key.key_pem())?;
        self.pending = Some(Pending::of(key, root)?);
        Ok(())
    }

    /// Takes what was signed for the key that waits for it, if what it signs holds, which `proves` finds out. What
    /// does not fit is turned down, and another key takes its place, so that it is asked for anew. Says whether
    /// something changed.
    pub fn take(&mut self, grant: &IssuerGrant, roots: &Roots, proves: impl Fn(&Issuer) -> Result<(), IdentityError>) -> Result<bool, IdentityError> {
        let Some(pending) = self.pending.as_ref().filter(|pending| pending.request.root == grant.root) else { return Ok(false) };
        let key_pem = pending.key.key_pem();
        let is_of_root = roots.of_chain_pem(&grant.cert_pem).is_some_and(|root| root.id == grant.root);
        let issuer = Issuer::from_pem(&grant.cert_pem, &key_pem).and_then(|issuer| proves(&issuer).map(|()| issuer));
        let issuer = match issuer {
            Ok(issuer) if is_of_root => issuer,
            Ok(_) => {
                tracing::warn!(root = %grant.root, "the issuer that was signed for this member is of another root: it is asked for anew");
                return self.ask(grant.root).map(|()| true);
            }
            Err(error) => {
                tracing::warn!(root = %grant.root, %error, "the issuer that was signed for this member is of no use: it is asked for anew");
                return self.ask(grant.root).map(|()| true);
            }
        };
        let name = named(grant.root);
        // A pair of a new key and an old certificate is not used: the certificate is written last.
        self.remove(&format!("{name}.pem"))?;
        self.write(&format!("{name}.key"), &key_pem)?;
        self.write(&format!("{name}.pem"), &grant.cert_pem)?;
        self.give_up_request()?;
        self.hold(Held { root: grant.root, issuer });
        Ok(true)
    }

    /// Drops what belongs to roots that are trusted no longer; what remains takes the place of the first one.
    /// Says whether something changed.
    pub fn keep_only(&mut self, roots: &Roots) -> Result<bool, IdentityError> {
        let mut changed = false;
        if self.request().is_some_and(|request| !roots.contains(request.root)) {
            self.give_up_request()?;
            changed = true;
        }
        let gone: Vec<RootId> = self.roots().into_iter().filter(|root| !roots.contains(*root)).collect();
        // Without an issuer nothing could be signed at all: the last one is never dropped.
        if gone.is_empty() || gone.len() == self.held.len() {
            return Ok(changed);
        }
        self.held.retain(|held| !gone.contains(&held.root));
        // Where it has that place already, this may be all there is of it: nothing is taken away then.
        if let Some(first) = self.held.first()
            && self.installed()?.is_none_or(|issuer| issuer.cert_pem() != first.issuer.cert_pem())
        {
            let (cert, key) = (first.issuer.cert_pem().to_owned(), first.issuer.key_pem());
            self.remove("issuer.pem")?;
            self.write("issuer.key", &key)?;
            self.write("issuer.pem", &cert)?;
        }
        for root in gone {
            self.remove(&format!("{}.pem", named(root)))?;
            self.remove(&format!("{}.key", named(root)))?;
        }
        Ok(true)
    }

    /// The issuer under the name that an installer gives it.
    fn installed(&self) -> Result<Option<Issuer>, IdentityError> {
        let (cert, key) = (self.read("issuer.pem")?, self.read("issuer.key")?);
        Ok(cert.zip(key).and_then(|(cert, key)| Issuer::from_pem(&cert, &key).ok()))
    }

    fn give_up_request(&mut self) -> Result<(), IdentityError> {
        match self.pending.take() {
            Some(pending) => self.remove(&format!("{}.next.key", named(pending.request.root))),
            None => Ok(()),
        }
    }

    fn read(&self, name: &str) -> Result<Option<String>, IdentityError> {
        let path = self.dir.join(name);
        match files::read_sealed(&path, FILE_MAX) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(IdentityError::Read { path, source }),
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<(), IdentityError> {
        let path = self.dir.join(name);
        files::write_sealed(Point::Issuer, &path, text, 0o600).map_err(|source| IdentityError::Write { path, source })
    }

    fn remove(&self, name: &str) -> Result<(), IdentityError> {
        let path = self.dir.join(name);
        files::remove(Point::IssuerDrop, &path).map_err(|source| IdentityError::Write { path, source })
    }
}

impl Pending {
    fn of(key: NewKey, root: RootId) -> Result<Pending, IdentityError> {
        let csr_pem = key.csr_pem()?;
        Ok(Pending { key, request: IssuerRequest { root, csr_pem } })
    }
}

fn named(root: RootId) -> String {
    format!("issuer-{root}")
}

#[cfg(test)]
mod tests {
    use mainstay_client::failpoint::trial::{self, Trial};
    use mainstay_client::identity::{ISSUER_LIFE, Root, RootCertificate};
    use mainstay_core::id::MeshName;
    use tempfile::TempDir;

    use super::*;

    const NOW: WallTime = WallTime(1_790_000_000_000);

    struct Place {
        dir: TempDir,
        old: Root,
        new: Root,
    }

    impl Place {
        /// A directory with an issuer under the old root.
        fn new() -> Place {
            let mesh: MeshName = "local".parse().unwrap();
            let (old, new) = (Root::create(&mesh, NOW).unwrap(), Root::create(&mesh, NOW).unwrap());
            let dir = TempDir::new().unwrap();
            let issuer = old.issuer("c1", NOW).unwrap();
            files::write_atomic(Point::Issuer, &dir.path().join("issuer.pem"), issuer.cert_pem().as_bytes(), 0o600).unwrap();
            files::write_atomic(Point::Issuer, &dir.path().join("issuer.key"), issuer.key_pem().as_bytes(), 0o600).unwrap();
            Place { dir, old, new }
        }

        fn roots(&self, which: &[&Root]) -> Roots {
            Roots::of(&which.iter().map(|root| root.cert_pem()).collect::<String>()).unwrap()
        }

        fn open(&self, which: &[&Root]) -> Issuers {
            Issuers::open(self.dir.path(), &self.roots(which)).unwrap()
        }
    }

    fn id(root: &Root) -> RootId {
        RootCertificate::read(root.cert_pem()).unwrap().id
    }

    #[test]
    fn an_issuer_under_another_root_is_asked_for_taken_and_outlives_the_older_one() {
        let place = Place::new();
        let (old, new) = (id(&place.old), id(&place.new));
        let both = [&place.old, &place.new];
        let mut issuers = place.open(&both);
        assert_eq!(issuers.roots(), [old]);
        assert!(!issuers.want(old, NOW).unwrap() && issuers.want(new, NOW).unwrap() && !issuers.want(new, NOW).unwrap());
        // The key is on disk before anybody signs for it: a restart asks for the same.
        let asked = place.open(&both);
        let csr = &asked.request().unwrap().csr_pem.clone();
        let grant = |root: &Root, csr: &str| IssuerGrant { root: new, cert_pem: root.certify(csr, "c1", NOW).unwrap() };
        let other = NewKey::generate().unwrap().csr_pem().unwrap();
        let roots = place.roots(&both);
        // What is for another key, by another root, or proves nothing is asked for anew, with another key.
        let fails = |_: &Issuer| Err(IdentityError::Malformed { what: "it", problem: "does not hold".into() });
        let mut csr = csr.clone();
        for wrong in [grant(&place.new, &other), grant(&place.old, &csr)] {
            assert!(issuers.take(&wrong, &roots, |_| Ok(())).unwrap() && issuers.roots() == [old]);
            csr = issuers.request().map(|request| request.csr_pem.clone()).filter(|asked| *asked != csr).unwrap();
        }
        assert!(issuers.take(&grant(&place.new, &csr), &roots, fails).unwrap() && issuers.roots() == [old]);
        csr = issuers.request().unwrap().csr_pem.clone();
        assert!(issuers.take(&grant(&place.new, &csr), &roots, |_| Ok(())).unwrap() && issuers.request().is_none());
        assert_eq!(issuers.best(None).unwrap().0, old);
        assert_eq!((issuers.best(Some(new)).unwrap().0, place.open(&both).roots().len()), (new, 2));

        assert!(!issuers.keep_only(&roots).unwrap());
        assert!(issuers.keep_only(&place.roots(&[&place.new])).unwrap());
        assert_eq!(issuers.roots(), [new]);
        assert_eq!(place.open(&[&place.new]).best(None).unwrap().0, new, "as the installer's own files");
        assert!(!files::exists(&place.dir.path().join(format!("issuer-{old}.key"))));
        assert!(!issuers.keep_only(&place.roots(&[&place.old])).unwrap(), "the last one is never dropped");
    }

    fn trial(job: &str) -> Trial<'_> {
        Trial { test: "ca::issuers::tests::child", job }
    }

    /// Runs only as a child of the test below: two roots, and then the one or the other.
    #[test]
    fn child() {
        let Some((job, dir)) = trial::asked() else { return };
        let read = |name: &str| files::read_text(&dir.join(name), FILE_MAX).unwrap();
        let root = |name: &str| Root::from_pem(&read(&format!("{name}.pem")), &read(&format!("{name}.key"))).unwrap();
        let (old, new) = (root("old"), root("new"));
        let both = Roots::of(&format!("{}{}", old.cert_pem(), new.cert_pem())).unwrap();
        let mut issuers = Issuers::open(&dir, &both).unwrap();
        assert!(issuers.want(id(&new), NOW).unwrap());
        let cert_pem = new.certify(&issuers.request().unwrap().csr_pem, "c1", NOW).unwrap();
        assert!(issuers.take(&IssuerGrant { root: id(&new), cert_pem }, &both, |_| Ok(())).unwrap());
        trial::note(&dir, "taken");
        let kept = if job == "go on" { &new } else { &old };
        issuers.keep_only(&Roots::of(kept.cert_pem()).unwrap()).unwrap();
        trial::note(&dir, "kept");
    }

    /// It signs at any time, under whichever root is trusted, and asks again for what it did not take.
    #[test]
    fn a_member_that_dies_while_its_issuers_change_still_signs() {
        for job in ["go on", "go back"] {
            let place = || {
                let place = Place::new();
                for (name, root) in [("old", &place.old), ("new", &place.new)] {
                    files::write_atomic(Point::Saved, &place.dir.path().join(format!("{name}.pem")), root.cert_pem().as_bytes(), 0o600).unwrap();
                    files::write_atomic(Point::Saved, &place.dir.path().join(format!("{name}.key")), root.key_pem().as_bytes(), 0o600).unwrap();
                }
                place.dir
            };
            let judge = |dir: &Path| {
                let read = |name: &str| files::read_text(&dir.join(name), FILE_MAX).unwrap();
                let (old, new) = (Roots::of(&read("old.pem")).unwrap(), Roots::of(&read("new.pem")).unwrap());
                let both = Roots::of(&format!("{}{}", read("old.pem"), read("new.pem"))).unwrap();
                let open = |roots: &Roots| Issuers::open(dir, roots).map(|issuers| !issuers.is_empty()).map_err(|error| error.to_string());
                let is_taken = trial::noted(dir).contains(&"taken".to_owned());
                match (open(&both)?, open(&old)?, open(&new)?) {
                    (false, ..) => Err("it signs no more".to_owned()),
                    (_, false, _) if job == "go back" => Err("it does not sign under the old root any more".to_owned()),
                    (_, _, false) if job == "go on" && is_taken => Err("it does not sign under the new root".to_owned()),
                    _ => Ok(()),
                }
            };
            trial(job).everywhere(
                &[Point::Issuer, Point::IssuerDrop],
                &["", ":lose", ":nth=2", ":lose:nth=2", ":nth=3", ":lose:nth=3", ":nth=4", ":nth=5"],
                place,
                judge,
            );
        }
    }

    #[test]
    fn one_that_ends_soon_is_asked_for_again_under_the_same_root() {
        let place = Place::new();
        let old = id(&place.old);
        let roots = place.roots(&[&place.old]);
        let late = WallTime(NOW.0 + 2 * ISSUER_LIFE.0 as i64 / 3 + 1);
        let mut issuers = place.open(&[&place.old]);
        assert!(issuers.want(old, late).unwrap());
        let csr = issuers.request().unwrap().csr_pem.clone();
        let cert_pem = place.old.certify(&csr, "c1", late).unwrap();
        assert!(issuers.take(&IssuerGrant { root: old, cert_pem }, &roots, |_| Ok(())).unwrap());
        assert!(!issuers.under(old).unwrap().is_near_its_end(late));
        assert!(!place.open(&[&place.old]).under(old).unwrap().is_near_its_end(late));
    }

    #[test]
    fn one_that_never_signed_does_not_begin_to() {
        let place = Place::new();
        files::remove(Point::IssuerDrop, &place.dir.path().join("issuer.pem")).unwrap();
        let mut issuers = place.open(&[&place.old]);
        assert!(issuers.is_empty() && !issuers.want(id(&place.new), NOW).unwrap() && issuers.best(None).is_none());
    }
}
