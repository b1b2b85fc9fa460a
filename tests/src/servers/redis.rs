//! Redis with a password, alone or as a replica.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::place::{Place, run};
use super::{Program, ports};

pub struct Redis {
    /// Before its place, which goes with the value: it ends first.
    program: Option<Program>,
    pub port: u16,
    password: String,
    place: Place,
    /// Where it keeps its dump.
    data: PathBuf,
    replica_of: Option<u16>,
}

impl Redis {
    pub async fn start(password: &str) -> Redis {
        Redis::start_as(password, None).await
    }

    /// On a directory with a snapshot, which it loads. Whoever runs servers has to come by there.
    pub async fn start_on(password: &str, data: &Path) -> Redis {
        let place = Place::new("redis");
        let log = data.join("appendonlydir");
        for path in [data.to_owned(), data.join("dump.rdb"), log.join("appendonly.aof.manifest"), log] {
            place.give(&path);
        }
        let mut redis = Redis { port: ports::free(), password: password.to_owned(), place, data: data.to_owned(), replica_of: None, program: None };
        redis.go_on().await;
        redis
    }

    /// A replica of this one, with the same password; linked when it is returned.
    pub async fn replica(&self) -> Redis {
        let replica = Redis::start_as(&self.password, Some(self.port)).await;
        crate::eventually("the replica is linked", || async {
            let info = replica.command(&["INFO", "replication"]).await?;
            if info.contains("master_link_status:up") { Ok(()) } else { Err(info) }
        })
        .await;
        replica
    }

    async fn start_as(password: &str, replica_of: Option<u16>) -> Redis {
        let place = Place::new("redis");
        let data = place.make_dir("data");
        let mut redis = Redis { port: ports::free(), password: password.to_owned(), place, data, replica_of, program: None };
        redis.go_on().await;
        redis
    }

    /// Starts it again on its data.
    pub async fn go_on(&mut self) {
        let password = &self.password;
        // In a file, not among the arguments: those are everybody's to read.
        let mut settings =
            format!("bind 127.0.0.1\nport {}\ndir {}\nrequirepass {password}\nmasterauth {password}\n", self.port, self.data.display());
        settings += "repl-diskless-sync-delay 0\nrepl-ping-replica-period 1\n";
        if let Some(port) = self.replica_of {
            settings += &format!("replicaof 127.0.0.1 {port}\n");
        }
        let file = self.place.write("redis.conf", &settings);
        let mut command = self.place.command("redis-server");
        command.arg(file);
        let mut program = Program::start("redis", &self.place, command, Signal::TERM);
        program.ready(|| async { self.command(&["PING"]).await.map(|_| ()) }).await;
        self.program = Some(program);
    }

    /// Ends it as an operator would.
    pub fn stop(&mut self) {
        self.program = None;
    }

    /// What it answers to a command.
    ///
    /// # Errors
    /// What it, or the program that asks it, said.
    pub async fn command(&self, words: &[&str]) -> Result<String, String> {
        let mut command = self.place.command("redis-cli");
        command.args(["-p", &self.port.to_string(), "--no-auth-warning"]).args(words).env("REDISCLI_AUTH", &self.password);
        let answer = run(command).await?;
        let failed = ["ERR", "NOAUTH", "WRONGPASS", "LOADING", "MISCONF", "Could not", "AUTH failed"].iter().any(|word| answer.starts_with(word));
        if failed { Err(answer) } else { Ok(answer) }
    }

    /// A field of `INFO`.
    ///
    /// # Errors
    /// When it does not answer, or there is no such field.
    pub async fn info(&self, field: &str) -> Result<String, String> {
        let info = self.command(&["INFO"]).await?;
        let found = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        found.map(|value| value.trim().to_owned()).ok_or_else(|| format!("no {field} in {info}"))
    }

    /// Its disk takes nothing any more: a save is tried, and fails.
    pub async fn cannot_save(&self) {
        self.saves(0o500, "err").await;
    }

    /// Its disk takes files again, and a save comes off.
    pub async fn can_save(&self) {
        self.saves(0o700, "ok").await;
    }

    async fn saves(&self, mode: u32, status: &str) {
        fs::set_permissions(&self.data, Permissions::from_mode(mode)).expect("the permissions of its data");
        // Asked again each time: one that is under way already is not the one that is meant.
        crate::eventually(&format!("the last save is {status}"), || async {
            self.command(&["BGSAVE"]).await.unwrap_or_default();
            let (busy, last) = (self.info("rdb_bgsave_in_progress").await?, self.info("rdb_last_bgsave_status").await?);
            if busy == "0" && last == status { Ok(()) } else { Err(format!("{last}, in progress: {busy}")) }
        })
        .await;
    }
}
