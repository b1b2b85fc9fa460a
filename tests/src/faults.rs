//! Faults of a machine, put in for real and taken out with the value.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A small file system of its own, mounted below a test's directory.
pub struct Tmpfs {
    at: PathBuf,
}

impl Tmpfs {
    /// Mounts one of `kib` KiB. Needs the right to mount; what it is told otherwise, it says.
    pub fn mount(at: &Path, kib: u32) -> Result<Tmpfs, String> {
        fs::create_dir_all(at).map_err(|error| error.to_string())?;
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
            .arg(at)
            .output()
            .map_err(|error| error.to_string())?;
        if output.status.success() { Ok(Tmpfs { at: at.to_owned() }) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    }

    /// Fills it until nothing fits.
    pub fn fill(&self) {
        self.fill_but(0);
    }

    /// Fills it until there is room for so many KiB, or nothing more fits.
    pub fn fill_but(&self, kib: u64) {
        let block = vec![0u8; 64 << 10];
        let mut file = fs::File::options().create(true).append(true).open(self.at.join("filler")).expect("a file to fill the disk with");
        let has_room = || rustix::fs::statvfs(&self.at).is_ok_and(|stat| stat.f_bavail * stat.f_frsize > kib << 10);
        while (kib == 0 || has_room()) && std::io::Write::write_all(&mut file, &block).is_ok() {}
    }

    /// Makes room again.
    pub fn make_room(&self) {
        fs::remove_file(self.at.join("filler")).expect("what it was filled with");
    }

    /// Lets nobody write to it, or again.
    pub fn read_only(&self, is: bool) {
        let how = if is { "remount,ro" } else { "remount,rw" };
        let status = Command::new("mount").args(["-o", how]).arg(&self.at).status();
        assert!(status.is_ok_and(|status| status.success()), "{}: {how}", self.at.display());
    }

    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// A memory cgroup with a limit, of version 1 or 2, whichever the machine has.
pub struct MemoryGroup {
    at: PathBuf,
}

impl MemoryGroup {
    pub fn create(name: &str, limit_bytes: u64) -> Result<MemoryGroup, String> {
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let (parent, limit) = if v1.is_dir() { (v1, "memory.limit_in_bytes") } else { (Path::new("/sys/fs/cgroup"), "memory.max") };
        let at = parent.join(format!("mainstay-test-{name}-{}", std::process::id()));
        fs::create_dir(&at).map_err(|error| format!("{}: {error}", at.display()))?;
        let group = MemoryGroup { at };
        fs::write(group.at.join(limit), limit_bytes.to_string()).map_err(|error| format!("{limit}: {error}"))?;
        Ok(group)
    }

    /// Runs a Python program within the limit.
    pub fn python(&self, program: &str) -> Child {
        let script = format!("echo $$ > {}/cgroup.procs && exec python3 -c \"$0\"", self.at.display());
        Command::new("sh")
            .args(["-c", &script, program])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh and python3 are there")
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        let procs = fs::read_to_string(self.at.join("cgroup.procs")).unwrap_or_default();
        for pid in procs.lines().filter_map(|line| line.parse::<i32>().ok()).filter_map(rustix::process::Pid::from_raw) {
            crate::process::kill(pid);
        }
        for _ in 0..100 {
            if fs::remove_dir(&self.at).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
