//! What the containers of pods use, by the kernel's control groups, version 1 and 2.
//!
//! ```text
//!   …/kubepods/burstable/podUID/ID                                             by cgroupfs
//!   …/kubepods-burstable.slice/kubepods-burstable-podUID.slice/cri-containerd-ID.scope     by systemd, with `_` for `-`
//! ```
//! Found by the names of their folders: where a kubelet makes them depends on its settings.

use std::collections::BTreeMap;
use std::io;

use crate::host::Host;

const ROOT: &str = "/sys/fs/cgroup";
/// How deep a pod's group may lie.
const DEPTH: usize = 8;
/// Most folders that are looked into.
const FOLDERS: usize = 20_000;

/// What one container has used, and uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Since it began.
    pub cpu_ns: u64,
    /// Without what the kernel would give back at once.
    pub memory: u64,
    pub memory_limit: Option<u64>,
}

/// Usage of all containers of pods, by pod and container: uid and id.
///
/// # Errors
/// Where there are no control groups to be seen.
pub fn read(host: &Host) -> io::Result<BTreeMap<String, BTreeMap<String, Usage>>> {
    let is_v2 = host.exists(format!("{ROOT}/cgroup.controllers"));
    let memory = if is_v2 { ROOT.to_owned() } else { format!("{ROOT}/memory") };
    let mut pods = BTreeMap::new();
    for (uid, folder) in pod_folders(host, &memory)? {
        let mut containers = BTreeMap::new();
        for name in host.names(&folder).unwrap_or_default() {
            let below = format!("{folder}/{name}");
            let Some(id) = container_id(&name).filter(|_| host.exists(format!("{below}/cgroup.procs"))) else { continue };
            let usage = if is_v2 { v2(host, &below) } else { v1(host, &below, &memory) };
            // One that ends while it is looked at is none.
            if let Some(usage) = usage {
                containers.insert(id.to_owned(), usage);
            }
        }
        pods.insert(uid, containers);
    }
    Ok(pods)
}

/// Folders of pods, with the uids of these.
fn pod_folders(host: &Host, root: &str) -> io::Result<Vec<(String, String)>> {
    host.names(root)?;
    let (mut found, mut looked) = (Vec::new(), 0);
    let mut open = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = open.pop() {
        looked += 1;
        if looked > FOLDERS {
            break;
        }
        for name in host.names(&folder).unwrap_or_default() {
            // Files of groups have a dot in their names; of folders only those of systemd, and each ends in its kind.
            if name.contains('.') && !name.ends_with(".slice") {
                continue;
            }
            let below = format!("{folder}/{name}");
            match pod_uid(&name) {
                Some(uid) => found.push((uid, below)),
                None if depth < DEPTH && host.exists(format!("{below}/cgroup.procs")) => open.push((below, depth + 1)),
                None => {}
            }
        }
    }
    Ok(found)
}

/// `pod1b2c…`, `kubepods-burstable-pod1b2c_….slice`
fn pod_uid(name: &str) -> Option<String> {
    let own = name.strip_suffix(".slice").unwrap_or(name);
    let uid = own.rsplit('-').next().and_then(|last| last.strip_prefix("pod")).or_else(|| own.strip_prefix("pod"))?;
    // In the folders of cgroupfs the uid's own dashes are there.
    let uid = own.strip_prefix("pod").unwrap_or(uid);
    let is_uid = uid.len() >= 32 && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-' || b == b'_');
    is_uid.then(|| uid.replace('_', "-"))
}

/// `4f5e…`, `cri-containerd-4f5e….scope`
fn container_id(name: &str) -> Option<&str> {
    let id = name.strip_suffix(".scope").unwrap_or(name).rsplit('-').next()?;
    (id.len() >= 32 && id.bytes().all(|b| b.is_ascii_hexdigit())).then_some(id)
}

fn v2(host: &Host, folder: &str) -> Option<Usage> {
    let stat = host.text(format!("{folder}/memory.stat")).ok()?;
    let used = number(host, &format!("{folder}/memory.current"))?;
    let cpu = host.text(format!("{folder}/cpu.stat")).ok()?;
    Some(Usage {
        cpu_ns: field(&cpu, "usage_usec")?.saturating_mul(1_000),
        memory: used.saturating_sub(field(&stat, "inactive_file").unwrap_or(0)),
        memory_limit: number(host, &format!("{folder}/memory.max")),
    })
}

fn v1(host: &Host, folder: &str, memory: &str) -> Option<Usage> {
    let stat = host.text(format!("{folder}/memory.stat")).ok()?;
    let used = number(host, &format!("{folder}/memory.usage_in_bytes"))?;
    let below = folder.strip_prefix(memory)?;
    let cpu = ["cpuacct", "cpu,cpuacct"].iter().find_map(|controller| number(host, &format!("{ROOT}/{controller}{below}/cpuacct.usage")))?;
    Some(Usage {
        cpu_ns: cpu,
        memory: used.saturating_sub(field(&stat, "total_inactive_file").unwrap_or(0)),
        // No limit is a number that no machine has.
        memory_limit: number(host, &format!("{folder}/memory.limit_in_bytes")).filter(|limit| *limit < 1 << 60),
    })
}

fn number(host: &Host, path: &str) -> Option<u64> {
    host.text(path).ok()?.trim().parse().ok()
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests use real files")]
    use super::*;

    const UID: &str = "1b2c3d4e-0000-4000-8000-123456789abc";

    fn machine(files: &[(String, &str)]) -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join("sys/fs/cgroup").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let host = Host::below(dir.path());
        (dir, host)
    }

    fn expected(usage: Usage, id: &str) -> BTreeMap<String, BTreeMap<String, Usage>> {
        [(UID.to_owned(), [(id.to_owned(), usage)].into())].into()
    }

    #[test]
    fn version_2_as_systemd_names_it() {
        let id = "ab".repeat(32);
        let uid = UID.replace('-', "_");
        let pod = format!("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice");
        let at = |name: &str| format!("{pod}/cri-containerd-{id}.scope/{name}");
        let (_dir, host) = machine(&[
            ("cgroup.controllers".into(), "cpu memory"),
            ("kubepods.slice/cgroup.procs".into(), ""),
            ("kubepods.slice/kubepods-burstable.slice/cgroup.procs".into(), ""),
            ("system.slice/cgroup.procs".into(), ""),
            (format!("{pod}/cgroup.procs"), ""),
            (at("cgroup.procs"), "7\n"),
            (at("memory.current"), "5000\n"),
            (at("memory.max"), "max\n"),
            (at("memory.stat"), "anon 1\ninactive_file 2000\n"),
            (at("cpu.stat"), "usage_usec 3\nuser_usec 1\n"),
        ]);
        assert_eq!(read(&host).unwrap(), expected(Usage { cpu_ns: 3_000, memory: 3_000, memory_limit: None }, &id));
    }

    #[test]
    fn version_1_as_cgroupfs_names_it() {
        let id = "cd".repeat(32);
        let pod = format!("root/n1/kubepods/besteffort/pod{UID}");
        let at = |controller: &str, name: &str| format!("{controller}/{pod}/{id}/{name}");
        let procs =
            ["root", "root/n1", "root/n1/kubepods", "root/n1/kubepods/besteffort", &pod].map(|folder| (format!("memory/{folder}/cgroup.procs"), ""));
        let files = [
            (at("memory", "cgroup.procs"), "7\n"),
            (at("memory", "memory.usage_in_bytes"), "5000\n"),
            (at("memory", "memory.limit_in_bytes"), "8000\n"),
            (at("memory", "memory.stat"), "inactive_file 1\ntotal_inactive_file 1000\n"),
            (at("cpuacct", "cpuacct.usage"), "9\n"),
        ];
        let (_dir, host) = machine(&[&procs[..], &files[..]].concat());
        assert_eq!(read(&host).unwrap(), expected(Usage { cpu_ns: 9, memory: 4_000, memory_limit: Some(8_000) }, &id));
    }

    #[test]
    fn names_of_groups() {
        let hash = "0123456789abcdef0123456789abcdef";
        assert_eq!(pod_uid(&format!("pod{hash}")).as_deref(), Some(hash), "of a pod from a file");
        for name in ["podman.slice", "pods", "kubepods", "kubepods-burstable.slice", "user-1000.slice", "pod1"] {
            assert_eq!(pod_uid(name), None, "{name}");
        }
        assert!(container_id("cgroup.procs").is_none() && container_id("init.scope").is_none());
    }

    #[test]
    fn a_machine_without_control_groups_says_so() {
        assert!(read(&Host::below("/nonexistent")).is_err());
    }
}
