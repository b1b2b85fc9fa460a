//! What becomes of objects, change by change: who looks now and then misses what lasts a second.

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::{Deserializer, Value};

use super::Cluster;
use crate::wait::eventually;

/// Ends with the value.
pub struct Watched {
    kubectl: Child,
    seen: Arc<Mutex<Vec<Value>>>,
}

impl Watched {
    /// Watches these objects; returns once all that are there now have been told.
    pub async fn start(cluster: &Cluster, objects: &[&str]) -> Watched {
        let words = [&["get"], objects].concat();
        let there = cluster.json(&words).expect("they are there")["items"].as_array().map_or(0, Vec::len);
        let mut command = Command::new(cluster.program("kubectl"));
        command.arg("--kubeconfig").arg(cluster.kubeconfig()).args(words).args(["--watch", "-o", "json"]);
        let mut kubectl = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("kubectl starts");
        let output = kubectl.stdout.take().expect("its output");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&seen);
        thread::spawn(move || {
            for object in Deserializer::from_reader(output).into_iter::<Value>().map_while(Result::ok) {
                told.lock().unwrap_or_else(PoisonError::into_inner).push(object);
            }
        });
        let watched = Watched { kubectl, seen };
        eventually("what is there is told", || {
            let told = watched.seen().len();
            std::future::ready(if told >= there { Ok(()) } else { Err(format!("{told} of {there}")) })
        })
        .await;
        watched
    }

    /// Each state of each of them so far, in the order in which they came.
    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}
