//! A mesh whose certificates somebody else issues and renews: rcgen stands for cert-manager or SPIRE, with a root,
//! an intermediate below it, and leaves that carry a SPIFFE id of the mesh.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use mainstay_tests::servers::free_port;
use mainstay_tests::up::binaries;
use mainstay_tests::{eventually, process};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd};
use serde_json::Value;
use tempfile::TempDir;

/// How long the first leaves live: long enough for the mesh to come up, and to be renewed in time.
const FIRST_LIFE: Duration = Duration::from_secs(75);
const DAY: Duration = Duration::from_secs(86_400);

/// Somebody else's authority.
struct Authority {
    root_pem: String,
    intermediate_pem: String,
    intermediate: Issuer<'static, KeyPair>,
}

fn authority_params(name: &str, path: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(path);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2100, 1, 1));
    params
}

impl Authority {
    fn new(name: &str) -> Authority {
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = authority_params(&format!("{name} root"), BasicConstraints::Unconstrained);
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let signer = Issuer::new(root, root_key);
        let params = authority_params(&format!("{name} intermediate"), BasicConstraints::Constrained(0));
        let intermediate_pem = params.signed_by(&key, &signer).unwrap().pem();
        Authority { root_pem, intermediate_pem, intermediate: Issuer::new(params, key) }
    }

    /// Chain and key for a SPIFFE id. Such issuers put host names beside it, and both usages into every leaf.
    fn leaf(&self, uri: &str, life: Duration) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::DnsName("some.host.example".try_into().unwrap()), SanType::URI(uri.try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now();
        (params.not_before, params.not_after) = ((now - Duration::from_secs(60)).into(), (now + life).into());
        let leaf = params.signed_by(&key, &self.intermediate).unwrap();
        (format!("{}{}", leaf.pem(), self.intermediate_pem), key.serialize_pem())
    }
}

/// One identity's three files.
struct Files {
    dir: PathBuf,
    uri: String,
}

impl Files {
    fn new(place: &Path, identity: &str) -> Files {
        let dir = place.join(identity.replace('/', "-"));
        fs::create_dir_all(&dir).unwrap();
        Files { dir, uri: format!("spiffe://lab/{identity}") }
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn issue(&self, authority: &Authority, life: Duration) {
        let (chain, key) = authority.leaf(&self.uri, life);
        fs::write(self.path("tls.key"), key).unwrap();
        fs::write(self.path("tls.crt"), chain).unwrap();
    }

    fn trust(&self, roots: &[&str]) {
        fs::write(self.path("ca.crt"), roots.concat()).unwrap();
    }
}

/// A process of the mesh; killed with the value.
struct Part {
    log: PathBuf,
    child: Child,
}

impl Part {
    fn start(place: &Path, program: &str, name: &str, args: &[&str]) -> Part {
        let log = place.join(format!("{name}.log"));
        let file = File::create(&log).unwrap();
        let mut command = Command::new(binaries().join(program));
        command.args(args).args(["--dir", &place.join(name).display().to_string(), "--http-listen", "none"]);
        let child = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).spawn().expect("it starts");
        Part { log, child }
    }

    /// How often it has said that it took new files.
    fn reloads(&self) -> usize {
        fs::read_to_string(&self.log).unwrap_or_default().matches("is used from now on").count()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("== {}\n{}", self.log.display(), fs::read_to_string(&self.log).unwrap_or_default());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Lab {
    place: TempDir,
}

impl Lab {
    fn cli(&self, home: &str, args: &[&str]) -> Output {
        let mut command = Command::new(binaries().join("mainstay"));
        command.env("XDG_CONFIG_HOME", self.place.path().join(home)).env_remove("MAINSTAY_CONTEXT").current_dir("/");
        command.args(args).stdin(Stdio::null()).output().expect("the CLI runs")
    }

    fn ok(&self, home: &str, args: &[&str]) -> String {
        let output = self.cli(home, args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn json(&self, args: &[&str]) -> Result<Value, String> {
        let output = self.cli("ana", &[args, &["-o", "json"]].concat());
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    async fn ready(&self, members: usize) {
        eventually("all members vote, one leads, the agent is linked", || async {
            let status = self.json(&["status"])?;
            let all = status["members"].as_array().cloned().unwrap_or_default();
            let reachable = all.iter().filter(|member| member["role"] == "voter" && member["reachable"] == true).count();
            let leads = all.iter().any(|member| member["leader"] == true);
            if leads && reachable == members && status["agentsUp"] == 1 { Ok(()) } else { Err(status.to_string()) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mesh_lives_on_certificates_issued_elsewhere_and_follows_them() {
    let lab = Lab { place: tempfile::Builder::new().prefix("elsewhere-").tempdir().unwrap() };
    let place = lab.place.path();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let ids = ["00000000000000a1", "00000000000000a2", "00000000000000a3"];
    let member_files = ids.map(|id| Files::new(place, &format!("coordinator/{id}")));
    let agent_files = Files::new(place, "cluster/lab/node/n1");
    let (ana, ben, stranger) = (Files::new(place, "operator/ana"), Files::new(place, "operator/ben"), Files::new(place, "operator/eve"));
    let all: Vec<&Files> = member_files.iter().chain([&agent_files, &ana]).collect();
    for files in &all {
        files.issue(&old, FIRST_LIFE);
        files.trust(&[&old.root_pem]);
    }
    let first_end = SystemTime::now() + FIRST_LIFE;

    let addresses = [(); 3].map(|()| format!("127.0.0.1:{}", free_port()));
    let form = ids.iter().zip(&addresses).map(|(id, address)| format!("{id}={address}")).collect::<Vec<_>>().join(",");
    let mut parts: Vec<Part> = (0..3)
        .map(|n| {
            let files = &member_files[n];
            let (chain, key, roots, enrol) =
                (files.path("tls.crt"), files.path("tls.key"), files.path("ca.crt"), format!("127.0.0.1:{}", free_port()));
            let args = ["--listen", &addresses[n], "--enrol-listen", &enrol, "--form", &form, "--admin", "ana", "--name"];
            let identity = ["--identity-chain", &chain, "--identity-key", &key, "--identity-roots", &roots];
            let name = format!("c{}", n + 1);
            Part::start(place, "mainstay-coordinator", &name, &[&args[..], &[name.as_str()], &identity].concat())
        })
        .collect();
    let settings = place.join("agent.toml");
    let (chain, key, roots) = (agent_files.path("tls.crt"), agent_files.path("tls.key"), agent_files.path("ca.crt"));
    fs::write(&settings, format!("[identity]\nchain = \"{chain}\"\nkey = \"{key}\"\nroots = \"{roots}\"\n")).unwrap();
    let coordinators = addresses.join(",");
    let args = ["--config", &settings.display().to_string(), "--cluster", "lab", "--node", "n1", "--host", "--coordinators", &coordinators];
    parts.push(Part::start(place, "mainstay-agent", "n1", &args));

    let add = |home: &str, files: &Files| {
        let (chain, key, roots) = (files.path("tls.crt"), files.path("tls.key"), files.path("ca.crt"));
        lab.ok(home, &["context", "add", "lab", "--members", &coordinators, "--chain", &chain, "--key", &key, "--roots", &roots]);
    };
    add("ana", &ana);
    lab.ready(3).await;

    // Nobody enrols here; a role is given all the same.
    let refused = lab.cli("ana", &["operator", "add", "ben", "--role", "viewer"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("issued elsewhere"), "{}", String::from_utf8_lossy(&refused.stderr));
    lab.ok("ana", &["operator", "add", "ben", "--role", "viewer", "--no-login"]);
    ben.issue(&old, DAY);
    ben.trust(&[&old.root_pem, &new.root_pem]);
    add("ben", &ben);
    lab.ok("ben", &["status"]);
    assert_eq!(lab.cli("ben", &["login"]).status.code(), Some(2), "the mesh does not renew it");
    // A certificate of that authority for another mesh is none of this one.
    let (chain, key) = old.leaf("spiffe://another/operator/ana", DAY);
    fs::write(stranger.path("tls.key"), key).unwrap();
    fs::write(stranger.path("tls.crt"), chain).unwrap();
    stranger.trust(&[&old.root_pem]);
    add("stranger", &stranger);
    assert_eq!(lab.cli("stranger", &["status"]).status.code(), Some(3));

    // The authority is replaced while all of it runs: first whom one trusts, then the leaves, then the old root goes.
    let everybody_took = async |times: usize| {
        eventually(&format!("all have taken their files {times} times"), || async {
            let taken: Vec<usize> = parts.iter().map(Part::reloads).collect();
            if taken.iter().all(|taken| *taken >= times) { Ok(()) } else { Err(format!("{taken:?}")) }
        })
        .await;
    };
    all.iter().for_each(|files| files.trust(&[&old.root_pem, &new.root_pem]));
    everybody_took(1).await;
    all.iter().for_each(|files| files.issue(&new, DAY));
    everybody_took(2).await;
    all.iter().for_each(|files| files.trust(&[&new.root_pem]));
    everybody_took(3).await;
    eventually("the first leaves have ended", || async { if SystemTime::now() > first_end { Ok(()) } else { Err("not yet".to_owned()) } }).await;

    lab.ready(3).await;
    let run = lab.json(&["run", "start", "daily"]).unwrap()["run"].as_str().unwrap().to_owned();
    eventually("the run ends", || async {
        let run = lab.json(&["run", "show", &run])?;
        if run["state"] == "completed" { Ok(()) } else { Err(run.to_string()) }
    })
    .await;
    // Roots are not the mesh's to replace, by verb or by plan.
    let another = place.join("another.pem");
    fs::write(&another, &old.root_pem).unwrap();
    let refused = lab.cli("ana", &["mesh", "root", "add", &another.display().to_string()]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("issued elsewhere"), "{}", String::from_utf8_lossy(&refused.stderr));
    let input = format!("root={}", old.root_pem.trim_end());
    let run = lab.json(&["run", "start", "root-rotation", "--set", &input]).unwrap()["run"].as_str().unwrap().to_owned();
    eventually("the rotation fails", || async {
        let run = lab.json(&["run", "show", &run])?.to_string();
        if run.contains("no root of its own to replace: its certificates are issued elsewhere") { Ok(()) } else { Err(run) }
    })
    .await;
    let refused = lab.cli("ben", &["status"]);
    assert_eq!(refused.status.code(), Some(3), "a leaf of the old authority is not taken any more");

    // The leader dies: the others talk to each other with what they have now.
    let status = lab.json(&["status"]).unwrap();
    let leader = status["members"].as_array().unwrap().iter().position(|member| member["leader"] == true).unwrap();
    let leader = parts.remove(leader);
    process::kill(rustix::process::Pid::from_child(&leader.child));
    lab.ready(2).await;
    assert!(parts.iter().all(|part| !fs::read_to_string(&part.log).unwrap().contains("panicked")));
}
