//! Alertmanager, with alerts that a suite sends it.

use rustix::process::Signal;
use serde_json::Value;

use super::place::Place;
use super::{Program, get, ports};

pub struct Alertmanager {
    /// Before its place, which goes with the value: it ends first.
    program: Option<Program>,
    pub port: u16,
    place: Place,
}

impl Alertmanager {
    pub async fn start() -> Alertmanager {
        let mut alertmanager = Alertmanager { program: None, port: ports::free(), place: Place::new("alertmanager") };
        alertmanager.place.write("alertmanager.yml", "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n");
        alertmanager.go_on().await;
        alertmanager
    }

    /// Starts it again, with what it has on its disk.
    pub async fn go_on(&mut self) {
        let mut command = self.place.command("prometheus-alertmanager");
        command.arg(format!("--web.listen-address=127.0.0.1:{}", self.port));
        command.args(["--config.file=alertmanager.yml", "--storage.path=data", "--cluster.listen-address=", "--log.level=warn"]);
        let mut program = Program::start("alertmanager", &self.place, command, Signal::TERM);
        let port = self.port;
        program
            .ready(|| async move {
                match get(port, "/-/ready").await? {
                    (200, _) => Ok(()),
                    (status, body) => Err(format!("{status} {body}")),
                }
            })
            .await;
        self.program = Some(program);
    }

    pub fn stop(&mut self) {
        self.program = None;
    }

    /// State and comment of each silence.
    pub async fn silences(&self) -> Vec<(String, String)> {
        let (status, body) = get(self.port, "/api/v2/silences").await.expect("an answer");
        let all: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{status} {error}: {body}"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut all: Vec<_> =
            all.as_array().into_iter().flatten().map(|silence| (text(&silence["status"]["state"]), text(&silence["comment"]))).collect();
        all.sort();
        all
    }
}
