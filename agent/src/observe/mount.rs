//! Which file systems are mounted, and which of them can fill up, from mountinfo and fstab.
//!
//! In: the text of /proc/1/mountinfo and /etc/fstab. Out: one [`Mount`] for each file system that can run
//! full, however often it is mounted. It does not ask a file system anything: see [`super::disk`].

use std::collections::BTreeMap;
use std::io;

use crate::host::Host;

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: String,
    /// Major and minor number of the device: the same for every mount of one file system.
    pub device: String,
    /// Which part of the file system is mounted; `/` is all of it.
    pub subtree: String,
    pub kind: String,
    /// What was mounted: a device, a remote path.
    pub source: String,
    /// This mount may not be written to.
    pub read_only: bool,
    /// The whole file system may not be written to.
    pub read_only_everywhere: bool,
}

/// Kinds that hold no data of their own.
const PSEUDO: [&str; 29] = [
    "autofs",
    "bdev",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cpuset",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "none",
    "pipefs",
    "proc",
    "pstore",
    "ramfs",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sockfs",
    "sysfs",
    "tracefs",
    "fuse.lxcfs",
];
/// Kinds that are written once and always full.
const IMAGES: [&str; 6] = ["squashfs", "iso9660", "udf", "erofs", "cramfs", "romfs"];
/// Volumes of pods that the kubelet fills with a secret or a token, one small tmpfs each.
const POD_SECRETS: [&str; 2] = ["/volumes/kubernetes.io~projected/", "/volumes/kubernetes.io~secret/"];

/// Reads the mounts as the host's first process has them. The agent's own view may be another one: under systemd's
/// `ProtectSystem=strict` it shows every file system as one that may not be written to.
pub fn read(host: &Host) -> io::Result<Vec<Mount>> {
    host.text("/proc/1/mountinfo").or_else(|_| host.text("/proc/self/mountinfo")).map(|text| parse(&text))
}

/// Every mount, in the order in which they were made. Lines that make no sense are left out.
#[must_use]
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let front: Vec<&str> = front.split(' ').collect();
    let mut back = back.split(' ');
    let read_only = |options: &str| options.split(',').any(|option| option == "ro");
    let kind = back.next()?.to_owned();
    let source = unescape(back.next()?);
    Some(Mount {
        point: unescape(front.get(4)?),
        device: (*front.get(2)?).to_owned(),
        subtree: unescape(front.get(3)?),
        kind,
        source,
        read_only: read_only(front.get(5)?),
        read_only_everywhere: back.next().is_some_and(read_only),
    })
}

/// Undoes the kernel's octal escapes of space, tab, line feed and backslash.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let octal = (first == b'\\').then(|| after.get(..3)).flatten().and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The file systems that can run full, one mount for each: of several the one of the whole file system, then
/// the one that may be written to, then the one with the shortest path. Overlays are kept; whether one
/// repeats a disk shows only in its numbers.
#[must_use]
pub fn that_fill(mounts: &[Mount]) -> Vec<Mount> {
    // A later mount on the same point hides the earlier one.
    let visible: BTreeMap<&str, &Mount> = mounts.iter().map(|mount| (mount.point.as_str(), mount)).collect();
    let mut chosen: BTreeMap<&str, &Mount> = BTreeMap::new();
    let rank = |mount: &Mount| (mount.subtree != "/", mount.read_only, mount.point.len(), mount.point.clone());
    for mount in visible.into_values().filter(|mount| can_fill(mount)) {
        // Each subvolume of a btrfs has a device number of its own, and all share one disk.
        let key = if mount.kind == "btrfs" { &mount.source } else { &mount.device };
        let best = chosen.entry(key).or_insert(mount);
        if rank(mount) < rank(best) {
            *best = mount;
        }
    }
    let mut mounts: Vec<Mount> = chosen.into_values().cloned().collect();
    mounts.sort_by(|a, b| a.point.cmp(&b.point));
    mounts
}

fn can_fill(mount: &Mount) -> bool {
    let kind = mount.kind.as_str();
    let fixed = mount.read_only_everywhere && kind == "tmpfs";
    let of_the_kernel = mount.point.starts_with("/sys/") || mount.point.starts_with("/proc/");
    !of_the_kernel && !PSEUDO.contains(&kind) && !IMAGES.contains(&kind) && !fixed && !POD_SECRETS.iter().any(|part| mount.point.contains(part))
}

impl Mount {
    /// Whether asking it may wait for another machine or another process.
    #[must_use]
    pub fn may_hang(&self) -> bool {
        let network = ["nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "lustre", "afs", "9p", "virtiofs", "ocfs2", "gfs2", "beegfs"];
        network.contains(&self.kind.as_str()) || self.kind.starts_with("fuse")
    }
}

/// Mount points that went read-only although fstab says that they can be written to.
#[must_use]
pub fn gone_read_only<'a>(mounts: &'a [Mount], fstab: &str) -> Vec<&'a Mount> {
    let writable: Vec<String> = fstab
        .lines()
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let (point, options) = (fields.get(1)?, fields.get(3).unwrap_or(&"defaults"));
            let counts = !line.trim_start().starts_with('#') && !options.split(',').any(|option| option == "ro" || option == "noauto");
            counts.then(|| unescape(point))
        })
        .collect();
    let visible: BTreeMap<&str, &Mount> = mounts.iter().map(|mount| (mount.point.as_str(), mount)).collect();
    let read_only = |mount: &&Mount| (mount.read_only || mount.read_only_everywhere) && !IMAGES.contains(&mount.kind.as_str());
    visible.into_values().filter(read_only).filter(|mount| writable.contains(&mount.point)).collect()
}

#[cfg(test)]
mod tests {
    use mainstay_client::files;

    use super::*;

    const MOUNTINFO: &str = r"22 27 0:21 / /proc rw,relatime - proc proc rw
24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,size=12334460k
25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24684084k
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
28 27 0:25 / /mnt/tools ro,nosuid,nodev,relatime - tmpfs tools ro,size=4k,mode=755
30 25 0:27 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24684084k
40 27 254:1 / /data\040one rw,relatime shared:1 - xfs /dev/vdb rw
41 27 254:1 /pvc /a rw,relatime - xfs /dev/vdb rw
42 27 254:0 /etc/hosts /etc/hosts ro,relatime - ext4 /dev/vda rw
43 27 7:1 / /snap/core/1 ro,nodev,relatime - squashfs /dev/loop1 ro
44 27 0:50 / /var/lib/kubelet/pods/1/volumes/kubernetes.io~projected/token rw - tmpfs tmpfs rw,size=1k
47 27 0:61 /@home /pool/home rw,relatime - btrfs /dev/vdz rw
48 27 0:62 /@ /pool rw,relatime - btrfs /dev/vdz rw
46 23 0:29 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
45 27 0:51 / /home rw,relatime - nfs4 nas:/home rw,hard
";

    #[test]
    fn each_file_system_that_can_fill_counts_once() {
        let points: Vec<String> = that_fill(&parse(MOUNTINFO)).into_iter().map(|mount| format!("{} {}", mount.device, mount.point)).collect();
        assert_eq!(points, ["254:0 /", "254:1 /data one", "0:27 /dev/shm", "0:51 /home", "0:62 /pool"]);
    }

    #[test]
    fn only_file_systems_of_others_may_hang() {
        let hanging: Vec<String> = that_fill(&parse(MOUNTINFO)).into_iter().filter(Mount::may_hang).map(|mount| mount.point).collect();
        assert_eq!(hanging, ["/home"]);
    }

    #[test]
    fn a_mount_that_fstab_wants_writable_and_is_not_is_found() {
        let fstab = "# comment\n/dev/vda / ext4 errors=remount-ro 0 1\n/dev/vdb /data\\040one xfs defaults 0 0\n/dev/sr0 /cd iso9660 ro,noauto 0 0\n/dev/vdc /archive ext4 ro 0 0\n";
        assert_eq!(gone_read_only(&parse(MOUNTINFO), fstab), Vec::<&Mount>::new());
        let broken = MOUNTINFO.replace("xfs /dev/vdb rw", "xfs /dev/vdb ro") + "50 1 254:9 / /archive ro - ext4 /dev/vdc ro\n";
        let mounts = parse(&broken);
        assert_eq!(gone_read_only(&mounts, fstab).iter().map(|mount| mount.point.as_str()).collect::<Vec<_>>(), ["/data one"]);
    }

    /// Two recorded views of one machine: the first process's, and that of an agent which may write to nothing.
    #[test]
    fn the_first_process_knows_better_than_a_protected_agent() {
        let root = tempfile::tempdir().unwrap();
        let put = |process: &str, text: &str| {
            let dir = root.path().join("proc").join(process);
            files::create_private_dir(mainstay_client::failpoint::Point::Saved, &dir).unwrap();
            files::write_atomic(mainstay_client::failpoint::Point::Saved, &dir.join("mountinfo"), text.as_bytes(), 0o600).unwrap();
        };
        let host = Host::below(root.path());
        put("self", "27 1 254:0 / / ro,relatime - ext4 /dev/vda rw\n");
        assert!(read(&host).unwrap()[0].read_only, "where there is nothing better");
        put("1", "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n");
        let mounts = read(&host).unwrap();
        assert_eq!(gone_read_only(&mounts, "/dev/vda / ext4 defaults 0 1\n"), Vec::<&Mount>::new());
    }

    #[test]
    fn nonsense_is_left_out() {
        assert_eq!(parse("\n1 2 3\n - \n1 2 3:4 / /x - ext4\n"), Vec::new());
        assert_eq!(unescape(r"a\040b\134c\9x\"), r"a b\c\9x\");
    }
}
