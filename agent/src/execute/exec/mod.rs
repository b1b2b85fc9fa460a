//! `node.exec`: runs a command that the agent's own policy allows.
//!
//! In: an argument list, never a shell string. Out: its status and the last lines of what it printed; every
//! line also goes to whoever watches, as it comes; and when it printed more than a report holds, all of it is
//! stored as an artifact. The command runs in a process group of its own, with
//! nothing of the agent's environment but PATH, HOME and LANG, and no process of its group outlives the attempt.
//! Where the host's file system is not the agent's own, it runs in that.

pub(super) mod group;
pub(super) mod lines;
pub mod root;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::report::Report;
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use self::group::Group;
use super::output::Stream;
use super::{Context, Policy, StepError, params};
use crate::artifacts::OutputLog;
use crate::host::Commands;

/// From asking a command to end to making it.
const GRACE: Duration = Duration::from_secs(5);
/// For children that a command leaves behind when it has ended by itself.
const LEFT_BEHIND_GRACE: Duration = Duration::from_secs(1);
/// For the rest of the output, once nobody of the group is left who could write more.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);
/// Taken over from the agent.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];
/// Lines of output in the message of a failure; all that are kept are in the report.
const LINES_SHOWN: usize = 3;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Params {
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default = "root")]
    working_directory: String,
}

fn root() -> String {
    "/".to_owned()
}

impl Params {
    /// Of a command that is the agent's own, and of no plan.
    pub(super) fn of(command: Vec<String>, env: BTreeMap<String, String>) -> Params {
        Params { command, env, working_directory: root() }
    }
}

/// How the command's first process came to its end.
enum End {
    ByItself,
    CalledOff,
}

/// What is to be run, where the policy has it.
///
/// # Errors
/// Refused: parameters that are none, or the policy.
pub(super) fn allowed(with: &Map<String, Value>, policy: &Policy) -> Result<Params, StepError> {
    let params: Params = params::read("node.exec", with)?;
    check(&params)?;
    policy.allows_command(&params.command, params.env.keys().map(String::as_str))?;
    Ok(params)
}

pub(super) async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params = allowed(with, &context.policy)?;
    let log = context.artifacts.output_log();
    let ended = piece(&params, context, &log).await;
    match (ended, context.artifacts.put_output(log).await) {
        (Ok(mut report), Some(not_stored)) => {
            report.checks.push(not_stored);
            Ok(report)
        }
        (Err(mut error), Some(not_stored)) => {
            error.report.get_or_insert_default().checks.push(not_stored);
            Err(error)
        }
        (ended, None) => ended,
    }
}

/// Runs one command, as the policy or the agent itself allows it. All that it prints goes to the log too.
///
/// # Errors
/// When it cannot be started, fails, or is called off.
pub(super) async fn piece(params: &Params, context: &Context, log: &OutputLog) -> Result<Report, StepError> {
    if context.cancel.is_cancelled() {
        return Err(StepError::cancelled(format!("{} was called off before it began", params.command[0])));
    }
    if let Some(commands) = context.host.commands().cloned() {
        return by_others(params, context, commands).await;
    }
    let mut child = command(params, context).spawn().map_err(|error| {
        StepError::failed(format!(
            "{} cannot be started in {}: {}",
            params.command[0],
            params.working_directory,
            super::outgoing::plain_cause(&error)
        ))
    })?;
    // Declared after the child, so that it is dropped before it: while the child has not been collected, its
    // id stands for its group and for nothing else.
    let group = Group::of(&child).map_err(|error| StepError::failed(format!("node.exec: {error}")))?;
    let readers = [
        child.stdout.take().map(|pipe| lines::forward(pipe, Stream::Stdout, context, log.clone())),
        child.stderr.take().map(|pipe| lines::forward(pipe, Stream::Stderr, context, log.clone())),
    ];

    let end = tokio::select! {
        biased;
        ended = group.leader_ended() => ended.map(|()| End::ByItself),
        () = context.cancel.cancelled() => Ok(End::CalledOff),
    }
    .map_err(|error| StepError::failed(format!("node.exec: waiting for {}: {error}", params.command[0])))?;
    let grace = if matches!(end, End::CalledOff) { GRACE } else { LEFT_BEHIND_GRACE };
    group.end(grace).await;
    let status = collect(&mut child, group).await?;
    for reader in readers.into_iter().flatten() {
        finish(reader).await;
    }
    report(params, context, &end, status)
}

/// Where the machine is not this process's own, and has somebody to carry out commands.
async fn by_others(params: &Params, context: &Context, commands: Arc<dyn Commands>) -> Result<Report, StepError> {
    let (end, status) = tokio::select! {
        biased;
        ended = commands.run(params.command.clone(), context.labels.attempt.clone()) => (End::ByItself, ended),
        () = context.cancel.cancelled() => (End::CalledOff, Ok(0)),
    };
    let status = status.map_err(|error| StepError::failed(format!("{} cannot be started: {error}", params.command[0])))?;
    // As the system gives a status: its second byte.
    report(params, context, &end, std::os::unix::process::ExitStatusExt::from_raw(status << 8))
}

fn check(params: &Params) -> Result<(), StepError> {
    let is_name = |name: &str| {
        !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if let Some(name) = params.env.keys().find(|name| !is_name(name)) {
        return Err(StepError::refused(format!("node.exec: `{name}` in `env` is not the name of a variable")));
    }
    let texts = params.command.iter().chain(params.env.values()).chain([&params.working_directory]);
    if texts.into_iter().any(|text| text.contains('\0')) {
        return Err(StepError::refused("node.exec: an argument holds a zero byte"));
    }
    if !params.working_directory.starts_with('/') {
        return Err(StepError::refused(format!("node.exec: `workingDirectory` must be an absolute path, and `{}` is not", params.working_directory)));
    }
    Ok(())
}

/// The command in a process group of its own, with what it may have of an environment.
pub(super) fn command(params: &Params, context: &Context) -> Command {
    let mut command = match &context.settings.host_root {
        Some(root) => {
            let mut command = root::command(root, &params.working_directory, &params.command);
            command.env_clear().envs(root::ENVIRONMENT);
            command
        }
        None => {
            let mut command = Command::new(&params.command[0]);
            command.args(&params.command[1..]).current_dir(&params.working_directory).env_clear();
            // Whatever a variable is called: with a secret in it, it is not handed on.
            let inherited = INHERITED.iter().filter(|name| !context.connections.secret_variables().any(|secret| secret == **name));
            command.envs(inherited.filter_map(|name| Some((name, std::env::var_os(name)?))));
            command
        }
    };
    command.envs(&params.env);
    let labels = &context.labels;
    command.envs([("MAINSTAY_ATTEMPT", &labels.attempt), ("MAINSTAY_RUN", &labels.run), ("MAINSTAY_STEP", &labels.step)]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    command
}

/// Collects the child, after which its id may stand for anybody.
async fn collect(child: &mut Child, group: Group) -> Result<std::process::ExitStatus, StepError> {
    group.close();
    child.wait().await.map_err(|error| StepError::failed(format!("node.exec: the command's status cannot be had: {error}")))
}

async fn finish(mut reader: JoinHandle<()>) {
    // A process that left the group on purpose may hold the pipe open for as long as it likes.
    if tokio::time::timeout(OUTPUT_GRACE, &mut reader).await.is_err() {
        reader.abort();
    }
}

fn report(params: &Params, context: &Context, end: &End, status: std::process::ExitStatus) -> Result<Report, StepError> {
    let tail = context.output.tail();
    let mut report = Report { output_tail: tail.clone(), ..Report::default() };
    if let Some(code) = status.code() {
        report.outputs.insert("exitCode".into(), code.into());
    }
    if matches!(end, End::CalledOff) {
        return Err(StepError::cancelled(format!("{} was called off; its processes have ended", params.command[0])).with_report(report));
    }
    if status.success() {
        return Ok(report);
    }
    let lines: Vec<&str> = tail.lines().rev().filter(|line| !line.trim().is_empty()).take(LINES_SHOWN).collect();
    let said = if lines.is_empty() { "it printed nothing".to_owned() } else { lines.into_iter().rev().collect::<Vec<_>>().join(" ⏎ ") };
    Err(StepError::failed(format!("{} ended with {}: {said}", params.command[0], in_words(status))).with_report(report))
}

fn in_words(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("status {code}"),
        (None, Some(number)) if number == Signal::KILL.as_raw() => "signal 9 (killed; for want of memory, perhaps)".to_owned(),
        (None, Some(number)) => format!("signal {number}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files, sockets and clocks")]
    use std::path::Path;
    use std::time::Instant;

    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use super::super::{Ended, Labels, Output, OutputLine, Policy, execute};
    use super::*;
    use crate::connections::Connections;
    use crate::observe::readings::Readings;

    const POLICY: &str = "[policy]\nallow = [\"node.exec\"]\n[[policy.exec]]\ncommand = [\"/bin/sh\", \"**\"]\nenv = [\"APP_*\"]\n[[policy.exec]]\ncommand = [\"/no/such/program\"]\n";

    fn context() -> (Context, tokio::sync::mpsc::Receiver<OutputLine>) {
        let context = Context::new(Arc::default(), Readings::default(), Arc::default(), Arc::new(Policy::parse(POLICY).unwrap())).unwrap();
        let (output, lines) = Output::channel(1_000);
        let labels = Labels { attempt: "a-1".into(), run: "r-1".into(), step: "s".into(), ..Labels::default() };
        (context.for_attempt(labels, output, CancellationToken::new()), lines)
    }

    async fn sh(context: &Context, script: &str) -> Result<Report, StepError> {
        execute("node.exec", json!({"command": ["/bin/sh", "-c", script], "env": {"APP_X": "1"}}).as_object().unwrap(), context).await
    }

    /// Waits for something to be the case, and says what was not when it never is.
    async fn until(what: &str, mut is: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is() {
            assert!(Instant::now() < deadline, "never: {what}");
            tokio::task::yield_now().await;
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn lives(pid: &str) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    fn pids(dir: &Path, names: &[&str]) -> Option<Vec<String>> {
        names
            .iter()
            .map(|name| std::fs::read_to_string(dir.join(name)).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
            .collect()
    }

    #[tokio::test]
    async fn output_comes_line_by_line_without_credentials_and_the_environment_is_clean() {
        let (context, mut lines) = context();
        let script = "echo password=hunter2; echo err >&2; env | sort; printf 'no end'";
        let report = sh(&context, script).await.unwrap();
        assert_eq!(report.outputs["exitCode"], 0);
        let mut texts = Vec::new();
        while let Ok(line) = lines.try_recv() {
            texts.push((line.stream, line.text));
        }
        assert!(texts.contains(&(Stream::Stdout, "password=[redacted]".into())) && texts.contains(&(Stream::Stderr, "err".into())));
        assert_eq!(texts.iter().rfind(|(stream, _)| *stream == Stream::Stdout).unwrap().1, "no end");
        let names: Vec<&str> =
            texts.iter().filter_map(|(_, text)| text.split_once('=').map(|(name, _)| name)).filter(|name| *name != "password").collect();
        let allowed = ["APP_X", "HOME", "LANG", "MAINSTAY_ATTEMPT", "MAINSTAY_RUN", "MAINSTAY_STEP", "OLDPWD", "PATH", "PWD", "SHLVL", "_"];
        assert!(names.iter().all(|name| allowed.contains(name)), "{names:?}");
        assert!(texts.iter().any(|(_, text)| text == "MAINSTAY_ATTEMPT=a-1"));
        assert!(!report.output_tail.contains("hunter2"));
    }

    #[test]
    fn where_the_host_is_mounted_a_command_runs_in_it_with_nothing_of_the_containers() {
        let (context, _lines) = context();
        let settings = crate::execute::ExecuteSettings { host_root: Some("/host".into()), ..Default::default() };
        let context = Context { settings: Arc::new(settings), ..context };
        let with = json!({"command": ["/bin/ls", "-l"], "workingDirectory": "/srv", "env": {"APP_X": "1"}});
        let params: Params = params::read("node.exec", with.as_object().unwrap()).unwrap();
        let command = super::command(&params, &context);
        let command = command.as_std();
        assert_eq!(command.get_program(), "/proc/self/exe");
        assert_eq!(command.get_args().collect::<Vec<_>>(), [root::BECOME, "/host", "/srv", "/bin/ls", "-l"]);
        let variable = |name: &str| command.get_envs().find(|(known, _)| *known == name).and_then(|(_, value)| value?.to_str());
        assert_eq!(variable("PATH"), Some("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
        assert_eq!((variable("HOME"), variable("APP_X"), variable("MAINSTAY_STEP")), (Some("/root"), Some("1"), Some("s")));
    }

    #[tokio::test]
    async fn a_status_that_is_not_zero_is_a_failure_with_the_last_lines() {
        let (context, _lines) = context();
        let error = sh(&context, "echo one; echo token=abc; exit 3").await.unwrap_err();
        assert_eq!((error.ended, error.message.as_str()), (Ended::Failed, "/bin/sh ended with status 3: one ⏎ token=[redacted]"));
        assert_eq!(error.report.unwrap().outputs["exitCode"], 3);
        let (context, _lines) = self::context();
        assert_eq!(sh(&context, "kill -TERM $$").await.unwrap_err().message, "/bin/sh ended with signal 15: it printed nothing");
    }

    #[tokio::test]
    async fn calling_off_ends_grandchildren_also_those_that_do_not_listen() {
        let (context, _lines) = context();
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        // The child listens; one grandchild does, one does not, and none of them holds the output open.
        let script = format!(
            "(sleep 600 >/dev/null 2>&1 & echo $! > {at}/a.part && mv {at}/a.part {at}/a; wait) & \
             (trap '' TERM; echo $$ >/dev/null; sh -c 'trap \"\" TERM; echo $$ > {at}/b.part; mv {at}/b.part {at}/b; while :; do sleep 1; done' >/dev/null 2>&1) & \
             echo $$ > {at}/c.part; mv {at}/c.part {at}/c; wait"
        );
        let (cancel, running) = (context.cancel.clone(), tokio::spawn(async move { sh(&context, &script).await }));
        until("three processes", || pids(dir.path(), &["a", "b", "c"]).is_some()).await;
        let pids = pids(dir.path(), &["a", "b", "c"]).unwrap();
        assert!(pids.iter().all(|pid| lives(pid)));
        cancel.cancel();
        let error = tokio::time::timeout(GRACE * 3, running).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.ended, Ended::Cancelled);
        until("all have ended", || !pids.iter().any(|pid| lives(pid))).await;
    }

    #[tokio::test]
    async fn a_variable_with_a_secret_is_not_handed_on() {
        let (context, mut lines) = context();
        let declared = "[connections.x]\nkind = \"redis\"\nurl = \"redis://127.0.0.1\"\npassword = { env = \"HOME\" }\n";
        let (connections, problems) = Connections::parse(std::path::Path::new("x"), declared);
        assert!(problems.is_empty(), "{problems:?}");
        sh(&context, "echo home=${HOME-}").await.unwrap();
        assert_ne!(lines.recv().await.unwrap().text, "home=");
        sh(&context.with_connections(connections), "echo home=${HOME-}").await.unwrap();
        assert_eq!(lines.recv().await.unwrap().text, "home=");
    }

    #[tokio::test]
    async fn what_a_command_leaves_behind_ends_with_it() {
        let (context, _lines) = context();
        let dir = tempfile::tempdir().unwrap();
        sh(&context, &format!("sleep 600 & echo $! > {}/pid", dir.path().display())).await.unwrap();
        let pid = pids(dir.path(), &["pid"]).unwrap().remove(0);
        until("it has ended", || !lives(&pid)).await;
    }

    #[tokio::test]
    async fn an_attempt_that_is_dropped_leaves_nothing() {
        let (context, _lines) = context();
        let dir = tempfile::tempdir().unwrap();
        let script = format!("sleep 600 & echo $! > {0}/p; mv {0}/p {0}/pid; wait", dir.path().display());
        let running = tokio::spawn(async move { sh(&context, &script).await });
        until("it runs", || pids(dir.path(), &["pid"]).is_some()).await;
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        let pid = pids(dir.path(), &["pid"]).unwrap().remove(0);
        until("it has ended", || !lives(&pid)).await;
    }

    #[tokio::test]
    async fn what_the_policy_does_not_name_is_refused_before_it_begins() {
        let (context, _lines) = context();
        let run = async |with: serde_json::Value| execute("node.exec", with.as_object().unwrap(), &context).await.unwrap_err();
        let error = run(json!({"command": ["/bin/ls", "/"]})).await;
        assert_eq!(error.ended, Ended::Refused);
        assert!(error.message.ends_with("command = [\"/bin/ls\", \"*\"]"), "{error}");
        assert_eq!(run(json!({"command": ["/bin/sh"], "env": {"LD_PRELOAD": "/x"}})).await.ended, Ended::Refused);
        assert_eq!(run(json!({"command": ["/bin/sh"], "env": {"A B": "/x"}})).await.ended, Ended::Refused);
        assert_eq!(run(json!({"command": ["/bin/sh"], "workingDirectory": "tmp"})).await.ended, Ended::Refused);
        assert_eq!(run(json!({"command": "rm -rf /"})).await.ended, Ended::Refused);
        let error = run(json!({"command": ["/no/such/program"]})).await;
        assert_eq!((error.ended, error.message.as_str()), (Ended::Failed, "/no/such/program cannot be started in /: No such file or directory"));
        let strict = Context { policy: Arc::default(), ..context.clone() };
        let error = execute("node.exec", json!({"command": ["/bin/sh"]}).as_object().unwrap(), &strict).await.unwrap_err();
        assert!(error.message.contains("allow = [\"node.exec\"]"), "{error}");
    }
}
