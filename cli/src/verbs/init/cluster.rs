//! `mainstay init-cluster`: what a mesh in a Kubernetes cluster begins with, as Secrets that the chart's pods read.
//!
//! ```text
//!  PREFIX-root      the root's key; an operator takes it away, or has put it there
//!  PREFIX-founding  issuers of the first members, and who they are; of no other use after an hour
//!  PREFIX-join      a join token for the cluster's agents
//!  PREFIX-operator  a login for the first operator
//!  PREFIX-mesh      a ConfigMap: the mesh's name and its root's digest
//! ```
//! To do it again changes nothing: what is there stays, and what an earlier try has left is gone on with.

use std::collections::BTreeMap;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::failpoint::Point;
use mainstay_client::files;
use mainstay_client::identity::{JoinToken, root_sha256};
use mainstay_client::random;
use mainstay_core::id::{ClusterName, MeshName, PrincipalName};
use mainstay_core::{Identity, MemberId, WallTime};
use serde_json::{Value, json};

use super::secrets::Secrets;
use crate::args::init::InitCluster;
use crate::authority::{self, Authority};
use crate::error::CliError;
use crate::exit::Exit;
use crate::verbs::Screen;

/// For how long the first members may form the mesh.
const FORMS_MS: u64 = 3_600_000;
/// How long the first join tokens are good: an installation may wait for a node, or for a person.
const TOKENS_MS: u64 = 7 * 86_400_000;
/// Ports of members, unless said otherwise.
const PORTS: (u16, u16) = (7400, 7401);

/// What is to be made.
struct Wanted {
    mesh: MeshName,
    cluster: ClusterName,
    operator: PrincipalName,
    namespace: String,
    prefix: String,
    /// Name and address.
    members: Vec<(String, String)>,
    cluster_agents: u32,
}

pub async fn init_cluster(args: &InitCluster, screen: Screen) -> Result<Exit, CliError> {
    let wanted = Wanted::of(args)?;
    if args.print {
        return wanted.print(args, screen);
    }
    let secrets = Secrets::of_this_pod(&wanted.namespace)?;
    let told = wanted.make(&secrets).await?;
    let words = format!(
        "✔ mesh {} is laid out in namespace {}\n  root key  Secret {}-root: TAKE IT OUT OF THE CLUSTER, and delete the Secret",
        wanted.mesh, wanted.namespace, wanted.prefix
    );
    screen.done(&json!({ "mesh": wanted.mesh, "namespace": wanted.namespace, "made": told }), &words)?;
    Ok(Exit::Success)
}

impl Wanted {
    fn of(args: &InitCluster) -> Result<Wanted, CliError> {
        let wrong = |option: &'static str| move |error: mainstay_core::id::NameError| CliError::usage(format!("{option}: {error}"));
        let (namespace, prefix) = (args.namespace.clone(), args.prefix.clone());
        let advertise = match &args.advertise {
            Some(advertise) if advertise.contains("POD") || args.members == 1 => advertise.clone(),
            Some(advertise) => {
                return Err(CliError::usage(format!("--advertise: `{advertise}` is the same for all members: POD stands for their names")));
            }
            None => format!("POD.{prefix}-coordinator.{namespace}.svc:{}", PORTS.0),
        };
        let members = (0..args.members).map(|ordinal| {
            let name = format!("{prefix}-coordinator-{ordinal}");
            let address = advertise.replace("POD", &name);
            (name, address)
        });
        Ok(Wanted {
            mesh: args.name.parse().map_err(wrong("--name"))?,
            cluster: args.cluster.parse().map_err(wrong("--cluster"))?,
            operator: args.operator.parse().map_err(wrong("--operator"))?,
            members: members.collect(),
            cluster_agents: args.cluster_agents.max(1),
            namespace,
            prefix,
        })
    }

    fn name(&self, of: &str) -> String {
        format!("{}-{of}", self.prefix)
    }

    /// The root first: without it, nothing else is of use. What the coordinators need comes after what only others need,
    /// so that a mesh that has formed lacks nothing.
    async fn make(&self, secrets: &Secrets) -> Result<Vec<String>, CliError> {
        let mut made = Vec::new();
        if secrets.read(&self.name("founding")).await?.is_none() {
            let authority = match secrets.read(&self.name("root")).await? {
                Some(data) => {
                    let text = data.get("root.pem").cloned().unwrap_or_default();
                    Authority::from_text(&text, &self.mesh, &format!("Secret {}", self.name("root")))?
                }
                None => {
                    let authority = Authority::create(&self.mesh)?;
                    secrets.create(&self.root(&authority), &mut made).await?;
                    authority
                }
            };
            for object in self.objects(&authority)? {
                // A token that is there is of an earlier try, and its grant is in no founding: it goes.
                secrets.replace(&object, &mut made).await?;
            }
        }
        Ok(made)
    }

    fn print(&self, args: &InitCluster, screen: Screen) -> Result<Exit, CliError> {
        let Some(path) = &args.root_key else { return Err(CliError::usage("--print needs --root-key")) };
        let authority = if files::exists(path) {
            Authority::from_file(path, &self.mesh)?
        } else {
            let authority = Authority::create(&self.mesh)?;
            authority::write(Point::RootKey, path, &authority.root_file(), 0o600)?;
            authority
        };
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": self.objects(&authority)? });
        screen.show(&list, |list| format!("{list:#}\n"))?;
        Ok(Exit::Success)
    }

    fn root(&self, authority: &Authority) -> Value {
        self.secret("root", BTreeMap::from([("root.pem".to_owned(), authority.root_file())]))
    }

    /// All but the root's key; the founding last.
    fn objects(&self, authority: &Authority) -> Result<Vec<Value>, CliError> {
        let root = root_sha256(authority.root_pem()).map_err(|error| CliError::failed(error.to_string()))?;
        let now = SystemClock.wall();
        let until = |ms: u64| WallTime(now.0.saturating_add_unsigned(ms)).0;
        let enrolment = self.members.iter().map(|(_, address)| {
            let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
            format!("{host}:{}", PORTS.1)
        });
        let agents = JoinToken::create(&root);
        let operator = JoinToken::create(&root).inviting(Identity::Operator(self.operator.clone()), enrolment);
        let grants = format!(
            "cluster-agents/{} {} {} {}\noperator/{} {} {} 1\n",
            self.cluster,
            agents.id().0,
            until(TOKENS_MS),
            self.cluster_agents,
            self.operator,
            operator.id().0,
            until(TOKENS_MS)
        );
        let mut founding = BTreeMap::from([
            ("mesh".to_owned(), format!("{}\n", self.mesh)),
            ("until".to_owned(), format!("{}\n", until(FORMS_MS))),
            ("admins".to_owned(), format!("{}\n", self.operator)),
            ("join-grants".to_owned(), grants),
            ("roots.pem".to_owned(), authority.root_pem().to_owned()),
        ]);
        let mut members = String::new();
        for (name, address) in &self.members {
            members.push_str(&format!("{name}={}={address}\n", MemberId(random::number())));
            let issuer = authority.issuer(name)?;
            founding.insert(format!("{name}.issuer.pem"), issuer.cert_pem().to_owned());
            founding.insert(format!("{name}.issuer.key"), issuer.key_pem());
        }
        founding.insert("members".to_owned(), members);
        let mesh = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self.metadata("mesh"),
            "data": { "mesh": self.mesh, "rootSha256": root },
        });
        let token = |name: &str, token: &JoinToken| self.secret(name, BTreeMap::from([("token".to_owned(), token.to_string())]));
        Ok(vec![mesh, token("join", &agents), token("operator", &operator), self.secret("founding", founding)])
    }

    fn secret(&self, name: &str, data: BTreeMap<String, String>) -> Value {
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": self.metadata(name), "type": "Opaque", "stringData": data })
    }

    fn metadata(&self, name: &str) -> Value {
        json!({
            "name": self.name(name),
            "namespace": self.namespace,
            "labels": { "app.kubernetes.io/name": "mainstay", "app.kubernetes.io/instance": self.prefix, "app.kubernetes.io/managed-by": "mainstay" },
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn args() -> InitCluster {
        InitCluster {
            name: "prod".into(),
            namespace: "ops".into(),
            prefix: "ms".into(),
            members: 3,
            advertise: None,
            cluster: "c".into(),
            cluster_agents: 2,
            operator: "ana".into(),
            root_key: None,
            print: false,
        }
    }

    #[test]
    fn the_objects_hold_what_the_pods_read_and_not_the_roots_key() {
        let wanted = Wanted::of(&args()).unwrap();
        let authority = Authority::create(&wanted.mesh).unwrap();
        let objects = wanted.objects(&authority).unwrap();
        let names: Vec<&str> = objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["ms-mesh", "ms-join", "ms-operator", "ms-founding"]);
        let founding = &objects[3]["stringData"];
        let members: Vec<&str> = founding["members"].as_str().unwrap().lines().collect();
        assert!(members[2].starts_with("ms-coordinator-2=") && members[2].ends_with("=ms-coordinator-2.ms-coordinator.ops.svc:7400"), "{members:?}");
        let login: JoinToken = objects[2]["stringData"]["token"].as_str().unwrap().parse().unwrap();
        assert_eq!(login.invitation().unwrap().addresses[0], "ms-coordinator-0.ms-coordinator.ops.svc:7401");
        let join: JoinToken = objects[1]["stringData"]["token"].as_str().unwrap().parse().unwrap();
        let grants = founding["join-grants"].as_str().unwrap();
        assert!(grants.contains(&format!("cluster-agents/c {} ", join.id().0)) && grants.contains(&format!("operator/ana {} ", login.id().0)));
        let key = authority.root_file();
        let secret_part = key.lines().rfind(|line| !line.starts_with('-')).unwrap().to_owned();
        assert!(!objects.iter().any(|object| object.to_string().contains(&secret_part)), "the root's key is in its own Secret alone");
    }

    #[test]
    fn members_have_addresses_of_their_own() {
        let outside = InitCluster { advertise: Some("POD.mesh.example:7400".into()), ..args() };
        assert_eq!(Wanted::of(&outside).unwrap().members[1].1, "ms-coordinator-1.mesh.example:7400");
        assert!(Wanted::of(&InitCluster { advertise: Some("mesh.example:7400".into()), ..args() }).is_err());
    }
}
