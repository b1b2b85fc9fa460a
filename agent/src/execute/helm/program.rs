//! One call of the helm program.
//!
//! It gets an argument list, a home of its own that goes with the attempt, the way to the cluster and the account that
//! it is to be there, and of the agent's environment only what is named here. Values reach it through files that are in
//! memory and on no disk. Its processes end with the call, and with the agent, however that ends: a helm that outlived
//! it would be at a release of which nobody knows.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use mainstay_client::failpoint::Point;
use mainstay_client::{files, work};
use rustix::fs::{MemfdFlags, memfd_create};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::super::exec::group::Group;
use super::super::exec::lines;
use super::super::output::Stream;
use super::super::settings::Helm;
use super::super::{Context, StepError};
use crate::kube::account::Account;

/// First argument with which this program becomes another one, that ends with whoever started it.
pub const BECOME: &str = "--become-and-end-with-parent";
/// Of the agent's environment: the way to the API server and out, whom to trust, and where the programs are that a
/// kubeconfig names.
const INHERITED: [&str; 11] = [
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "PATH",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// What a helm may answer: a rendered release, with the chart's files.
const ANSWER_MAX: u64 = 32 << 20;
/// Kept of what it complains of: its end.
const COMPLAINT_BYTES: usize = 2_048;
/// From asking it to end to making it: less than the agent gives an attempt.
const GRACE: Duration = Duration::from_secs(7);
/// For what it left behind.
const LEFT_BEHIND_GRACE: Duration = Duration::from_secs(1);
/// For the rest of its output.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);
/// One question.
const ASKED_WITHIN: Duration = Duration::from_secs(120);

/// Where a pod has its ServiceAccount.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// How helm is called for one attempt.
pub struct Program<'c> {
    pub kind: &'static str,
    settings: &'c Helm,
    context: &'c Context,
    account: Account,
    namespace: String,
    home: PathBuf,
    /// The way to the API server of the pod that the agent is in, where its settings name no other.
    way_of_pod: Option<Held>,
}

/// A file that is in memory, for as long as this value is.
pub struct Held {
    fd: OwnedFd,
}

/// How a call came to its end.
#[derive(Debug)]
pub enum End {
    Status(ExitStatus),
    /// It was called off, and has ended.
    CalledOff,
    /// The agent leaves: it was ended at once, as by the agent's death.
    Left,
    /// The lock of the release was lost.
    Lost,
    TimedOut,
}

impl Held {
    /// # Errors
    /// Of the system.
    pub fn new(bytes: &[u8]) -> std::io::Result<Held> {
        let fd = memfd_create("values", MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(fd);
        file.write_all(bytes)?;
        Ok(Held { fd: file.into() })
    }

    /// Where a child of this process finds it.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }
}

impl<'c> Program<'c> {
    /// # Errors
    /// When this agent has no helm, or its home cannot be made.
    pub async fn new(kind: &'static str, account: Account, namespace: &str, context: &'c Context) -> Result<Program<'c>, StepError> {
        let settings = context.settings.helm.as_ref().ok_or_else(|| {
            StepError::refused(format!(
                "{kind}: this agent has no helm: say in its settings where it is, and start it anew:  helm = \"/usr/bin/helm\""
            ))
        })?;
        let home = settings.dir.join(&context.labels.attempt);
        let made = home.join("work");
        let made = work::blocking(move || files::create_private_dir(Point::AgentDirectory, &made)).await;
        let failed = |error: &dyn std::fmt::Display| StepError::failed(format!("{kind}: the directory {} cannot be made: {error}", home.display()));
        made.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        let pod = || Some(of_pod(&std::env::var("KUBERNETES_SERVICE_HOST").ok()?, &std::env::var("KUBERNETES_SERVICE_PORT").ok()?));
        let way_of_pod = if settings.kubeconfig.is_none() { pod() } else { None };
        let way_of_pod = way_of_pod.map(|way| Held::new(way.as_bytes())).transpose().map_err(|error| failed(&error))?;
        Ok(Program { kind, settings, context, account, namespace: namespace.to_owned(), home: home.clone(), way_of_pod })
    }

    /// The folder of charts that this agent has.
    pub fn charts(&self) -> Option<&PathBuf> {
        self.settings.charts.as_ref()
    }

    fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.arg(BECOME).arg(std::process::id().to_string()).arg(&self.settings.program);
        // The API server knows the groups of a ServiceAccount by its name.
        command.args(["--namespace", &self.namespace, "--kube-as-user", &self.account.user()]);
        if let Some(way) = &self.way_of_pod {
            command.arg("--kubeconfig").arg(way.path());
        }
        for (flag, path) in [("--kubeconfig", &self.settings.kubeconfig), ("--registry-config", &self.settings.registry_config)] {
            if let Some(path) = path {
                command.arg(flag).arg(path);
            }
        }
        command.args(words);
        // A chart's name that is a file here too would be that file.
        command.current_dir(self.home.join("work")).env_clear();
        let inherited = INHERITED.iter().filter(|name| !self.context.connections.secret_variables().any(|secret| secret == **name));
        command.envs(inherited.filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("HOME", &self.home).env("NO_COLOR", "1");
        for (name, part) in [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data"), ("TMPDIR", "work")] {
            command.env(name, self.home.join(part));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        command
    }

    fn failed(&self, why: impl std::fmt::Display) -> StepError {
        StepError::failed(format!("{}: {}: {why}", self.kind, self.settings.program.display()))
    }

    /// Has it answer something, and shows that to nobody.
    ///
    /// # Errors
    /// When it complains, does not end in time, or says more than one reads.
    pub async fn ask(&self, words: &[String]) -> Result<Vec<u8>, StepError> {
        let mut child = self.command(words).spawn().map_err(|error| self.failed(error))?;
        let group = Group::of(&child).map_err(|error| self.failed(error))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let asked = async { tokio::join!(all(stdout), tail(stderr), group.leader_ended()) };
        let (answer, complaint, ended) = tokio::time::timeout(ASKED_WITHIN, asked).await.map_err(|_| self.failed("no answer within 2 minutes"))?;
        ended.map_err(|error| self.failed(error))?;
        group.end(LEFT_BEHIND_GRACE).await;
        group.close();
        let status = child.wait().await.map_err(|error| self.failed(error))?;
        if status.success() {
            return answer.map_err(|error| self.failed(error));
        }
        Err(StepError::failed(format!("{}: helm {}: {}", self.kind, words.first().map_or("", String::as_str), plain(&complaint))))
    }

    /// Has it do something, and shows what it prints.
    ///
    /// # Errors
    /// When it cannot be started, or its end cannot be had.
    pub async fn act(&self, words: &[String], within: Duration, lost: &CancellationToken) -> Result<End, StepError> {
        let context = self.context;
        if context.cancel.is_cancelled() {
            return Ok(End::CalledOff);
        }
        let mut child = self.command(words).spawn().map_err(|error| self.failed(error))?;
        let group = Group::of(&child).map_err(|error| self.failed(error))?;
        let log = context.artifacts.output_log();
        let readers = [
            child.stdout.take().map(|pipe| lines::forward(pipe, Stream::Stdout, context, log.clone())),
            child.stderr.take().map(|pipe| lines::forward(pipe, Stream::Stderr, context, log.clone())),
        ];
        let cut_off = tokio::select! {
            biased;
            ended = group.leader_ended() => { ended.map_err(|error| self.failed(error))?; None }
            () = lost.cancelled() => Some((End::Lost, Duration::ZERO)),
            // What it writes down when it is asked to end would stand for a failure: the next process goes on instead.
            () = context.cancel.cancelled() => Some(if context.leaving.is_cancelled() { (End::Left, Duration::ZERO) } else { (End::CalledOff, GRACE) }),
            () = tokio::time::sleep(within) => Some((End::TimedOut, GRACE)),
        };
        group.end(cut_off.as_ref().map_or(LEFT_BEHIND_GRACE, |(_, grace)| *grace)).await;
        group.close();
        let status = child.wait().await.map_err(|error| self.failed(error))?;
        for mut reader in readers.into_iter().flatten() {
            if tokio::time::timeout(OUTPUT_GRACE, &mut reader).await.is_err() {
                reader.abort();
            }
        }
        // It is a few lines; what of them is more than a report holds is not missed.
        drop(context.artifacts.put_output(log).await);
        Ok(cut_off.map_or(End::Status(status), |(end, _)| end))
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        let home = self.home.clone();
        // What it downloaded is of no more use.
        drop(work::blocking(move || files::remove_tree(Point::AgentDirectory, &home)));
    }
}

async fn all(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(ANSWER_MAX + 1).read_to_end(&mut bytes).await?;
    }
    if bytes.len() as u64 > ANSWER_MAX {
        return Err(std::io::Error::other(format!("its answer has more than {ANSWER_MAX} bytes")));
    }
    Ok(bytes)
}

/// The end of what comes.
async fn tail(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4_096]);
    if let Some(mut pipe) = pipe {
        while let Ok(length @ 1..) = pipe.read(&mut piece).await {
            bytes.extend_from_slice(&piece[..length]);
            let much = bytes.len().saturating_sub(COMPLAINT_BYTES);
            bytes.drain(..much);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A kubeconfig for the pod's own ServiceAccount. helm finds that by itself only while nothing else is asked of it, such as
/// to act as somebody. The token stays in its file, which is read anew when it is renewed.
fn of_pod(host: &str, port: &str) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "pod",
        "clusters": [{ "name": "pod", "cluster": { "server": format!("https://{host}:{port}"), "certificate-authority": format!("{SERVICE_ACCOUNT}/ca.crt") } }],
        "users": [{ "name": "pod", "user": { "tokenFile": format!("{SERVICE_ACCOUNT}/token") } }],
        "contexts": [{ "name": "pod", "context": { "cluster": "pod", "user": "pod" } }],
    })
    .to_string()
}

/// What helm complained of, in one line.
pub fn plain(complaint: &str) -> String {
    let lines: Vec<&str> = complaint.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let told = lines.iter().position(|line| line.starts_with("Error:")).map_or(&lines[..], |at| &lines[at..]);
    if told.is_empty() { "it printed nothing".to_owned() } else { told.join(" ⏎ ").trim_start_matches("Error: ").to_owned() }
}

/// Becomes the program that the arguments name, which the system ends when this one's parent ends: with [`BECOME`] come
/// the parent's id, the program and its arguments. Returns only why that did not come off.
pub fn become_program(mut words: impl Iterator<Item = OsString>) -> std::io::Error {
    use std::os::unix::process::CommandExt as _;

    let parent = words.next().and_then(|parent| parent.to_str()?.parse::<i32>().ok());
    let Some(program) = words.next() else { return std::io::Error::other("no program is named") };
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)) {
        return error.into();
    }
    // Who died before that call sends no signal.
    if rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get()) != parent {
        return std::io::Error::other("the agent that started this has ended");
    }
    std::process::Command::new::<&OsStr>(program.as_ref()).args(words).exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_of_a_pod_is_that_of_its_service_account() {
        let server = |host: &str| {
            let way: serde_json::Value = serde_json::from_str(&of_pod(host, "443")).expect("JSON");
            way["clusters"][0]["cluster"]["server"].as_str().map(str::to_owned)
        };
        assert_eq!((server("10.96.0.1").as_deref(), server("fd00::1").as_deref()), (Some("https://10.96.0.1:443"), Some("https://[fd00::1]:443")));
    }

    #[test]
    fn a_complaint_is_one_line_without_what_came_before_the_error() {
        let said = "level=WARN msg=\"this chart is deprecated\"\nError: UPGRADE FAILED: resource Deployment/shop/web not ready\n\ncontext deadline exceeded\n";
        assert_eq!(plain(said), "UPGRADE FAILED: resource Deployment/shop/web not ready ⏎ context deadline exceeded");
        assert_eq!((plain("no such file\n").as_str(), plain("\n").as_str()), ("no such file", "it printed nothing"));
    }

    #[tokio::test]
    async fn what_is_kept_of_a_complaint_is_its_end() {
        let long = [vec![b'x'; 10_000], b"the end".to_vec()].concat();
        let kept = tail(Some(long.as_slice())).await;
        assert!(kept.len() == COMPLAINT_BYTES && kept.ends_with("the end"));
        assert_eq!(all(Some(b"all".as_slice())).await.ok(), Some(b"all".to_vec()));
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the test reads as a child would")]
    fn values_are_in_memory_and_can_be_read_by_a_path() {
        let held = Held::new(b"replicas: 3").expect("a file");
        assert_eq!(std::fs::read(held.path()).expect("what is in it"), b"replicas: 3");
        let path = held.path();
        drop(held);
        assert!(std::fs::read(path).is_err());
    }
}
