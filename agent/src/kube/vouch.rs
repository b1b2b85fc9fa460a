//! Whose a pod's token is, asked of the API server for the mesh.
//!
//! In: a token and the audience that it has to be for. Out: what the API server says of it, and whether this agent was
//! told to vouch for its ServiceAccount. What follows from that is the mesh's to decide. The token is not kept.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::future::Future;

use futures::future::BoxFuture;
use mainstay_core::voucher::Reviewed;
use serde::Deserialize;
use serde_json::json;

use super::{Cluster, ClusterError};

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// How a ServiceAccount is called as a user.
const ACCOUNT: &str = "system:serviceaccount:";

/// Reviews tokens for one cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Vouch {
    cluster: Cluster,
    accounts: Accounts,
}

/// `NAMESPACE/ACCOUNT` of pods that it vouches for.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    /// As agents of their nodes.
    pub nodes: BTreeSet<String>,
    /// As hands of their nodes.
    pub hands: BTreeSet<String>,
}

/// Whoever answers for tokens: the seam between the link and the cluster.
pub trait Reviewer: Send + Sync + 'static {
    /// What is known of a token, or why nothing is.
    fn review(&self, token: String, audience: String) -> BoxFuture<'static, Result<Reviewed, String>>;
}

#[derive(Deserialize)]
struct Review {
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    authenticated: bool,
    error: String,
    audiences: Vec<String>,
    user: User,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct User {
    username: String,
    extra: BTreeMap<String, Vec<String>>,
}

impl Vouch {
    #[must_use]
    pub fn new(cluster: Cluster, accounts: Accounts) -> Vouch {
        Vouch { cluster, accounts }
    }

    async fn ask(&self, token: &str, audience: &str) -> Result<Reviewed, ClusterError> {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": { "token": token, "audiences": [audience] },
        });
        let request = http::Request::post(PATH)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|error| self.cluster.told(PATH, kube::Error::HttpError(error)))?;
        let review: Review = self.cluster.client.request(request).await.map_err(|error| self.cluster.told(PATH, error))?;
        Ok(read(review.status, audience, &self.accounts))
    }
}

impl Reviewer for Vouch {
    fn review(&self, token: String, audience: String) -> BoxFuture<'static, Result<Reviewed, String>> {
        let vouch = self.clone();
        let asked: std::pin::Pin<Box<dyn Future<Output = _> + Send>> =
            Box::pin(async move { vouch.ask(&token, &audience).await.map_err(|error| error.to_string()) });
        asked
    }
}

/// A server that knows no audiences would take a token of any: what it names has to be what was asked for.
fn read(status: Status, audience: &str, accounts: &Accounts) -> Reviewed {
    let authenticated = status.authenticated && status.audiences.iter().any(|named| named == audience);
    if !authenticated {
        let why_not = if status.authenticated { "it is for another audience".to_owned() } else { status.error };
        return Reviewed { why_not, ..Reviewed::default() };
    }
    let extra = |name: &str| {
        let values = status.user.extra.get(&format!("authentication.kubernetes.io/{name}"));
        values.and_then(|values| values.first()).cloned().unwrap_or_default()
    };
    let account = status.user.username.strip_prefix(ACCOUNT).and_then(|rest| rest.split_once(':'));
    let (namespace, account) = account.unwrap_or(("", status.user.username.as_str()));
    let own = format!("{namespace}/{account}");
    Reviewed {
        authenticated,
        why_not: String::new(),
        vouched: accounts.nodes.contains(&own),
        vouched_as_hands: accounts.hands.contains(&own),
        namespace: namespace.to_owned(),
        account: account.to_owned(),
        pod: extra("pod-name"),
        pod_uid: extra("pod-uid"),
        node: extra("node-name"),
        node_uid: extra("node-uid"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn status(text: &str) -> Reviewed {
        let review: Review = serde_json::from_str(text).unwrap();
        let only = |account: &str| BTreeSet::from([account.to_owned()]);
        read(review.status, "mainstay/prod", &Accounts { nodes: only("mainstay/node-agent"), hands: only("mainstay/hands") })
    }

    #[test]
    fn what_the_server_says_is_read() {
        let said = r#"{"kind":"TokenReview","status":{"authenticated":true,"audiences":["mainstay/prod"],"user":{
            "username":"system:serviceaccount:mainstay:node-agent","uid":"x","groups":["system:serviceaccounts"],
            "extra":{"authentication.kubernetes.io/node-name":["n1"],"authentication.kubernetes.io/node-uid":["u"],
            "authentication.kubernetes.io/pod-name":["p"],"authentication.kubernetes.io/pod-uid":["q"]}}}}"#;
        let expected = Reviewed {
            authenticated: true,
            why_not: String::new(),
            namespace: "mainstay".into(),
            account: "node-agent".into(),
            pod: "p".into(),
            pod_uid: "q".into(),
            node: "n1".into(),
            node_uid: "u".into(),
            vouched: true,
            vouched_as_hands: false,
        };
        assert_eq!(status(said), expected);
        let hands = status(&said.replace(":node-agent", ":hands"));
        assert_eq!(hands, Reviewed { account: "hands".into(), vouched: false, vouched_as_hands: true, ..expected.clone() });
        assert!(!status(&said.replace(":mainstay:", ":other:")).vouched);
        assert!(!status(&said.replace("\"audiences\":[\"mainstay/prod\"],", "")).authenticated, "a server that knows no audiences");
        let person = status(&said.replace("system:serviceaccount:mainstay:node-agent", "ana"));
        assert!(person.authenticated && !person.vouched && !person.vouched_as_hands && person.namespace.is_empty());
    }

    #[test]
    fn a_token_that_is_not_taken_says_why() {
        let refused = status(r#"{"status":{"user":{},"error":"token is expired"}}"#);
        assert_eq!(refused, Reviewed { why_not: "token is expired".into(), ..Reviewed::default() });
        assert!(!status("{}").authenticated);
    }
}
