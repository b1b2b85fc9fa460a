//! Makes many objects in little time.

use futures::StreamExt;
use mainstay_tests::kubernetes::Cluster;
use reqwest::{Certificate, Client, Identity, StatusCode};
use serde_json::{Value, json};

/// Requests at one time.
const AT_ONCE: usize = 24;

pub struct Api {
    client: Client,
    server: String,
}

impl Api {
    pub fn of(cluster: &Cluster) -> Api {
        mainstay_client::tls::install_provider();
        let settings = cluster.kubectl(&["config", "view", "--raw", "--flatten", "-o", "json"]).expect("settings");
        let settings: Value = serde_json::from_str(&settings).expect("JSON");
        let text = |path: &str| settings.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let pem = |path: &str| {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD.decode(text(path)).expect("base64")
        };
        let own = [pem("/users/0/user/client-certificate-data"), pem("/users/0/user/client-key-data")].concat();
        let ca = Certificate::from_pem(&pem("/clusters/0/cluster/certificate-authority-data")).expect("a certificate");
        let client = Client::builder().tls_certs_only([ca]).identity(Identity::from_pem(&own).expect("an identity"));
        Api { client: client.build().expect("a client"), server: text("/clusters/0/cluster/server") }
    }

    /// Makes all of these, each at its path.
    pub async fn make(&self, objects: impl Iterator<Item = (String, Value)>) {
        let made = futures::stream::iter(objects).map(|(path, object)| async move {
            // A server that is asked too much says so, and a timeout may come after the deed.
            for _ in 0..20 {
                match self.client.post(format!("{}{path}", self.server)).json(&object).send().await {
                    Ok(answer) if answer.status().is_success() || answer.status() == StatusCode::CONFLICT => return None,
                    Ok(answer) => println!("{path}: {}: {}", answer.status(), answer.text().await.unwrap_or_default()),
                    Err(error) => println!("{path}: {error}"),
                }
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            }
            Some(path)
        });
        let missing: Vec<String> = made.buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
        assert!(missing.is_empty(), "not made in 20 tries: {missing:?}");
    }

    pub async fn cordon(&self, node: &str, cordon: bool) {
        let request = self.client.patch(format!("{}/api/v1/nodes/{node}", self.server)).header("content-type", "application/merge-patch+json");
        let answer = request.body(json!({"spec": {"unschedulable": cordon}}).to_string()).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
    }
}
