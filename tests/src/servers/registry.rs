//! An OCI registry of Debian's, with TLS by an authority of the suite's and one login.

use std::fmt::Write as _;

use rustix::process::Signal;

use super::certificates::{Authority, LONG};
use super::place::Place;
use super::{Login, Program, ports};

/// `hunter2`, as bcrypt has it.
const HASHED: &str = "$2b$05$abcdefghijklmnopqrstuuoXuKqgZXLiJqzfmMXDDhSFPIvxV7t8.";

pub struct Registry {
    /// Before its place, which goes with the value: it ends first.
    _program: Program,
    pub port: u16,
    pub login: Login,
    /// The certificate of the root that its own is signed under.
    pub root: String,
    _place: Place,
}

impl Registry {
    pub async fn start() -> Registry {
        let (place, port, login) = (Place::new("registry"), ports::free(), Login::new("ana", "hunter2"));
        let authority = Authority::new();
        let leaf = authority.leaf(&["127.0.0.1"], LONG);
        place.write("chain.pem", &leaf.chain());
        place.write("key.pem", &leaf.key);
        place.write("users", &format!("{}:{HASHED}\n", login.user));
        place.make_dir("data");
        let mut settings = String::from("version: 0.1\nlog: {level: warn}\nstorage: {filesystem: {rootdirectory: data}}\n");
        writeln!(settings, "auth: {{htpasswd: {{realm: suite, path: users}}}}").expect("a text");
        writeln!(settings, "http: {{addr: \"127.0.0.1:{port}\", tls: {{certificate: chain.pem, key: key.pem}}}}").expect("a text");
        place.write("registry.yml", &settings);
        let mut command = place.command("docker-registry");
        command.args(["serve", "registry.yml"]);
        let mut program = Program::start("registry", &place, command, Signal::TERM);
        program
            .ready(|| async move {
                let tried = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
                tried.map(|_| ()).map_err(|error| error.to_string())
            })
            .await;
        Registry { _program: program, port, login, root: authority.root(), _place: place }
    }
}
