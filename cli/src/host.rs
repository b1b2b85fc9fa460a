//! The machine underneath the command line: environment, files that the client's seam does not cover,
//! ports, processes. Nothing here decides anything.
#![allow(clippy::disallowed_methods, reason = "this module is the seam")]

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use mainstay_client::failpoint::Point;
use mainstay_client::files::Output;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// A variable of the environment; an empty one counts as not set.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

pub fn current_dir() -> io::Result<PathBuf> {
    std::env::current_dir()
}

/// The directory of this program: its sibling binaries are there.
pub fn program_dir() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    Ok(program.parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf))
}

/// Permission bits of a file.
pub fn mode(path: &Path) -> io::Result<u32> {
    Ok(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path)?.permissions()) & 0o7777)
}

/// The end of a text file, from the beginning of a line on.
pub fn tail(path: &Path, max: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let skipped = file.metadata()?.len().saturating_sub(max);
    io::Seek::seek(&mut file, io::SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, max), &mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(match text.split_once('\n') {
        Some((_, whole)) if skipped > 0 => whole.to_owned(),
        _ => text.into_owned(),
    })
}

/// A connection to a program, as a rule of this machine.
pub async fn connect(address: &str) -> io::Result<tokio::net::TcpStream> {
    tokio::net::TcpStream::connect(address).await
}

/// A file that is only ever added to, and readable by its owner only.
pub fn append(path: &Path) -> io::Result<(Output, u64)> {
    let output = Output::append(Point::UpLog, path, 0o600)?;
    let length = output.file().metadata()?.len();
    Ok((output, length))
}

/// All of standard input, of at most `max` bytes.
pub fn standard_input(max: u64) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(io::stdin().lock(), max + 1), &mut text)?;
    if text.len() as u64 > max { Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("there are more than {max} bytes"))) } else { Ok(text) }
}

/// Whether nobody listens on a port of the loopback address.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Prints to standard output. A reader that has gone away is no error: it has seen enough.
pub fn print(text: &str) -> io::Result<()> {
    written(io::stdout().lock(), text.as_bytes())
}

/// Writes bytes to standard output, all of them: what reads them may not have seen enough.
pub fn print_bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stream = io::stdout().lock();
    stream.write_all(bytes).and_then(|()| stream.flush())
}

/// Has a file or directory belong to whoever the directory `like` belongs to. Only root can, and only for root
/// it is of use: what root makes in another user's directory that user cannot read.
pub fn give_to_owner_of(like: &Path, path: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = rustix::fs::stat(like)?;
    let (user, group) = (rustix::fs::Uid::from_raw(owner.st_uid), rustix::fs::Gid::from_raw(owner.st_gid));
    Ok(rustix::fs::chown(path, Some(user), Some(group))?)
}

/// Prints to standard error.
pub fn print_error(text: &str) -> io::Result<()> {
    written(io::stderr().lock(), text.as_bytes())
}

/// Asks a question on standard error; a line of standard input answers it, at most so long.
pub fn ask(question: &str) -> io::Result<String> {
    const ANSWER_MAX: u64 = 1_024;
    print_error(question)?;
    let mut answer = String::new();
    io::BufRead::read_line(&mut io::Read::take(io::stdin().lock(), ANSWER_MAX), &mut answer)?;
    Ok(answer)
}

fn written(mut stream: impl Write, bytes: &[u8]) -> io::Result<()> {
    match stream.write_all(bytes).and_then(|()| stream.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Which processes a signal goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    Process,
    /// The process and whatever it has started, where it leads a group of its own.
    Group,
}

/// Sends a signal. A process that has ended already is no error.
pub fn signal(pid: u32, whom: Whom, signal: Signal) -> io::Result<()> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    let sent = match whom {
        Whom::Process => kill_process(pid, signal),
        Whom::Group => kill_process_group(pid, signal),
    };
    match sent {
        Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Kernel and processor of this machine, without its name.
#[must_use]
pub fn system() -> String {
    let name = rustix::system::uname();
    [name.sysname(), name.release(), name.machine()].map(|part| part.to_string_lossy().into_owned()).join(" ")
}

/// Name of this machine.
#[must_use]
pub fn host_name() -> Option<String> {
    let name = rustix::system::uname();
    name.nodename().to_str().ok().filter(|name| !name.is_empty()).map(str::to_owned)
}
