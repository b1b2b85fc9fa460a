//! Mainstay's side: `mainstay backup run` and `restore`, with a directory as the store.

use std::path::PathBuf;

use age::secrecy::ExposeSecret;
use mainstay_backup::keys::Identities;
use mainstay_backup::receipt::SigningKey;
use mainstay_tests::up::binaries;
use serde_json::Value;

use super::cost::{Cost, Measured};
use super::server::{PASSWORD, SOURCE, Server, USER};
use super::{Bench, RESTORED};

const TARGET: &str = "bench/orders";

/// Its keys: who opens it, who signs it.
pub struct Keys {
    recipient: String,
    identity: PathBuf,
    sign: PathBuf,
}

impl Keys {
    pub fn new(bench: &Bench) -> Keys {
        let dir = bench.dir("keys");
        let (identities, file) = Identities::generate();
        let (identity, sign) = (dir.join("break-glass.txt"), dir.join("sign.der"));
        std::fs::write(&identity, file.expose_secret()).expect("a file of a key");
        std::fs::write(&sign, SigningKey::generate().expect("randomness").as_slice()).expect("a file of a key");
        Keys { recipient: identities.public().remove(0), identity, sign }
    }
}

/// A backup that was made, in seconds and bytes of its own account.
pub struct Made {
    pub cost: Cost,
    pub write_s: f64,
    pub check_s: f64,
    pub plain_bytes: u64,
    pub stored_bytes: u64,
    signer: String,
}

/// Makes a backup into a store where nothing is.
pub fn backup(bench: &Bench, server: &Server, keys: &Keys) -> Made {
    let store = bench.fresh("mainstay-store");
    let mut measured = mainstay(bench);
    measured.args(["backup", "run", TARGET, "-o", "json", "--store", &store.display().to_string(), "--postgres", &url(server, SOURCE)]);
    measured.args(["--break-glass", &keys.recipient, "--sign", &keys.sign.display().to_string()]);
    let cost = measured.cost();
    let told: Value = serde_json::from_str(&cost.printed).expect("JSON");
    let number = |name: &str| told[name].as_u64().expect("it tells its times and sizes");
    Made {
        write_s: number("tookMs") as f64 / 1_000.0,
        check_s: number("checkMs") as f64 / 1_000.0,
        plain_bytes: number("plainBytes"),
        stored_bytes: number("storedBytes"),
        signer: told["signer"].as_str().expect("it is signed").to_owned(),
        cost,
    }
}

/// Restores what the last backup has made, into an empty database.
pub fn restore(bench: &Bench, server: &Server, keys: &Keys, made: &Made) -> Cost {
    let store = bench.dir("mainstay-store");
    let mut measured = mainstay(bench);
    measured.args(["backup", "restore", TARGET, "-o", "json", "--store", &store.display().to_string(), "--signer", &made.signer]);
    measured.args(["--identity", &keys.identity.display().to_string(), "--to", &url(server, RESTORED)]);
    measured.args(["--jobs", "2", "--scratch", &bench.dir("mainstay-scratch").display().to_string()]);
    measured.cost()
}

fn url(server: &Server, database: &str) -> String {
    format!("postgres://{USER}@127.0.0.1:{}/{database}", server.port)
}

fn mainstay(bench: &Bench) -> Measured {
    let mut measured = Measured::new(&binaries().join("mainstay"), &bench.fresh("mainstay-work"), &bench.dir("said"));
    measured.env("PATH", "/usr/bin:/bin").env("PGPASSWORD", PASSWORD);
    measured
}
