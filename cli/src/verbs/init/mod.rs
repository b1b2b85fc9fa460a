//! `mainstay init`: what a mesh on servers begins with.
//!
//! In: a name and an address. Out: the root's key in a file to be kept elsewhere, the first coordinator's identity
//! and issuer, its settings file, and the first operator's context. Nothing that is there is written over, and
//! nothing is started.

mod cluster;
mod secrets;
mod settings;

pub use cluster::init_cluster;

use std::path::{Path, PathBuf};

use mainstay_client::failpoint::Point;
use mainstay_client::files;
use mainstay_client::identity::Bundle;
use mainstay_client::random;
use mainstay_core::MemberId;
use mainstay_core::id::{MeshName, PrincipalName};
use serde_json::json;

use crate::args::{self, Global};
use crate::authority::{self, Authority};
use crate::contexts::{self, Context, Contexts, Source};
use crate::error::CliError;
use crate::exit::Exit;
use crate::host;
use crate::render::{Sheet, Terminal};
use crate::verbs::Screen;

/// Where a coordinator's directory is, unless said otherwise.
const DIR: &str = "/var/lib/mainstay";
/// Port of gRPC, unless said otherwise.
const PORT: u16 = 7400;

/// Everything that is to be made, and where.
struct Ground {
    mesh: MeshName,
    operator: PrincipalName,
    member: String,
    id: MemberId,
    members: usize,
    dir: PathBuf,
    config: PathBuf,
    root_key: PathBuf,
    advertise: String,
    /// Directory of the operator's settings, and the name of the context in it.
    contexts: PathBuf,
    context: String,
}

pub fn init(args: &args::init::Init, global: &Global, screen: Screen) -> Result<Exit, CliError> {
    let ground = Ground::of(args, global)?;
    ground.check()?;
    let text = settings::text(&settings::Wanted {
        mesh: ground.mesh.as_str(),
        dir: &ground.dir.display().to_string(),
        member: &ground.member,
        id: ground.id,
        listen: &args.listen,
        advertise: &ground.advertise,
        enrol_listen: &args.enrol_listen,
        http_listen: &args.http_listen,
        operator: ground.operator.as_str(),
    });
    if !args.dry_run {
        ground.make(&text)?;
    }
    let told = json!({
        "mesh": ground.mesh,
        "dryRun": args.dry_run,
        "rootKey": ground.root_key,
        "dir": ground.dir,
        "config": ground.config,
        "member": { "id": ground.id.to_string(), "name": ground.member, "address": ground.advertise },
        "members": ground.members,
        "operator": ground.operator,
        "context": ground.context,
    });
    screen.show(&told, |_| ground.told(args.dry_run, screen.terminal))?;
    Ok(Exit::Success)
}

impl Ground {
    fn of(args: &args::init::Init, global: &Global) -> Result<Ground, CliError> {
        let mesh: MeshName = args.name.parse().map_err(|error| CliError::usage(format!("--name: {error}")))?;
        let operator = args.operator.clone().or_else(|| ["SUDO_USER", "USER"].into_iter().find_map(host::variable).filter(|name| name != "root"));
        let operator = operator.unwrap_or_else(|| "admin".to_owned());
        let operator: PrincipalName = operator
            .parse()
            .map_err(|error| CliError::usage(format!("--operator: {error}")).with_next("name the first operator yourself:  --operator NAME"))?;
        let advertise = match &args.advertise {
            Some(address) => address.clone(),
            None => host::host_name().map(|name| format!("{name}:{PORT}")).ok_or_else(|| {
                CliError::usage("at which address do others reach this machine? Its name is not known").with_next("say it:  --advertise HOST:PORT")
            })?,
        };
        let absolute = |path: &Path| std::path::absolute(path).map_err(|error| CliError::usage(format!("{}: {error}", path.display())));
        let root_key = args.root_key.clone().unwrap_or_else(|| PathBuf::from(format!("{mesh}-root.pem")));
        Ok(Ground {
            context: mesh.as_str().replace('.', "-"),
            contexts: contexts::config_dir()?,
            operator,
            member: args.member.clone(),
            id: MemberId(random::number()),
            members: args.members,
            dir: absolute(global.dir.as_deref().unwrap_or(Path::new(DIR)))?,
            config: absolute(&args.config)?,
            root_key: absolute(&root_key)?,
            advertise,
            mesh,
        })
    }

    /// That nothing is in the way: what is there may be a mesh.
    fn check(&self) -> Result<(), CliError> {
        for path in [self.dir.join("state"), self.dir.join("identity.pem"), self.dir.join("issuer.key"), self.config.clone(), self.root_key.clone()] {
            if files::exists(&path) {
                return Err(CliError::failed(format!("{} is there already: nothing is written over", path.display()))
                    .with_next("if a mesh lives here, start it:       mainstay-coordinator --config FILE")
                    .with_next("if an earlier init was cut short, remove what it left, and begin again"));
            }
        }
        let contexts = Contexts::load(&self.contexts)?;
        if contexts.contexts.contains_key(&self.context) {
            return Err(CliError::failed(format!("there is a context {} already", self.context))
                .with_next("give the mesh another name, or take that context out of contexts.toml"));
        }
        let port = self.advertise.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
        match port {
            Some(port) if port > 0 => Ok(()),
            _ => Err(CliError::usage(format!("--advertise: `{}` is not HOST:PORT", self.advertise))),
        }
    }

    /// The root first: without it, nothing else is of use. The context last: it says that all is done.
    fn make(&self, settings: &str) -> Result<(), CliError> {
        let authority = Authority::create(&self.mesh)?;
        authority::write(Point::RootKey, &self.root_key, &authority.root_file(), 0o600)?;
        files::create_private_dir(Point::CliDirectory, &self.dir)
            .map_err(|error| CliError::failed(format!("{} cannot be made: {error}", self.dir.display())))?;
        authority.provision(&self.dir, &self.member, self.id)?;
        for made in ["identity.pem", "issuer.pem", "issuer.key", "roots.pem"] {
            let path = self.dir.join(made);
            host::give_to_owner_of(&self.dir, &path).map_err(|error| CliError::failed(format!("{}: {error}", path.display())))?;
        }
        if let Some(parent) = self.config.parent() {
            files::create_public_dir(Point::CliDirectory, parent)
                .map_err(|error| CliError::failed(format!("{} cannot be made: {error}", parent.display())))?;
        }
        files::write_atomic(Point::Settings, &self.config, settings.as_bytes(), 0o644)
            .map_err(|error| CliError::failed(format!("{} cannot be written: {error}", self.config.display())))?;
        let own = self.contexts.join(contexts::directory_name(&self.context)?);
        let _: Bundle = authority.operator(self.operator.as_str(), &own, &self.dir)?;
        let mut contexts = Contexts::load(&self.contexts)?;
        contexts.contexts.insert(self.context.clone(), Context { members: vec![self.advertise.clone()], identity: Source::Dir(own) });
        contexts.current = Some(self.context.clone());
        contexts.store(&self.contexts)
    }

    fn told(&self, dry_run: bool, terminal: Terminal) -> String {
        let mut sheet = Sheet::new(terminal, 9);
        let first =
            if dry_run { "· mesh {} would be laid out on this machine" } else { "✔ mesh {} is laid out on this machine; nothing runs yet" };
        sheet.line(&first.replace("{}", self.mesh.as_str())).line("");
        sheet.fact("root key", &self.root_key.display().to_string());
        sheet.fact("", "KEEP IT OFFLINE, and not on this machine: whoever has it can be anybody in the mesh, and without it nobody can renew issuers or recover the mesh on a new machine");
        sheet.fact("member", &format!("{} ({}) in {}, reached at {}", self.member, self.id, self.dir.display(), self.advertise));
        sheet.fact("settings", &self.config.display().to_string());
        sheet.fact("operator", &format!("{}, an admin; context {} is in use", self.operator, self.context));
        sheet.heading(if dry_run { "Nothing was made. Without --dry-run, then:" } else { "Next:" });
        sheet.command("systemctl enable --now mainstay-coordinator");
        sheet.command(&format!("or by hand:  mainstay-coordinator --config {}", self.config.display()));
        sheet.command("mainstay status");
        if self.members > 1 {
            sheet.heading(&format!("On each of the {} further machines, with a join token of its own:", self.members - 1));
            sheet.command("mainstay token create --coordinator           here; the token goes into a file there");
            sheet.command("coordinator-join.toml.example                 its settings file, to be filled in");
        }
        sheet.heading("To let nodes in, and other operators:");
        sheet.command("mainstay token create --nodes CLUSTER --uses N");
        sheet.command("mainstay operator add NAME --role operator");
        sheet.finish()
    }
}
