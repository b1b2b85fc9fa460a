//! From merged text to settings, or to every problem there is.

use std::path::{Path, PathBuf};

use mainstay_client::files;
use mainstay_client::identity::IdentityFiles;
use mainstay_core::id::{NAME_MAX, PrincipalName};
use mainstay_core::plan::input::size;
use mainstay_core::state::enrolment::{JoinGrant, JoinScope, TokenId};
use mainstay_core::{AgentId, MemberId, WallTime};

use super::{ArtifactSettings, Fragment, JoinTokenSource, Log, Settings, SettingsError};

/// Largest file of join grants.
const GRANTS_MAX: u64 = 256 << 10;
/// Members that can be named.
const MEMBERS_MAX: usize = 9;

/// Checks everything, and reports everything.
pub fn validate(found: Fragment) -> Result<Settings, SettingsError> {
    let mut problems = Problems::default();
    let listen = problems.listener("listen", found.listen.unwrap_or_else(|| "0.0.0.0:7400".into()));
    let enrol_listen = problems.listener("enrol_listen", found.enrol_listen.unwrap_or_else(|| "0.0.0.0:7401".into()));
    let http_listen = found.http_listen.unwrap_or_else(|| "127.0.0.1:7402".into());
    let http_listen = (http_listen != "none").then(|| problems.listener("http_listen", http_listen));
    let advertise = found.advertise.map(|address| problems.address("advertise", address));
    if advertise.is_none() && is_any(&listen) {
        problems.say("advertise", format!("is needed: others cannot call {listen}; say for example --advertise 10.0.0.5:7400"));
    }
    let enrol_advertise = found.enrol_advertise.map(|address| problems.address("enrol_advertise", address));
    let form = problems.members("form", &found.form.unwrap_or_default());
    let join: Vec<String> = list(&found.join.unwrap_or_default()).map(|address| problems.address("join", address.to_owned())).collect();
    let enrol: Vec<String> = list(&found.enrol.unwrap_or_default()).map(|address| problems.address("enrol", address.to_owned())).collect();
    let join_token = found.join_token.map(JoinTokenSource::Text).or(found.join_token_file.map(|path| JoinTokenSource::File(path.into())));
    if join_token.is_some() && join.is_empty() && found.founding.is_none() {
        problems.say("join", "is needed with a join token: the address of a member, for example 10.0.0.5:7400");
    }
    if join_token.is_some() && enrol.is_empty() {
        problems.say("enrol", "is needed with a join token: the enrolment address of a member, for example 10.0.0.5:7401");
    }
    let admins = list(&found.admins.unwrap_or_default()).filter_map(|name| problems.parsed::<PrincipalName>("admins", name)).collect();
    let grants = found.join_grants.map_or_else(Vec::new, |path| problems.grants(Path::new(&path)));
    let usual = ArtifactSettings::default();
    let artifacts = ArtifactSettings {
        max_bytes: found.artifacts_max.map_or(usual.max_bytes, |size| problems.size("artifacts_max", &size)),
        reserve_bytes: found.artifacts_reserve.map_or(usual.reserve_bytes, |size| problems.size("artifacts_reserve", &size)),
        ..usual
    };
    let die_with_parent = found.die_with_parent.is_some_and(|value| problems.boolean("die_with_parent", &value));
    let filter = found.log.unwrap_or_else(|| "info,openraft=error".into());
    if let Err(error) = filter.parse::<tracing_subscriber::EnvFilter>() {
        problems.say("log", error.to_string());
    }
    let json = match found.log_format.as_deref() {
        None | Some("text") => false,
        Some("json") => true,
        Some(other) => {
            problems.say("log_format", format!("`{other}` is not text or json"));
            false
        }
    };
    let identity = match (found.identity_chain, found.identity_key, found.identity_roots) {
        (Some(chain), Some(key), Some(roots)) => Some(IdentityFiles { chain: chain.into(), key: key.into(), roots: roots.into() }),
        (None, None, None) => None,
        _ => {
            problems.say("identity", "a certificate issued elsewhere is three files: chain, key and roots");
            None
        }
    };
    let node = found.node.and_then(|node| problems.node(&node));
    let settings = Settings {
        identity,
        dir: PathBuf::from(found.dir.unwrap_or_else(|| "/var/lib/mainstay".into())),
        name: found.name.unwrap_or_default(),
        node,
        listen,
        advertise,
        enrol_listen,
        enrol_advertise,
        http_listen,
        form,
        founding: found.founding.map(PathBuf::from),
        join,
        enrol,
        join_token,
        admins,
        grants,
        artifacts,
        die_with_parent,
        log: Log { filter, json },
    };
    if problems.0.is_empty() { Ok(settings) } else { Err(SettingsError { problems: problems.0 }) }
}

/// Items of a list, commas between.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Whether an address stands for all addresses of the machine, so that nobody can call it.
fn is_any(address: &str) -> bool {
    address.parse::<std::net::SocketAddr>().is_ok_and(|address| address.ip().is_unspecified())
}

#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn say(&mut self, setting: &str, problem: impl std::fmt::Display) {
        self.0.push(format!("setting {setting}: {problem}"));
    }

    /// A cluster may have nodes with longer names than an agent can have. The mesh takes none of those out of use, and a member
    /// may run there all the same.
    fn node(&mut self, text: &str) -> Option<AgentId> {
        let is_long = text.rsplit_once('/').is_some_and(|(_, name)| name.len() > NAME_MAX);
        let node = text.parse::<AgentId>().ok().filter(AgentId::is_node);
        if node.is_none() && !is_long {
            self.say("node", format!("`{text}` is not CLUSTER/NODE, as `mainstay node list` has it; say for example --node prod/n1"));
        }
        node
    }

    /// An address to listen on.
    fn listener(&mut self, setting: &str, address: String) -> String {
        if port(&address).is_none() {
            self.say(setting, format!("`{address}` is not HOST:PORT"));
        }
        address
    }

    /// An address to be called at.
    fn address(&mut self, setting: &str, address: String) -> String {
        match port(&address) {
            Some(port) if port > 0 && !is_any(&address) => {}
            _ => self.say(setting, format!("`{address}` is not a HOST:PORT that can be called")),
        }
        address
    }

    fn members(&mut self, setting: &str, text: &str) -> Vec<(MemberId, String)> {
        let mut members: Vec<(MemberId, String)> = Vec::new();
        for item in list(text) {
            let Some((id, address)) = item.split_once('=') else {
                self.say(setting, format!("`{item}` is not ID=HOST:PORT"));
                continue;
            };
            let address = self.address(setting, address.to_owned());
            let Some(id) = self.parsed::<MemberId>(setting, id) else { continue };
            if members.iter().any(|(known, _)| *known == id) {
                self.say(setting, format!("member {id} is named twice"));
            }
            members.push((id, address));
        }
        if members.len() > MEMBERS_MAX || (!members.is_empty() && members.len().is_multiple_of(2)) {
            self.say(setting, format!("{} members: a mesh is formed of 1, 3 or 5", members.len()));
        }
        members
    }

    fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(&mut self, setting: &str, text: &str) -> Option<T> {
        text.parse().map_err(|error: T::Err| self.say(setting, error)).ok()
    }

    fn size(&mut self, setting: &str, text: &str) -> u64 {
        size(text).unwrap_or_else(|| {
            self.say(setting, format!("`{text}` is not a size such as 512Mi or 2Gi"));
            0
        })
    }

    fn boolean(&mut self, setting: &str, text: &str) -> bool {
        match text {
            "true" | "1" => true,
            "false" | "0" => false,
            other => {
                self.say(setting, format!("`{other}` is not true or false"));
                false
            }
        }
    }

    fn grants(&mut self, path: &Path) -> Vec<JoinGrant> {
        let text = match files::read_text(path, GRANTS_MAX) {
            Ok(text) => text,
            Err(error) => {
                self.say("join_grants", format!("cannot read {}: {error}", path.display()));
                return Vec::new();
            }
        };
        grants(&text).unwrap_or_else(|problem| {
            self.say("join_grants", format!("{}:{problem}", path.display()));
            Vec::new()
        })
    }
}

/// Join tokens of a mesh that is to be formed, one a line; or the number of a line that says none, and why.
pub fn grants(text: &str) -> Result<Vec<JoinGrant>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let said = |(index, line)| {
        grant(line).ok_or_else(|| {
            format!(
                "{}: not SCOPE TOKEN_ID EXPIRES_UNIX_MS USES, with a scope like nodes/prod, cluster-agents/prod, operator/ana, client/ci or coordinator",
                index + 1
            )
        })
    };
    lines.map(said).collect()
}

fn port(address: &str) -> Option<u16> {
    let (host, port) = address.rsplit_once(':')?;
    (!host.is_empty() && !host.contains(char::is_whitespace)).then(|| port.parse().ok()).flatten()
}

fn grant(line: &str) -> Option<JoinGrant> {
    let [scope, id, expires, uses] = line.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
    let scope = match scope.split_once('/') {
        Some(("nodes", cluster)) => JoinScope::Nodes(cluster.parse().ok()?),
        Some(("cluster-agents", cluster)) => JoinScope::ClusterAgents(cluster.parse().ok()?),
        Some(("operator", name)) => JoinScope::Operator(name.parse().ok()?),
        Some(("client", name)) => JoinScope::Client(name.parse().ok()?),
        None if scope == "coordinator" => JoinScope::Coordinator,
        _ => return None,
    };
    let is_digest = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let uses: u32 = uses.parse().ok()?;
    (is_digest && uses > 0).then_some(JoinGrant { id: TokenId(id.to_owned()), scope, expires: WallTime(expires.parse().ok()?), uses, root: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn defaults_need_only_an_address_to_be_called_at() {
        let problems = validate(Fragment::default()).unwrap_err().problems;
        assert_eq!(problems, ["setting advertise: is needed: others cannot call 0.0.0.0:7400; say for example --advertise 10.0.0.5:7400"]);
        let settings = validate(Fragment { advertise: text("c1:7400"), ..Fragment::default() }).unwrap();
        assert_eq!((settings.http_listen.as_deref(), settings.enrol_listen.as_str()), (Some("127.0.0.1:7402"), "0.0.0.0:7401"));
        let roomy = Fragment { artifacts_max: text("5Gi"), ..Fragment { advertise: text("c1:7400"), ..Fragment::default() } };
        assert_eq!(validate(roomy).unwrap().artifacts, ArtifactSettings { max_bytes: 5 << 30, ..settings.artifacts });
        let on =
            |node: &str| validate(Fragment { advertise: text("c1:7400"), node: text(node), ..Fragment::default() }).map(|settings| settings.node);
        assert_eq!(on("prod/n1").unwrap(), Some("prod/n1".parse().unwrap()));
        assert_eq!(on(&format!("prod/{}", "n".repeat(80))).unwrap(), None, "no agent is called so");
        assert_eq!(validate(Fragment { listen: text("127.0.0.1:0"), http_listen: text("none"), ..Fragment::default() }).unwrap().http_listen, None);
    }

    #[test]
    fn every_bad_value_is_reported_at_once() {
        let bad = Fragment {
            listen: text("7400"),
            advertise: text("0.0.0.0:7400"),
            form: text("1=a:1,00000000000000aa=a:1,00000000000000aa=b:2,x"),
            join: text("nowhere"),
            admins: text("Ana"),
            log_format: text("xml"),
            artifacts_max: text("2 GB"),
            artifacts_reserve: text("much"),
            die_with_parent: text("maybe"),
            node: text("n1"),
            join_grants: text("/nonexistent/grants"),
            ..Fragment::default()
        };
        let problems = validate(bad).unwrap_err().problems;
        for setting in [
            "listen",
            "advertise",
            "form",
            "join",
            "admins",
            "log_format",
            "die_with_parent",
            "join_grants",
            "artifacts_max",
            "artifacts_reserve",
            "node",
        ] {
            assert!(problems.iter().any(|problem| problem.starts_with(&format!("setting {setting}: "))), "{setting}: {problems:?}");
        }
        assert!(problems.iter().any(|problem| problem.contains("named twice")));
    }

    #[test]
    fn a_grant_says_scope_digest_end_and_uses() {
        let id = "ab".repeat(32);
        let parsed = grant(&format!("nodes/local {id} 1790000000000 3")).unwrap();
        assert_eq!(
            parsed,
            JoinGrant {
                id: TokenId(id.clone()),
                scope: JoinScope::Nodes("local".parse().unwrap()),
                expires: WallTime(1_790_000_000_000),
                uses: 3,
                root: None
            }
        );
        assert_eq!(grant(&format!("coordinator {id} 1 1")).unwrap().scope, JoinScope::Coordinator);
        for bad in [format!("nodes/local {id} 1 0"), format!("nodes/local {id} 1"), "nodes/local ab 1 1".into(), format!("mesh/x {id} 1 1")] {
            assert!(grant(&bad).is_none(), "{bad}");
        }
    }
}
