//! What the installer of a cluster made for a mesh's first coordinators: a folder that all of them see, as a Secret is.
//!
//! In: that folder, an empty state directory. Out: an identity and an issuer in the directory, and for a while after the
//! installation the word to form a mesh. What was lost later joins, under an id of its own: a mesh is never formed anew
//! because all disks are empty.
//!
//! ```text
//!  mesh       its name                     members        NAME=ID=HOST:PORT, one a line
//!  until      Unix ms: forms until then    admins         names, commas between
//!  roots.pem  whom to trust                join-grants    as --join-grants takes them
//!  NAME.issuer.pem, NAME.issuer.key        what the coordinator of that name signs with
//! ```

use std::io;
use std::path::{Path, PathBuf};

use mainstay_client::clock::Clock;
use mainstay_client::failpoint::Point;
use mainstay_client::identity::{Bundle, IdentityError, Issuer, LEAF_LIFE, NewKey};
use mainstay_client::{files, random};
use mainstay_core::id::{MeshName, PrincipalName};
use mainstay_core::{Identity, MemberId, WallTime};

use crate::settings::{Settings, grants};

/// Largest file of the folder.
const FILE_MAX: u64 = 256 << 10;

/// Why the folder is of no use.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    #[error("{path} cannot be {doing}: {source}", path = path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not as the installer wrote it: {problem}", path = path.display())]
    Damaged { path: PathBuf, problem: String },
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// One of the first members.
#[derive(Debug, Clone, PartialEq, Eq)]
struct First {
    name: String,
    id: MemberId,
    address: String,
}

/// The settings as the folder completes them; the directory has an identity then, where the folder has one for it.
///
/// # Errors
/// When the folder cannot be read or is damaged.
pub fn take(mut settings: Settings, clock: &dyn Clock) -> Result<Settings, FoundingError> {
    let Some(folder) = settings.founding.clone() else { return Ok(settings) };
    let members = members(&folder)?;
    let forms = clock.wall() < until(&folder)?;
    if settings.join.is_empty() {
        settings.join = members.iter().filter(|first| first.name != settings.name).map(|first| first.address.clone()).collect();
    }
    let Some(own) = members.iter().find(|first| first.name == settings.name) else {
        // One more than there were at first: it has a join token.
        return Ok(settings);
    };
    if forms {
        settings.form = members.iter().map(|first| (first.id, first.address.clone())).collect();
        let admins = text(&folder, "admins")?;
        settings.admins =
            parsed(&folder, "admins", admins.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::parse::<PrincipalName>))?;
        settings.grants = grants(&text(&folder, "join-grants")?).map_err(|problem| damaged(&folder, "join-grants", problem))?;
    }
    if !Bundle::is_in(&settings.dir) {
        provision(&folder, &settings, if forms { own.id } else { MemberId(random::number()) }, clock)?;
    }
    Ok(settings)
}

/// The identity comes last: with it, the directory is whole.
fn provision(folder: &Path, settings: &Settings, id: MemberId, clock: &dyn Clock) -> Result<(), FoundingError> {
    let name = &settings.name;
    let (cert, key) = (text(folder, &format!("{name}.issuer.pem"))?, text(folder, &format!("{name}.issuer.key"))?);
    let issuer = Issuer::from_pem(&cert, &key)?;
    if issuer.not_after() <= clock.wall() {
        tracing::warn!("the issuer that the installer gave to {name} has ended: this member needs a join token");
        return Ok(());
    }
    let mesh: MeshName = text(folder, "mesh")?.trim().parse().map_err(|error| damaged(folder, "mesh", error))?;
    let roots = text(folder, "roots.pem")?;
    let dir = &settings.dir;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| FoundingError::Io { doing: "made", path, source }
    };
    files::create_private_dir(Point::StoreDirectory, dir).map_err(io(dir))?;
    for (file, content, mode) in [("issuer.key", &key, 0o600), ("issuer.pem", &cert, 0o644), ("roots.pem", &roots, 0o644)] {
        let path = dir.join(file);
        files::write_sealed(Point::Provision, &path, content, mode).map_err(io(&path))?;
    }
    let own = NewKey::generate()?;
    let chain = issuer.issue(&own.csr_pem()?, &mesh, &Identity::Coordinator(id), clock.wall(), LEAF_LIFE)?;
    own.into_bundle(chain, roots).store(dir)?;
    tracing::info!(member = %id, name, "this directory was empty: it has an identity and an issuer from the installer");
    Ok(())
}

fn members(folder: &Path) -> Result<Vec<First>, FoundingError> {
    let text = text(folder, "members")?;
    let first = |line: &str| {
        let mut parts = line.trim().splitn(3, '=');
        let (Some(name), Some(id), Some(address)) = (parts.next(), parts.next(), parts.next()) else { return Err(format!("`{line}`")) };
        Ok(First { name: name.to_owned(), id: id.parse().map_err(|_| format!("`{line}`"))?, address: address.to_owned() })
    };
    parsed(folder, "members", text.lines().filter(|line| !line.trim().is_empty()).map(first))
}

fn until(folder: &Path) -> Result<WallTime, FoundingError> {
    let text = text(folder, "until")?;
    text.trim().parse().map(WallTime).map_err(|error| damaged(folder, "until", error))
}

fn parsed<T, E: std::fmt::Display>(folder: &Path, name: &str, all: impl Iterator<Item = Result<T, E>>) -> Result<Vec<T>, FoundingError> {
    all.collect::<Result<_, _>>().map_err(|error| damaged(folder, name, error))
}

fn text(folder: &Path, name: &str) -> Result<String, FoundingError> {
    let path = folder.join(name);
    files::read_text(&path, FILE_MAX).map_err(|source| FoundingError::Io { doing: "read", path, source })
}

fn damaged(folder: &Path, name: &str, problem: impl std::fmt::Display) -> FoundingError {
    FoundingError::Damaged { path: folder.join(name), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "the folder is the test's own")]
    use std::fs;
    use std::time::Duration;

    use mainstay_client::identity::Root;
    use tempfile::TempDir;

    use super::*;
    use crate::settings::{Fragment, validate};

    struct At(i64);

    impl Clock for At {
        fn wall(&self) -> WallTime {
            WallTime(self.0)
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
    }

    const NOW: i64 = 1_790_000_000_000;

    fn folder() -> TempDir {
        let folder = TempDir::new().unwrap();
        let mesh: MeshName = "prod".parse().unwrap();
        let root = Root::create(&mesh, WallTime(NOW)).unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put("mesh", "prod\n");
        put("until", &format!("{}\n", NOW + 1_000));
        put("members", "m-0=00000000000000aa=m-0.m:7400\nm-1=00000000000000bb=m-1.m:7400\n");
        put("admins", "ana\n");
        put("join-grants", &format!("cluster-agents/c {} 1 2\n", "ab".repeat(32)));
        put("roots.pem", root.cert_pem());
        for name in ["m-0", "m-1"] {
            let issuer = root.issuer(name, WallTime(NOW)).unwrap();
            put(&format!("{name}.issuer.pem"), issuer.cert_pem());
            put(&format!("{name}.issuer.key"), &issuer.key_pem());
        }
        folder
    }

    fn settings(folder: &TempDir, name: &str) -> Settings {
        let text = |text: &str| Some(text.to_owned());
        let fragment = Fragment {
            advertise: text("m:7400"),
            name: text(name),
            dir: text(folder.path().join(format!("dir-{name}")).to_str().unwrap()),
            founding: text(folder.path().to_str().unwrap()),
            ..Fragment::default()
        };
        validate(fragment).unwrap()
    }

    fn member(settings: &Settings) -> Identity {
        Bundle::load(&settings.dir).unwrap().identity().unwrap().1
    }

    #[test]
    fn the_first_members_form_a_mesh_and_only_for_a_while() {
        let folder = folder();
        let first = take(settings(&folder, "m-0"), &At(NOW)).unwrap();
        assert_eq!(first.form, [(MemberId(0xaa), "m-0.m:7400".to_owned()), (MemberId(0xbb), "m-1.m:7400".to_owned())]);
        assert_eq!((first.admins.len(), first.grants.len(), first.join.as_slice()), (1, 1, &["m-1.m:7400".to_owned()][..]));
        assert_eq!(member(&first), Identity::Coordinator(MemberId(0xaa)));

        let late = take(settings(&folder, "m-1"), &At(NOW + 1_000)).unwrap();
        assert!(late.form.is_empty() && late.admins.is_empty() && late.grants.is_empty(), "an empty disk forms nothing by then");
        assert_ne!(member(&late), Identity::Coordinator(MemberId(0xbb)), "it is another one");
        let before = member(&late);
        assert_eq!(member(&take(settings(&folder, "m-1"), &At(NOW)).unwrap()), before, "who lives there stays");
    }

    #[test]
    fn one_more_and_one_too_late_need_a_join_token() {
        let folder = folder();
        let more = take(settings(&folder, "m-3"), &At(NOW)).unwrap();
        assert!(more.form.is_empty() && more.join.len() == 2 && !Bundle::is_in(&more.dir));
        let late = take(settings(&folder, "m-0"), &At(NOW + 3 * 366 * 86_400_000)).unwrap();
        assert!(!Bundle::is_in(&late.dir), "its issuer has ended");
    }

    #[test]
    fn what_is_damaged_is_named() {
        let folder = folder();
        fs::write(folder.path().join("members"), "m-0:aa").unwrap();
        let error = take(settings(&folder, "m-0"), &At(NOW)).unwrap_err().to_string();
        assert!(error.contains("members is not as the installer wrote it: `m-0:aa`"), "{error}");
    }
}
