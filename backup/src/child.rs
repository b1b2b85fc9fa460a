//! Programs of others, as children: argument lists, no shell; a small environment; what they say on stderr is kept, bounded;
//! they end with whoever started them, and whether it went well is told by how they ended and by nothing else.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::pipe::{self, CHUNK, Flow, Mouth};

mod filter;

/// Of what a program says on stderr, the last.
const SAID_MAX: usize = 4 << 10;
/// Of what a program prints that is read as a whole.
const PRINTED_MAX: u64 = 16 << 20;
/// A program that has closed its output ends soon.
const ENDS_WITHIN: Duration = Duration::from_secs(60);
/// Where programs find theirs.
const SEARCH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A program to be started.
#[derive(Clone)]
pub(crate) struct Program {
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
    /// Beside the few that every child has. Only the child's owner and root read it.
    pub environment: Vec<(&'static str, Zeroizing<String>)>,
    /// Where it runs, if not where this program does.
    pub within: Option<PathBuf>,
    /// After this it is ended.
    pub deadline: Duration,
}

/// Runs another program, which is then the one to name.
const WRAPPER: &str = "setpriv";

/// It did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    #[error("{program} could not be started: {source}")]
    NotStarted {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{program} ended with {}{}", status.code().map_or_else(|| "a signal".to_owned(), |code| format!("status {code}")), after(said))]
    Failed { program: String, status: ExitStatus, said: String },
    #[error("{program} was ended after {} s, which is its limit{}", limit.as_secs(), after(said))]
    Late { program: String, limit: Duration, said: String },
    #[error("{program}: {source}{}", after(said))]
    Broken {
        program: String,
        #[source]
        source: io::Error,
        said: String,
    },
}

fn after(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

impl Program {
    fn name(&self) -> String {
        let own = self.path.as_path();
        let wrapped = self.arguments.iter().skip_while(|argument| *argument != "--").nth(1).map(Path::new);
        let named = wrapped.filter(|_| own.ends_with(WRAPPER)).unwrap_or(own);
        named.file_name().unwrap_or(named.as_os_str()).to_string_lossy().into_owned()
    }

    fn start(&self, stdin: Stdio) -> Result<Running, ChildError> {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).env_clear().env("PATH", SEARCH).env("LC_ALL", "C").env("HOME", "/nonexistent");
        command.envs(self.environment.iter().map(|(name, value)| (name, value.as_str())));
        if let Some(dir) = &self.within {
            command.current_dir(dir);
        }
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).process_group(0);
        let mut child = command.spawn().map_err(|source| ChildError::NotStarted { program: self.path.display().to_string(), source })?;
        let said = child.stderr.take().map(|stderr| tokio::spawn(last_of(stderr)));
        Ok(Running { name: self.name(), child, said, limit: self.deadline })
    }

    /// Runs it to its end; what it printed.
    pub async fn print(&self) -> Result<String, ChildError> {
        self.printed(Stdio::null()).await
    }

    /// The same, with a file as its input.
    pub async fn print_of(&self, input: File) -> Result<String, ChildError> {
        self.printed(input.into()).await
    }

    async fn printed(&self, stdin: Stdio) -> Result<String, ChildError> {
        let mut running = self.start(stdin)?;
        let work = async {
            let mut printed = Vec::new();
            if let Some(stdout) = running.child.stdout.take() {
                let read = stdout.take(PRINTED_MAX).read_to_end(&mut printed).await;
                read.map_err(|source| ChildError::Broken { program: running.name.clone(), source, said: String::new() })?;
            }
            running.end().await?;
            Ok(String::from_utf8_lossy(&printed).trim_end().to_owned())
        };
        match tokio::time::timeout(self.deadline, work).await {
            Ok(ended) => ended,
            Err(_) => Err(running.late().await),
        }
    }

    /// Starts it; what it prints is read as it comes, and ends only if it ended well.
    pub fn stream(&self) -> Result<Flow, ChildError> {
        let mut running = self.start(Stdio::null())?;
        let (mouth, flow) = pipe::to_task();
        let limit = self.deadline;
        tokio::spawn(async move {
            let Some(mut stdout) = running.child.stdout.take() else { return };
            let work = passed_on(&mut stdout, &mouth);
            let read = tokio::select! {
                read = tokio::time::timeout(limit, work) => read,
                // Nobody wants it any more: it ends with this task.
                () = mouth.unread() => return,
            };
            let outcome = match read {
                Ok(Ok(true)) => running.end().await,
                Ok(Ok(false)) => return,
                Ok(Err(source)) => Err(running.broken(source).await),
                Err(_) => Err(running.late().await),
            };
            mouth.end(outcome.map_err(io::Error::other)).await;
        });
        Ok(flow)
    }

    /// Starts a server, whose output is read and thrown away but for its last words. It ends with the value.
    pub fn serve(&self) -> Result<Running, ChildError> {
        let mut running = self.start(Stdio::null())?;
        if let (Some(stdout), Some(stderr)) = (running.child.stdout.take(), running.said.take()) {
            running.said = Some(tokio::spawn(async move {
                let (printed, said) = tokio::join!(last_of(stdout), stderr);
                format!("{} {printed}", said.unwrap_or_default()).trim().to_owned()
            }));
        }
        Ok(running)
    }

    /// Starts it to be spoken with, line by line.
    pub fn talk(&self) -> Result<(Running, ChildStdin, ChildStdout), ChildError> {
        let mut running = self.start(Stdio::piped())?;
        match (running.child.stdin.take(), running.child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok((running, stdin, stdout)),
            _ => Err(ChildError::NotStarted { program: self.path.display().to_string(), source: io::Error::other("it has no input and output") }),
        }
    }

    /// Runs it with what is read as its input. It gets to see an end only when the reader came to one: if that breaks off, it
    /// is ended first. What it printed.
    pub async fn feed(&self, mut from: impl AsyncRead + Unpin) -> Result<String, ChildError> {
        let mut running = self.start(Stdio::piped())?;
        let work = async {
            let (Some(mut stdin), Some(stdout)) = (running.child.stdin.take(), running.child.stdout.take()) else { return Ok(String::new()) };
            let printed = tokio::spawn(last_of(stdout));
            let mut buffer = vec![0; CHUNK];
            let mut has_enough = false;
            let fed = loop {
                match from.read(&mut buffer).await {
                    Ok(0) => break Ok(()),
                    Ok(read) => {
                        // It has ended: why, it says itself.
                        if stdin.write_all(&buffer[..read]).await.is_err() {
                            has_enough = true;
                            break Ok(());
                        }
                    }
                    Err(error) => break Err(error),
                }
            };
            match fed {
                Ok(()) => {
                    drop(stdin);
                    running.end().await?;
                    if has_enough {
                        // It went well without the rest, of which nobody knows yet whether it is what it should be.
                        let rest = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
                        rest.map_err(|source| ChildError::Broken { program: running.name.clone(), source, said: String::new() })?;
                    }
                    Ok(printed.await.unwrap_or_default())
                }
                Err(source) => {
                    // Before its input is closed, which it would take for the end.
                    let error = running.broken(source).await;
                    drop(stdin);
                    Err(error)
                }
            }
        };
        match tokio::time::timeout(self.deadline, work).await {
            Ok(ended) => ended,
            Err(_) => Err(running.late().await),
        }
    }
}

/// A program that runs. It ends with the value.
pub(crate) struct Running {
    name: String,
    child: Child,
    said: Option<JoinHandle<String>>,
    limit: Duration,
}

impl Running {
    /// It has closed its output, or its input was closed: did it go well?
    async fn end(&mut self) -> Result<(), ChildError> {
        let status = match tokio::time::timeout(self.limit.max(ENDS_WITHIN), self.child.wait()).await {
            Ok(Ok(status)) => status,
            Ok(Err(source)) => return Err(self.broken(source).await),
            Err(_) => return Err(self.late().await),
        };
        let said = self.last_words().await;
        if status.success() { Ok(()) } else { Err(ChildError::Failed { program: self.name.clone(), status, said }) }
    }

    async fn last_words(&mut self) -> String {
        let Some(said) = self.said.take() else { return String::new() };
        // A grandchild may hold it open.
        match tokio::time::timeout(Duration::from_secs(1), said).await {
            Ok(said) => said.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        // Who cannot be asked is not there.
        self.child.try_wait().map_or(true, |status| status.is_some())
    }

    /// Ends it, and waits for that.
    pub async fn end_now(&mut self) {
        self.kill().await;
    }

    async fn kill(&mut self) -> String {
        // It may have ended by itself.
        let _ = self.child.kill().await;
        self.last_words().await
    }

    /// It has fallen silent: how it ended, in words.
    pub async fn why(&mut self) -> String {
        match self.end().await {
            Ok(()) => format!("{} ended before it had answered", self.name),
            Err(error) => error.to_string(),
        }
    }

    async fn late(&mut self) -> ChildError {
        let said = self.kill().await;
        ChildError::Late { program: self.name.clone(), limit: self.limit, said }
    }

    async fn broken(&mut self, source: io::Error) -> ChildError {
        let said = self.kill().await;
        ChildError::Broken { program: self.name.clone(), source, said }
    }
}

/// Passes on what is printed, to its end; false where nobody reads any more.
async fn passed_on(stdout: &mut ChildStdout, mouth: &Mouth) -> io::Result<bool> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        // Programs write a few KiB at a time: a large piece of them is passed on, and not each.
        let mut ended = false;
        while buffer.len() < CHUNK && !ended {
            ended = stdout.read_buf(&mut buffer).await? == 0;
        }
        if mouth.send(buffer.split().freeze()).await.is_err() {
            return Ok(false);
        }
        if ended {
            return Ok(true);
        }
    }
}

/// Reads to the end and keeps the last.
async fn last_of(mut from: impl AsyncRead + Unpin) -> String {
    let (mut kept, mut buffer) = (Vec::new(), vec![0; SAID_MAX]);
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            break;
        }
        kept.extend_from_slice(&buffer[..read]);
        let over = kept.len().saturating_sub(SAID_MAX);
        kept.drain(..over);
    }
    String::from_utf8_lossy(&kept).trim().to_owned()
}

/// Where a program is: in this directory, or where programs are looked for.
pub(crate) fn find(name: &str, within: Option<&Path>) -> Option<PathBuf> {
    let searched = SEARCH.split(':').map(PathBuf::from);
    let mut dirs: Vec<PathBuf> = within.map(Path::to_owned).into_iter().collect();
    if dirs.is_empty() {
        dirs.extend(searched);
    }
    dirs.into_iter().map(|dir| dir.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests;
