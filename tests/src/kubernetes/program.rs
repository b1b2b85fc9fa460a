//! The servers of a control plane, killed and started again as they were.

use super::Cluster;

/// What was killed, and how it is started again.
pub struct Killed {
    program: String,
    words: Vec<String>,
}

impl Cluster {
    /// Kills a server of the control plane: `etcd` or `kube-apiserver`.
    pub fn kill(&self, program: &str) -> Killed {
        // How it runs is read before it is gone.
        let script = "pid=$(pgrep -xo \"$1\"); readlink /proc/$pid/exe; tr '\\0' '\\n' < /proc/$pid/cmdline | tail -n +2; kill -9 $pid
            while [ -d /proc/$pid ]; do sleep 0.05; done";
        let said = self.on("control", &["bash", "-c", script, "bash", program]).expect("it runs");
        Killed { program: program.to_owned(), words: said.lines().map(str::to_owned).collect() }
    }

    /// Starts it again with what it has left behind.
    pub fn revive(&self, killed: &Killed) {
        let log = self.state().join(format!("log/{}-again.log", killed.program)).display().to_string();
        let script = "log=$1; shift; setsid \"$@\" >> \"$log\" 2>&1 < /dev/null &";
        let words: Vec<&str> = killed.words.iter().map(String::as_str).collect();
        let head = ["bash", "-c", script, "bash", log.as_str()];
        self.on("control", &[&head[..], &words[..]].concat()).expect("it starts");
    }
}
