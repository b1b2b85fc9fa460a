//! What a child needs before it is started, and the command that starts it.
//!
//! In: the name of a part. Out: its directory with identity and token in place, and its command line. A part
//! whose directory was deleted gets all of it again.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::failpoint::Point;
use mainstay_client::identity::{Age, Bundle, ClientIdentity};
use mainstay_client::{Mesh, files, renewal};
use mainstay_core::{MemberId, Millis};
use mainstay_proto::v1;
use tokio::process::Command;

use super::layout::Layout;
use super::record::{Coordinator, MESH, Record, address};
use crate::authority::Authority;
use crate::error::CliError;
use crate::host;

/// How long a new agent waits for the mesh to have a leader that signs it a token.
const TOKEN_PATIENCE: Duration = Duration::from_secs(30);
/// How long the mesh may take to say which member had a directory that is gone.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(3);
/// A token is used within seconds; the rest is for a machine that stalls.
const TOKEN_VALID: Millis = Millis::from_secs(600);
/// How long an agent that ends goes on with what it does.
const DRAIN_SECONDS: &str = "3";
/// What an agent may do besides looking, to begin with.
const POLICY: &str = "# What the mesh may do on this machine. Step kinds that only look are always allowed.
[policy]
allow = [\"lease.hold\"]

# For plans that run a command: add \"node.exec\" above, and a rule for each command.
# [[policy.exec]]
# command = [\"/usr/bin/logger\", \"**\"]
";

/// The operator that `up` makes; an admin.
const OPERATOR: &str = "local";

/// The authority of a mesh on this machine, made at the first time.
pub fn authority(layout: &Layout) -> Result<Authority, CliError> {
    let mesh = MESH.parse().map_err(|error: mainstay_core::id::NameError| CliError::failed(error.to_string()))?;
    Authority::open(&layout.ca(), &mesh)
}

/// One child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Place in the record.
    Coordinator(usize),
    Agent(usize),
}

/// All that is shared by the children of one mesh.
pub struct Ground {
    pub layout: Layout,
    authority: Authority,
    record: Mutex<Record>,
    programs: PathBuf,
    settings: Option<AgentSettings>,
    mesh: Mesh,
}

/// A file that agents get as their settings.
struct AgentSettings {
    path: PathBuf,
    /// Variables in which its connections have their secrets.
    secret_variables: Vec<String>,
}

impl Ground {
    /// Lays out the directory: authority, policy, and the operator's identity, signed by the first member.
    pub fn prepare(layout: Layout, record: Record, settings: Option<&Path>) -> Result<Ground, CliError> {
        let authority = authority(&layout)?;
        let programs = host::program_dir().map_err(|error| CliError::failed(format!("the place of this program cannot be found: {error}")))?;
        for program in ["mainstay-coordinator", "mainstay-agent"] {
            if !files::exists(&programs.join(program)) {
                return Err(CliError::failed(format!("{program} is not beside this program, in {}", programs.display()))
                    .with_next("build all of them:  make build"));
            }
        }
        let settings = settings.map(readable).transpose()?;
        if !files::exists(&layout.policy()) {
            files::write_atomic(Point::UpPolicy, &layout.policy(), POLICY.as_bytes(), 0o600)
                .map_err(|error| CliError::failed(format!("{}: {error}", layout.policy().display())))?;
        }
        let first = record.coordinators.first().ok_or_else(|| CliError::usage("a mesh needs a member"))?;
        let dir = layout.part(&first.name);
        authority.provision(&dir, &first.name, member_id(first)?)?;
        let operator = authority.operator(OPERATOR, &layout.operator(), &dir)?;
        let identity = ClientIdentity::new(operator).map_err(|error| CliError::failed(format!("the operator's certificate: {error}")))?;
        let mesh = Mesh::new(record.member_addresses(), identity);
        Ok(Ground { layout, authority, record: Mutex::new(record), programs, settings, mesh })
    }

    /// A client of the mesh, as the operator that `up` has made.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    pub fn record(&self) -> MutexGuard<'_, Record> {
        // A record is changed in one assignment: what a panic left behind is whole.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on no coordinator forms a mesh any more.
    pub fn set_formed(&self) -> Result<(), CliError> {
        let mut record = self.record();
        if record.formed {
            return Ok(());
        }
        record.formed = true;
        record.store(&self.layout)
    }

    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let record = self.record();
        let coordinators = (0..record.coordinators.len()).map(Part::Coordinator);
        coordinators.chain((0..record.agents.len()).map(Part::Agent)).collect()
    }

    #[must_use]
    pub fn name(&self, part: Part) -> String {
        let record = self.record();
        match part {
            Part::Coordinator(place) => record.coordinators.get(place).map(|coordinator| coordinator.name.clone()),
            Part::Agent(place) => record.agents.get(place).map(|agent| agent.name.clone()),
        }
        .unwrap_or_default()
    }

    /// Puts everything in place for a start, and says how to start.
    pub async fn command(&self, part: Part) -> Result<Command, CliError> {
        let mut command = match part {
            Part::Coordinator(place) => self.coordinator(place).await?,
            Part::Agent(place) => self.agent(place).await?,
        };
        command.arg("--die-with-parent").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C on a terminal goes to `up` alone, which then ends its children in order.
        command.process_group(0).kill_on_drop(true).current_dir("/");
        Ok(command)
    }

    async fn coordinator(&self, place: usize) -> Result<Command, CliError> {
        let record = self.record().clone();
        let Some(own) = record.coordinators.get(place) else { return Err(CliError::failed("there is no such member")) };
        let dir = self.layout.part(&own.name);
        let presumed = if Bundle::is_in(&dir) { member_id(own)? } else { self.last_member_of(own, record.formed).await? };
        let member = self.authority.provision(&dir, &own.name, presumed)?;
        self.note_member(place, member)?;

        let mut command = Command::new(self.programs.join("mainstay-coordinator"));
        // Secrets stay with who uses them.
        for name in self.settings.iter().flat_map(|settings| &settings.secret_variables) {
            command.env_remove(name);
        }
        command.arg("--dir").arg(&dir).args(["--name", &own.name]);
        command.args(["--listen", &address(own.grpc), "--enrol-listen", &address(own.enrol), "--http-listen", &address(own.http)]);
        let record = self.record().clone();
        let others: Vec<String> = record.coordinators.iter().filter(|other| other.name != own.name).map(|other| address(other.grpc)).collect();
        if !record.formed {
            let all: Vec<String> = record.coordinators.iter().map(|member| format!("{}={}", member.id, address(member.grpc))).collect();
            command.args(["--form", &all.join(","), "--admin", OPERATOR]);
        } else if !others.is_empty() {
            command.args(["--join", &others.join(",")]);
        }
        Ok(command)
    }

    /// Whom the mesh knows at the place of a coordinator whose directory is gone; an id is never used for two
    /// disks, so the coordinator has to know whose successor it is.
    async fn last_member_of(&self, own: &Coordinator, formed: bool) -> Result<MemberId, CliError> {
        if formed && let Ok(members) = self.mesh.clone().with_deadline(LOOKUP_PATIENCE).list_members(v1::ListMembersRequest {}).await {
            let known = members.members.iter().find(|member| member.name == own.name);
            if let Some(id) = known.and_then(|member| member.id.parse().ok()) {
                return Ok(id);
            }
        }
        member_id(own)
    }

    fn note_member(&self, place: usize, member: MemberId) -> Result<(), CliError> {
        let mut record = self.record();
        match record.coordinators.get_mut(place) {
            Some(own) if own.id != member.to_string() => own.id = member.to_string(),
            _ => return Ok(()),
        }
        record.store(&self.layout)
    }

    async fn agent(&self, place: usize) -> Result<Command, CliError> {
        let record = self.record().clone();
        let Some(own) = record.agents.get(place) else { return Err(CliError::failed("there is no such agent")) };
        let dir = self.layout.part(&own.name);
        files::create_private_dir(Point::CliDirectory, &dir).map_err(|error| CliError::failed(format!("{}: {error}", dir.display())))?;
        if Bundle::is_in(&dir) {
            self.forget_token(&own.name);
        } else {
            self.put_token(&own.name, &own.cluster).await?;
        }
        let mut command = Command::new(self.programs.join("mainstay-agent"));
        if let Some(settings) = &self.settings {
            command.arg("--config").arg(&settings.path);
        }
        command.args(["--cluster", &own.cluster, "--node", &own.name]).arg("--dir").arg(&dir);
        command.args(["--coordinators", &record.member_addresses().join(","), "--enrol", &record.enrolment_addresses().join(",")]);
        command.arg("--join-token-file").arg(self.layout.join_token(&own.name)).arg("--policy-file").arg(self.layout.policy());
        command.args(["--allow-address", "127.0.0.0/8,::1/128", "--http-listen", &address(own.http), "--drain-seconds", DRAIN_SECONDS]);
        if record.speaks_for_host(&own.name) {
            command.arg("--host");
            // The mesh's own authority ends some day too, and then nothing works: it is looked at like any other.
            for own in ["ca/root.pem", "c*/issuer.pem"] {
                command.arg("--certificates").arg(self.layout.part(own));
            }
            command.args(["--certificates", "usual"]);
        }
        Ok(command)
    }

    async fn put_token(&self, agent: &str, cluster: &str) -> Result<(), CliError> {
        let request = v1::CreateJoinTokenRequest {
            scope: Some(v1::create_join_token_request::Scope::NodesOf(cluster.to_owned())),
            valid_ms: TOKEN_VALID.0,
            uses: 1,
            role: String::new(),
            dry_run: false,
        };
        self.keep_in_force().await;
        let made = self.mesh.clone().with_deadline(TOKEN_PATIENCE).create_join_token(request).await;
        let token = made.map_err(|error| CliError::from(error).while_doing(&format!("a join token for {agent}")))?.token;
        let path = self.layout.join_token(agent);
        files::write_atomic(Point::UpToken, &path, token.as_bytes(), 0o600).map_err(|error| CliError::failed(format!("{}: {error}", path.display())))
    }

    /// `up` lives longer than its operator's certificate. What the CLI beside it has renewed counts, too.
    async fn keep_in_force(&self) {
        let (identity, dir) = (self.mesh.identity(), self.layout.operator());
        let is_fresh = |bundle: &Bundle| bundle.age(SystemClock.wall()).is_ok_and(|age| age == Age::Fresh);
        if is_fresh(&identity.bundle()) && !self.mesh.is_renewal_asked() {
            return;
        }
        let replaced =
            Bundle::load(&dir).ok().filter(|bundle| is_fresh(bundle) && *bundle != identity.bundle()).map(|bundle| identity.replace(bundle));
        if let Some(Ok(())) = replaced {
            self.mesh.reconnect();
        } else if let Err(error) = renewal::renew(&self.mesh, &dir).await {
            // The call that it is for says what does not work.
            tracing::warn!(%error, "the certificate of this program was not renewed");
        }
    }

    /// A token that has been used is worth nothing, and is better not lying about.
    pub fn forget_token(&self, agent: &str) {
        let path = self.layout.join_token(agent);
        if let Err(error) = files::remove(Point::UpTokenDrop, &path) {
            tracing::debug!(%error, path = %path.display(), "a used join token is left over");
        }
    }
}

fn member_id(coordinator: &Coordinator) -> Result<MemberId, CliError> {
    coordinator.id.parse().map_err(|error| CliError::failed(format!("up.toml, {}: {error}", coordinator.name)))
}

/// Looks at a settings file now, so that a slip in it is said at once and not by each agent. Nothing of what it
/// says is repeated: a secret may be in the wrong place.
fn readable(path: &Path) -> Result<AgentSettings, CliError> {
    const MAX: u64 = 1 << 20;
    let text = files::read_text(path, MAX).map_err(|error| CliError::usage(format!("{} cannot be read: {error}", path.display())))?;
    let table = text.parse::<toml::Table>().map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start)).map_or(1, |before| before.matches('\n').count() + 1);
        CliError::usage(format!("{} line {line}: not TOML: {}", path.display(), error.message()))
    })?;
    let path = std::path::absolute(path).map_err(|error| CliError::usage(format!("{}: {error}", path.display())))?;
    Ok(AgentSettings { path, secret_variables: secret_variables(&table) })
}

/// The names under `env` of each connection.
fn secret_variables(settings: &toml::Table) -> Vec<String> {
    let connections = settings.get("connections").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
    let secrets = connections.flat_map(|connection| ["password", "token"].into_iter().filter_map(|key| connection.get(key)?.get("env")?.as_str()));
    secrets.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_secrets_are_known_by_name() {
        let settings =
            "[connections.a]\npassword = { env = \"A\" }\n[connections.b]\ntoken = { env = \"B\" }\n[connections.c]\npassword = { file = \"x\" }\n";
        assert_eq!(secret_variables(&settings.parse().unwrap()), ["A", "B"]);
        assert_eq!(secret_variables(&"connections = \"file.toml\"".parse().unwrap()), Vec::<String>::new());
    }

    #[test]
    fn a_slip_is_said_with_its_line_and_without_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("connections.toml");
        files::write_atomic(Point::UpPolicy, &path, b"[connections.a]\npassword = hunter2\n", 0o600).unwrap();
        let error = readable(&path).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("connections.toml line 2: not TOML") && !error.contains("hunter2"), "{error}");
    }
}
