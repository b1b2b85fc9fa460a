//! Which mesh a verb is about. First wins: `--dir`, `--context`, `MAINSTAY_CONTEXT`, a living `.mainstay/` in
//! this folder or one above, the current context.
//!
//! In: flags, environment, folders. Out: addresses and an identity's directory. It connects to nothing.

use std::path::{Path, PathBuf};

use mainstay_client::files;

use crate::args::Global;
use crate::contexts::{self, Contexts, Source};
use crate::error::CliError;
use crate::exit::Exit;
use crate::host;
use crate::up::layout::Layout;
use crate::up::record::Record;

/// Name of the state directory that `mainstay up` makes where it is called.
pub const DIR: &str = ".mainstay";

/// A mesh that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub members: Vec<String>,
    pub identity: Source,
    /// The state directory, where it is a mesh on this machine.
    pub local: Option<PathBuf>,
    /// What says that it is this one.
    pub by: String,
}

/// What the choice depends on.
#[derive(Debug, Clone, Default)]
pub struct Choice<'a> {
    pub dir: Option<&'a Path>,
    pub context: Option<&'a str>,
    pub context_variable: Option<&'a str>,
    pub folder: Option<&'a Path>,
    pub config_dir: Option<&'a Path>,
}

/// Finds the mesh that flags and surroundings mean.
pub fn find(global: &Global) -> Result<Found, CliError> {
    let folder = host::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let variable = host::variable("MAINSTAY_CONTEXT");
    let config_dir = contexts::config_dir().ok();
    let choice = Choice {
        dir: global.dir.as_deref(),
        context: global.context.as_deref(),
        context_variable: variable.as_deref(),
        folder: Some(&folder),
        config_dir: config_dir.as_deref(),
    };
    choice.find()
}

impl Choice<'_> {
    pub fn find(&self) -> Result<Found, CliError> {
        if let Some(dir) = self.dir {
            return local(dir, "--dir");
        }
        if let Some(name) = self.context {
            return self.context(name, &format!("--context {name}"));
        }
        if let Some(name) = self.context_variable {
            return self.context(name, &format!("MAINSTAY_CONTEXT={name}")).map_err(|error| error.while_doing("MAINSTAY_CONTEXT"));
        }
        if let Some(dir) = self.folder.into_iter().flat_map(Path::ancestors).map(|folder| folder.join(DIR)).find(|dir| Layout::new(dir).is_alive()) {
            return local(&dir, &format!("the folder {}", dir.display()));
        }
        match self.contexts()?.current {
            Some(name) => self.context(&name, &format!("the context in use, {name},")),
            None => Err(self.none()),
        }
    }

    fn none(&self) -> CliError {
        let asleep =
            self.folder.into_iter().flat_map(Path::ancestors).map(|folder| folder.join(DIR)).find(|dir| files::exists(&Layout::new(dir).record()));
        if let Some(dir) = asleep {
            return CliError::new(Exit::Unreachable, format!("the mesh in {} does not run, and no other one is named", dir.display()))
                .with_next(format!("start it:  mainstay up --dir {}", dir.display()));
        }
        CliError::new(Exit::Unreachable, "which mesh? None runs in this folder or above, and no context is in use")
            .with_next("start one on this machine:   mainstay up")
            .with_next("name a running one:          mainstay --dir DIR …")
            .with_next("add one elsewhere:           mainstay context add NAME --members HOST:PORT …")
    }

    fn contexts(&self) -> Result<Contexts, CliError> {
        self.config_dir.map_or_else(|| Ok(Contexts::default()), Contexts::load)
    }

    fn context(&self, name: &str, by: &str) -> Result<Found, CliError> {
        let contexts = self.contexts()?;
        let context = contexts.named(name)?;
        Ok(Found { members: context.members.clone(), identity: context.identity.clone(), local: None, by: by.to_owned() })
    }
}

/// The mesh of a state directory.
fn local(dir: &Path, by: &str) -> Result<Found, CliError> {
    let layout = Layout::new(dir);
    let Some(record) = Record::load(&layout)? else {
        return Err(CliError::usage(format!("{} is not the directory of a mesh: it has no up.toml", dir.display()))
            .with_next(format!("start one there:  mainstay up --dir {}", dir.display())));
    };
    Ok(Found { members: record.member_addresses(), identity: Source::Dir(layout.operator()), local: Some(dir.to_owned()), by: by.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use mainstay_client::failpoint::Point;
    use std::path::Path;

    use super::*;
    use crate::contexts::Context;

    struct Surroundings {
        root: tempfile::TempDir,
    }

    impl Surroundings {
        /// A settings directory with the contexts `prod` and `lab`, of which `lab` is current.
        fn new() -> Surroundings {
            let root = tempfile::tempdir().unwrap();
            let context =
                |name: &str| (name.to_owned(), Context { members: vec![format!("{name}:7400")], identity: Source::Dir(format!("/{name}").into()) });
            let contexts = Contexts { current: Some("lab".into()), contexts: ["prod", "lab"].map(context).into() };
            contexts.store(&root.path().join("config")).unwrap();
            files::create_private_dir(Point::CliDirectory, &root.path().join("work/deep")).unwrap();
            Surroundings { root }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.root.path().join(name)
        }

        fn mesh(&self, dir: &str, port: u16) -> PathBuf {
            let dir = self.path(dir);
            files::create_private_dir(Point::CliDirectory, &dir).unwrap();
            let layout = Layout::new(&dir);
            let mut record = Record::default();
            record.grow(1, 1, 1, || Ok(port)).unwrap();
            record.store(&layout).unwrap();
            dir
        }
    }

    fn members(choice: &Choice<'_>) -> Vec<String> {
        choice.find().unwrap().members
    }

    #[test]
    fn the_first_that_is_said_wins() {
        let around = Surroundings::new();
        let (config, deep) = (around.path("config"), around.path("work/deep"));
        let named = around.mesh("named", 21_001);
        let near = around.mesh("work/.mainstay", 21_002);
        let base = Choice { folder: Some(&deep), config_dir: Some(&config), ..Choice::default() };

        assert_eq!(members(&base), ["lab:7400"], "a mesh that does not run is passed over");
        let living = files::lock_exclusive(&Layout::new(&near).lock()).unwrap();
        assert_eq!(members(&base), ["127.0.0.1:21002"], "a living mesh above goes before the current context");
        let variable = Choice { context_variable: Some("prod"), ..base.clone() };
        assert_eq!(members(&variable), ["prod:7400"]);
        let context = Choice { context: Some("lab"), ..variable };
        assert_eq!(members(&context), ["lab:7400"]);
        let dir = Choice { dir: Some(&named), ..context };
        assert_eq!(
            dir.find().unwrap(),
            Found {
                members: vec!["127.0.0.1:21001".into()],
                identity: Source::Dir(named.join("operator")),
                local: Some(named.clone()),
                by: "--dir".into()
            }
        );
        drop(living);
        assert_eq!(members(&base), ["lab:7400"]);
    }

    #[test]
    fn without_any_the_error_says_how_to_get_one() {
        let around = Surroundings::new();
        let nowhere = Choice { folder: Some(Path::new("/")), ..Choice::default() };
        let error = nowhere.find().unwrap_err();
        assert!(error.exit.status() == 3 && error.next.len() == 3, "{error}");
        let asleep = around.mesh("work/.mainstay", 21_003);
        let error = Choice { folder: Some(&around.path("work/deep")), ..Choice::default() }.find().unwrap_err();
        assert_eq!(error.next, [format!("start it:  mainstay up --dir {}", asleep.display())]);
        let wrong = Choice { context: Some("none"), config_dir: Some(&around.path("config")), folder: Some(Path::new("/")), ..Choice::default() }
            .find()
            .unwrap_err();
        assert_eq!(wrong.next, ["known are lab, prod; add another one:  mainstay context add"]);
        let empty = around.path("work/deep");
        let error = Choice { dir: Some(&empty), ..nowhere }.find().unwrap_err();
        assert!(error.message.ends_with("is not the directory of a mesh: it has no up.toml"), "{error}");
    }
}
