//! Real servers of other people, started for a suite: PostgreSQL, Redis, Prometheus with an exporter,
//! Alertmanager, nginx, a registry of images and charts, and S3.
//!
//! In: what a suite wants of each. Out: a running server on free loopback ports, with data that is thrown
//! away, as a user without rights. It ends with its value, and with the suite's process however that ends.
//! `tests/packages` installs what is missing; no server that a package has started is ever used.

mod alertmanager;
pub mod certificates;
mod get;
mod nginx;
mod place;
mod ports;
mod postgres;
mod program;
mod prometheus;
mod redis;
mod registry;
mod relay;
mod s3;
mod upstream;

pub use alertmanager::Alertmanager;
pub use get::get;
pub use nginx::{Nginx, NginxOptions};
pub use place::Place;
pub use ports::free as free_port;
pub use postgres::{Postgres, Transaction};
pub use program::Program;
pub use prometheus::{Exporter, Prometheus};
pub use redis::Redis;
pub use registry::Registry;
pub use relay::Relay;
pub use s3::S3;
pub use upstream::Upstream;

/// Who logs in.
#[derive(Clone)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl Login {
    #[must_use]
    pub fn new(user: &str, password: &str) -> Login {
        Login { user: user.to_owned(), password: password.to_owned() }
    }
}
