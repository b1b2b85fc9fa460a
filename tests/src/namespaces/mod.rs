//! A test in user, mount, process and network namespaces of its own, with a member of the mesh on each host of a
//! network.
//!
//! ```text
//!  the suite's process ─▶ unshare ─▶ the same test again, as process 1 of its namespaces
//!                                      ├─ bridge: 10.77.0.254, where the clients are
//!                                      ├─ host 1: network namespace, 10.77.0.1, a member, its clock and its disk
//!                                      └─ host 2, 3 …
//! ```
//! All of it is gone with process 1, and that one with the suite, also when the suite is killed: the kernel ends the
//! processes, and with the last one go mounts and networks.

mod far;
mod group;
mod network;

use std::process::{Command, Stdio};

pub use group::Group;
pub use network::Fault;

/// Set for the test's second process.
const INSIDE: &str = "MAINSTAY_TEST_NAMESPACES";

/// Runs `body` in namespaces of its own; `test` is the full name of the test that calls this. What it prints and how
/// it ends is the test's own.
pub fn inside<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    if std::env::var_os(INSIDE).is_none() {
        return outside(test);
    }
    network::prepare();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(body());
}

/// Starts this very executable again, behind the namespaces, for the one test.
fn outside(test: &str) {
    let own = std::env::current_exe().expect("a test knows its own path");
    // The signal of a parent's death reaches `unshare`, which then kills process 1.
    let output = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(own)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
        .stdin(Stdio::null())
        .output()
        .expect("setpriv and unshare are there (Debian: util-linux)");
    // Its summary would be counted with that of this process.
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let said: Vec<&str> = said.lines().filter(|line| !line.starts_with("test result:")).collect();
    println!("{}", said.join("\n"));
    assert!(said.contains(&"running 1 test"), "there is no test {test}");
    assert!(output.status.success(), "within the namespaces: {}", output.status);
}
