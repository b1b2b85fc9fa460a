//! nginx with TLS in front of an application and of Prometheus.
//!
//! Plain and over TLS: `/health` (200, JSON), `/slow` (as slow as the application), `/redirect` (to a cloud's
//! metadata address), `/hop` (to `/redirect`), `/500`. `/private/health` wants a user and a password,
//! `/prometheus/` a token.

use std::fmt::Write;

use rustix::process::Signal;

use super::certificates::Leaf;
use super::place::Place;
use super::{Login, Program, get, ports};

/// What it is told.
pub struct NginxOptions<'a> {
    pub leaf: &'a Leaf,
    /// Port of the application behind `/slow`.
    pub application: u16,
    /// Port of Prometheus, and the token that leads to it.
    pub prometheus: (u16, &'a str),
    /// Who may see `/private/`.
    pub login: &'a Login,
}

pub struct Nginx {
    /// Before its place, which goes with the value: it ends first.
    program: Option<Program>,
    /// Port without TLS.
    pub http: u16,
    /// Port with TLS.
    pub tls: u16,
    place: Place,
}

impl Nginx {
    pub async fn start(options: &NginxOptions<'_>) -> Nginx {
        let mut nginx = Nginx { http: ports::free(), tls: ports::free(), place: Place::new("nginx"), program: None };
        nginx.place.write("nginx.conf", &settings(options, nginx.http, nginx.tls));
        let Login { user, password } = options.login;
        nginx.place.write("users", &format!("{user}:{{PLAIN}}{password}\n"));
        nginx.shows(&options.leaf.chain(), &options.leaf.key).await;
        nginx
    }

    /// Shows this chain from now on.
    pub async fn shows(&mut self, chain: &str, key: &str) {
        self.program = None;
        self.place.write("chain.pem", chain);
        self.place.write("key.pem", key);
        self.go_on().await;
    }

    /// Starts it again.
    pub async fn go_on(&mut self) {
        let prefix = format!("{}/", self.place.path().display());
        let mut command = self.place.command("/usr/sbin/nginx");
        command.args(["-p", &prefix, "-c", "nginx.conf", "-e", "stderr"]);
        let mut program = Program::start("nginx", &self.place, command, Signal::TERM);
        program.ready(|| async { get(self.http, "/health").await.map(|_| ()) }).await;
        self.program = Some(program);
    }

    pub fn stop(&mut self) {
        self.program = None;
    }
}

fn settings(options: &NginxOptions<'_>, http: u16, tls: u16) -> String {
    let mut text = "daemon off;\npid nginx.pid;\nworker_processes 1;\nevents { worker_connections 256; }\nhttp {\n  access_log off;\n".to_owned();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "  {kind}_temp_path {kind};");
    }
    let (application, (prometheus, token)) = (options.application, options.prometheus);
    let _ = write!(
        text,
        r#"  map $http_authorization $has_token {{ default 0; "Bearer {token}" 1; }}
  server {{
    listen 127.0.0.1:{http};
    listen 127.0.0.1:{tls} ssl http2;
    ssl_certificate chain.pem;
    ssl_certificate_key key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    default_type application/json;
    location = /health {{ add_header X-Version 7; return 200 '{{"status":"ok","database":{{"connected":true}}}}'; }}
    location = /500 {{ return 500; }}
    location = /redirect {{ return 302 http://169.254.169.254/latest/meta-data/; }}
    location = /hop {{ return 302 /redirect; }}
    location = /slow {{ proxy_pass http://127.0.0.1:{application}; }}
    location = /private/health {{ auth_basic private; auth_basic_user_file users; proxy_pass http://127.0.0.1:{http}/health; }}
    location /prometheus/ {{ if ($has_token = 0) {{ return 401; }} proxy_pass http://127.0.0.1:{prometheus}/; }}
  }}
}}
"#
    );
    text
}
