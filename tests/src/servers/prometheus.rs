//! Prometheus, and an exporter for it to scrape.

use rustix::process::Signal;
use serde_json::Value;

use super::place::Place;
use super::{Program, get, ports};

/// A node exporter with what costs nothing to collect.
pub struct Exporter {
    /// Before its place, which goes with the value: it ends first.
    program: Option<Program>,
    pub port: u16,
    place: Place,
}

impl Exporter {
    pub async fn start() -> Exporter {
        let mut exporter = Exporter { port: ports::free(), place: Place::new("exporter"), program: None };
        exporter.go_on().await;
        exporter
    }

    /// Starts it again.
    pub async fn go_on(&mut self) {
        let mut command = self.place.command("prometheus-node-exporter");
        command.arg(format!("--web.listen-address=127.0.0.1:{}", self.port));
        command.args(["--collector.disable-defaults", "--collector.loadavg", "--collector.uname"]);
        let mut program = Program::start("exporter", &self.place, command, Signal::TERM);
        program.ready(|| async { answers(self.port, "/metrics").await }).await;
        self.program = Some(program);
    }

    pub fn stop(&mut self) {
        self.program = None;
    }
}

/// What Prometheus scrapes: a job's name and a port.
pub type Target<'a> = (&'a str, u16);

pub struct Prometheus {
    /// Before its place, which goes with the value: it ends first.
    program: Option<Program>,
    pub port: u16,
    place: Place,
}

impl Prometheus {
    /// Starts it, and waits until it has scraped each of these. Its first look at targets comes 5 s after its start.
    pub async fn start(targets: &[Target<'_>]) -> Prometheus {
        let mut prometheus = Prometheus { program: None, port: ports::free(), place: Place::new("prometheus") };
        let mut settings = "global: { scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 1m }\nscrape_configs:\n".to_owned();
        for (job, port) in targets {
            settings += &format!("  - job_name: {job}\n    static_configs: [{{ targets: ['127.0.0.1:{port}'] }}]\n");
        }
        prometheus.place.write("prometheus.yml", &settings);
        prometheus.start_on("data").await;
        crate::eventually("Prometheus has scraped", || async {
            let series = prometheus.query("up").await?;
            let all = targets.iter().all(|(job, _)| series.iter().any(|one| one["metric"]["job"] == *job));
            if all { Ok(()) } else { Err(format!("{series:?}")) }
        })
        .await;
        prometheus
    }

    async fn start_on(&mut self, data: &str) {
        self.program = None;
        let mut command = self.place.command("prometheus");
        command.arg(format!("--web.listen-address=127.0.0.1:{}", self.port)).args(["--config.file=prometheus.yml", "--log.level=warn"]);
        command.arg(format!("--storage.tsdb.path={data}"));
        let mut program = Program::start("prometheus", &self.place, command, Signal::TERM);
        program.ready(|| async { answers(self.port, "/-/ready").await }).await;
        self.program = Some(program);
    }

    /// It was set up anew on an empty disk: it answers, and every result is empty until its first scrape.
    pub async fn loses_its_data(&mut self) {
        let empty = self.place.path().join("empty");
        std::fs::remove_dir_all(&empty).unwrap_or_default();
        self.start_on("empty").await;
    }

    /// Its disk is back, with what it had scraped.
    pub async fn has_its_data_again(&mut self) {
        self.start_on("data").await;
    }

    pub fn stop(&mut self) {
        self.program = None;
    }

    /// Waits until a target is up, or down.
    pub async fn sees(&self, job: &str, up: bool) {
        crate::eventually(&format!("{job} is up: {up}"), || async {
            let series = self.query(&format!("up{{job=\"{job}\"}}")).await?;
            let value = series.first().and_then(|one| one["value"][1].as_str());
            if value == Some(if up { "1" } else { "0" }) { Ok(()) } else { Err(format!("{series:?}")) }
        })
        .await;
    }

    /// The series that an expression has now.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let escaped: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let (status, body) = get(self.port, &format!("/api/v1/query?query={escaped}")).await?;
        let answer: Value = serde_json::from_str(&body).map_err(|error| format!("{status} {error}: {body}"))?;
        answer["data"]["result"].as_array().cloned().ok_or(body)
    }
}

async fn answers(port: u16, path: &str) -> Result<(), String> {
    match get(port, path).await? {
        (200, _) => Ok(()),
        (status, body) => Err(format!("{status} {body}")),
    }
}
