//! A secret that is put in and then looked for everywhere: in files as raw bytes, in command lines and in
//! environments. It knows itself in the forms that programs write secrets in, too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memmem;
use rustix::process::Pid;

const LENGTH: usize = 30;
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/// How often processes are looked at; a child that lives shorter than this may be missed once, so the tests
/// have children that live longer.
const EVERY: Duration = Duration::from_millis(5);

/// The secret, and what to look for.
#[derive(Clone)]
pub struct Canary {
    pub secret: String,
    forms: Vec<(&'static str, Vec<u8>)>,
}

impl Default for Canary {
    fn default() -> Canary {
        Canary::new()
    }
}

impl Canary {
    #[must_use]
    pub fn new() -> Canary {
        let secret: String = (0..LENGTH).map(|_| LETTERS[rand::random_range(0..LETTERS.len())] as char).collect();
        let mut forms = vec![("as it is", secret.clone().into_bytes())];
        forms.push(("backwards", secret.bytes().rev().collect()));
        forms.push(("in hexadecimal", secret.bytes().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes()));
        forms.push(("in UTF-16", secret.encode_utf16().flat_map(u16::to_le_bytes).collect()));
        // In base64 it looks different by what stands before it, and only the middle does not depend on what follows.
        for skip in 0..3 {
            let shifted = [&[b'x'; 2][..skip], secret.as_bytes()].concat();
            for (what, engine) in [("in base64", &STANDARD_NO_PAD), ("in base64 for URLs", &URL_SAFE_NO_PAD)] {
                let text = engine.encode(&shifted).into_bytes();
                forms.push((what, text[4..text.len() - 4].to_vec()));
            }
        }
        Canary { secret, forms }
    }

    /// In which form it is there.
    #[must_use]
    pub fn in_bytes(&self, bytes: &[u8]) -> Option<&'static str> {
        self.forms.iter().find(|(_, form)| memmem::find(bytes, form).is_some()).map(|(what, _)| *what)
    }

    /// Every file below a directory that has it, other than these, and how many files were read.
    ///
    /// # Panics
    /// When a file cannot be read: what was not looked at is not clean.
    #[must_use]
    pub fn in_files(&self, dir: &Path, but: &[PathBuf]) -> (Vec<String>, usize) {
        let (mut found, mut read, mut folders) = (Vec::new(), 0, vec![dir.to_owned()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
                let entry = entry.expect("a directory's entry");
                let (path, kind) = (entry.path(), entry.file_type().expect("its type"));
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() && !but.contains(&path) {
                    match fs::read(&path) {
                        Ok(bytes) => found.extend(self.in_bytes(&bytes).map(|form| format!("{} {form}", path.display()))),
                        // A file that was there a moment ago, and was replaced by a newer one.
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                        Err(error) => panic!("{}: {error}", path.display()),
                    }
                    read += 1;
                }
            }
        }
        found.sort();
        (found, read)
    }

    /// Looks at the command line and the environment of a process and of all that descend from it, again and
    /// again until it is asked what was seen.
    #[must_use]
    pub fn watch(&self, root: Pid) -> Watch {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let (canary, stopped, shared) = (self.clone(), Arc::clone(&stop), Arc::clone(&seen));
        let looks = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                canary.look(root.as_raw_nonzero().get(), &mut shared.lock().unwrap_or_else(PoisonError::into_inner));
                std::thread::sleep(EVERY);
            }
        });
        Watch { stop, seen, looks: Some(looks) }
    }

    fn look(&self, root: i32, seen: &mut Seen) {
        for pid in descendants(root) {
            // A process that is gone by now, or that has not become its program yet, has nothing to read.
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let name: Vec<_> = line.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
            let name = String::from_utf8_lossy(&name).rsplit('/').next().unwrap_or_default().to_owned();
            for (what, bytes) in [("arguments", &line), ("environment", &environment)] {
                if let Some(form) = self.in_bytes(bytes) {
                    seen.found.insert(format!("{what} of {name} {form}"));
                }
            }
            if !name.is_empty() {
                seen.programs.insert(name);
            }
        }
    }
}

#[derive(Default)]
struct Seen {
    found: BTreeSet<String>,
    programs: BTreeSet<String>,
}

/// Watches until it is ended.
pub struct Watch {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    looks: Option<JoinHandle<()>>,
}

impl Watch {
    /// Where the secret was seen, and the names of all programs that were looked at.
    #[must_use]
    pub fn end(mut self) -> (Vec<String>, BTreeSet<String>) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(looks) = self.looks.take() {
            looks.join().expect("the watch ends");
        }
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.found.iter().cloned().collect(), seen.programs.clone())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A process and all that descend from it, as `/proc` has them now.
fn descendants(root: i32) -> Vec<i32> {
    let mut all: Vec<(i32, i32)> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The parent follows the state, behind the name in parentheses.
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        all.extend(parent.map(|parent| (pid, parent)));
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn it_knows_itself_in_every_form() {
        let canary = Canary::new();
        let base64 = |before: &str| STANDARD_NO_PAD.encode(format!("{before}{}-and more", canary.secret));
        for before in ["", "a", "ab", "abc", "mainstay:"] {
            assert_eq!(canary.in_bytes(base64(before).as_bytes()), Some("in base64"), "after {before:?}");
        }
        assert_eq!(canary.in_bytes(format!("x{}y", canary.secret).as_bytes()), Some("as it is"));
        assert_eq!(canary.in_bytes(Canary::new().secret.as_bytes()), None);
    }

    #[test]
    fn it_is_found_in_files_and_in_processes() {
        let canary = Canary::new();
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("deep")).expect("a folder");
        fs::write(dir.path().join("deep/clean"), "nothing").expect("a file");
        let (kept, leaked) = (dir.path().join("kept"), dir.path().join("deep/leaked"));
        fs::write(&kept, &canary.secret).expect("a file");
        assert_eq!(canary.in_files(dir.path(), std::slice::from_ref(&kept)), (vec![], 1));
        fs::write(&leaked, [b"\0\x01", canary.secret.as_bytes(), b"\xff"].concat()).expect("a file");
        assert_eq!(canary.in_files(dir.path(), &[kept]), (vec![format!("{} as it is", leaked.display())], 2));

        let watch = canary.watch(Pid::from_raw(std::process::id().try_into().expect("a number")).expect("an id"));
        let mut child = Command::new("sleep");
        let mut child = child.arg("1000").env("PASSWORD", &canary.secret).stdin(Stdio::null()).spawn().expect("sleep is there");
        while !watch.seen.lock().expect("the watch goes on").programs.contains("sleep") {
            std::thread::yield_now();
        }
        child.kill().expect("it ends");
        child.wait().expect("it has ended");
        let (found, programs) = watch.end();
        assert!(programs.contains("sleep"));
        assert_eq!(found, ["environment of sleep as it is"]);
    }
}
