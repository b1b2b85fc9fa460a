//! What the kubelet of this node says: whether it is well, whether its container runtime answers it, and how full the
//! volumes of its pods are.
//!
//! In: its answers to `/healthz` and `/stats/summary`. Out: checks `kubelet.health`, `runtime.health`, and those of the
//! volumes. What it makes of the runtime it says by the summary: it has the numbers of containers from there, and answers
//! with an error of its own where it gets none.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mainstay_client::files;
use mainstay_core::condition::Answer;
use mainstay_core::report::{Check, Verdict};
use zeroize::Zeroizing;

use super::Params;
use super::volumes::{self, Summary};
use crate::execute::settings::Kubelet;
use crate::execute::{Context, http, trust, wording};

/// A kubelet answers from what it has measured lately.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of its answer: a node with a thousand pods has a few.
const BODY_BYTES: usize = 16 << 20;
/// Of the token's file.
const TOKEN_BYTES: u64 = 64 << 10;
/// Of what it says of a fault, characters.
const WORDS: usize = 240;
const HEALTH: &str = "kubelet.health";
const RUNTIME: &str = "runtime.health";
const RIGHTS: &str = "the node agent's ServiceAccount needs the rights to get nodes/healthz and nodes/stats, and its pod the way to the kubelet";
const LOOK: &str = "on the node: journalctl -u kubelet, and crictl info for its runtime";

/// Why there is no answer that says something.
#[derive(Debug, PartialEq, Eq)]
enum Silence {
    /// Nobody listens there.
    Closed(String),
    /// It answers that it cannot.
    Fault(String),
    /// It was not asked, did not answer in time, or does not tell us.
    Unknown(String),
}

/// Nothing where the agent was told of no kubelet.
pub(super) async fn checks(params: &Params, context: &Context) -> Vec<Check> {
    let Some(kubelet) = &context.settings.kubelet else { return Vec::new() };
    let (health, summary) = match Caller::new(kubelet) {
        Ok(caller) => tokio::join!(caller.get("/healthz", context), caller.get("/stats/summary", context)),
        Err(why) => (Err(Silence::Unknown(why.clone())), Err(Silence::Unknown(why))),
    };
    let summary = summary.and_then(|body| serde_json::from_slice(&body).map_err(|error| Silence::Unknown(format!("/stats/summary: {error}"))));
    judge(params, health.map(drop), summary)
}

/// Whether the kubelet is well; nothing where the agent was told of none.
pub async fn health(context: &Context) -> Option<Answer> {
    answer("/healthz", context).await
}

/// Whether it gets something from its runtime. The least that it is asked for that it has from there.
pub async fn runtime(context: &Context) -> Option<Answer> {
    answer("/stats/summary?only_cpu_and_memory=true", context).await
}

async fn answer(path: &str, context: &Context) -> Option<Answer> {
    let caller = Caller::new(context.settings.kubelet.as_ref()?).map_err(Silence::Unknown);
    let answer = match caller {
        Ok(caller) => caller.get(path, context).await,
        Err(silence) => Err(silence),
    };
    Some(match answer {
        Ok(_) => Answer::Well,
        Err(Silence::Closed(_)) => Answer::Closed,
        Err(Silence::Fault(_)) => Answer::Fault,
        Err(Silence::Unknown(_)) => Answer::Silent,
    })
}

fn judge(params: &Params, health: Result<(), Silence>, summary: Result<Summary, Silence>) -> Vec<Check> {
    let untold = |id: &str, why: &str| {
        Check::stated(id, "", Verdict::Unknown, format!("the kubelet was not asked, or does not tell: {why}")).with_hint(RIGHTS)
    };
    let bad = |id: &str, message: String| Check::stated(id, "", Verdict::Critical, message).with_hint(LOOK);
    let closed = matches!(health, Err(Silence::Closed(_)));
    let mut checks = vec![match health {
        Ok(()) => Check::stated(HEALTH, "", Verdict::Ok, "the kubelet says that it is well"),
        Err(Silence::Closed(why)) => bad(HEALTH, format!("the kubelet does not run, or does not listen: {why}")),
        Err(Silence::Fault(why)) => bad(HEALTH, format!("the kubelet says that it is not well: {why}")),
        Err(Silence::Unknown(why)) => untold(HEALTH, &why),
    }];
    match summary {
        Ok(summary) => {
            checks.push(Check::stated(RUNTIME, "", Verdict::Ok, "the kubelet has its containers' numbers from the runtime"));
            checks.extend(volumes::judge(params, &summary));
        }
        // That it is down is said once.
        Err(_) if closed => {}
        Err(Silence::Fault(why)) => checks.push(bad(RUNTIME, format!("the kubelet gets no numbers of containers: {why}"))),
        Err(Silence::Closed(why) | Silence::Unknown(why)) => checks.push(untold(RUNTIME, &why)),
    }
    checks
}

/// Asks one kubelet.
struct Caller<'a> {
    client: reqwest::Client,
    token: Zeroizing<String>,
    kubelet: &'a Kubelet,
}

impl Caller<'_> {
    fn new(kubelet: &Kubelet) -> Result<Caller<'_>, String> {
        let token = files::read_text(&kubelet.token_file, TOKEN_BYTES).map(Zeroizing::new);
        let token = token.map_err(|error| format!("{}: {error}", kubelet.token_file.display()))?;
        // Many kubelets show a certificate that nobody has signed. This one is asked at an address of this very node, and
        // has made the token itself: whoever could stand between the two has both.
        let tls = trust::client(Arc::new(trust::AnyServer::default()))?;
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).redirect(reqwest::redirect::Policy::none()).no_proxy();
        let client = client.build().map_err(|error| trust::root_cause(&error))?;
        Ok(Caller { client, token, kubelet })
    }

    async fn get(&self, path: &str, context: &Context) -> Result<Vec<u8>, Silence> {
        let asked = tokio::time::timeout(PATIENCE, self.answer(path, context)).await;
        asked.unwrap_or_else(|_| Err(Silence::Unknown(format!("{path}: no answer within {} s", PATIENCE.as_secs()))))
    }

    async fn answer(&self, path: &str, context: &Context) -> Result<Vec<u8>, Silence> {
        let url = format!("https://{}{path}", self.kubelet.address);
        let url = reqwest::Url::parse(&url).map_err(|error| Silence::Unknown(format!("{url}: {error}")))?;
        let failed = |error: &reqwest::Error| {
            let words = http::explain(&url, error, context).unwrap_or_else(|refused| refused.to_string());
            if is_refused(error) { Silence::Closed(words) } else { Silence::Unknown(words) }
        };
        let mut response = self.client.get(url.clone()).bearer_auth(self.token.trim()).send().await.map_err(|error| failed(&error))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| failed(&error))? {
            if body.len() + piece.len() > BODY_BYTES {
                return Err(Silence::Unknown(format!("{url}: more than {}", wording::bytes(BODY_BYTES as u64))));
            }
            body.extend_from_slice(&piece);
        }
        if status.is_success() {
            return Ok(body);
        }
        let said: String = String::from_utf8_lossy(&body).split_whitespace().collect::<Vec<_>>().join(" ").chars().take(WORDS).collect();
        let words = format!("{url}: HTTP {}: {said}", status.as_u16());
        Err(if status.is_server_error() { Silence::Fault(words) } else { Silence::Unknown(words) })
    }
}

/// Whether the node itself says that nobody listens there: a way that is closed between the two looks otherwise.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(health: Result<(), Silence>, summary: Result<Summary, Silence>) -> Vec<(String, Verdict, String)> {
        let checks = judge(&Params::default(), health, summary);
        checks.into_iter().filter(|check| check.id != "volume.used").map(|check| (check.id, check.verdict, check.message)).collect()
    }

    fn stated(id: &str, verdict: Verdict, message: &str) -> (String, Verdict, String) {
        (id.to_owned(), verdict, message.to_owned())
    }

    #[test]
    fn each_silence_is_told_for_what_it_is() {
        let why = || "https://10.0.0.1:10250: why".to_owned();
        let well = stated(HEALTH, Verdict::Ok, "the kubelet says that it is well");
        let numbers = stated(RUNTIME, Verdict::Ok, "the kubelet has its containers' numbers from the runtime");
        assert_eq!(told(Ok(()), Ok(Summary::default())), [well.clone(), numbers.clone()]);
        let closed = stated(HEALTH, Verdict::Critical, "the kubelet does not run, or does not listen: https://10.0.0.1:10250: why");
        assert_eq!(told(Err(Silence::Closed(why())), Err(Silence::Closed(why()))), [closed], "once");
        let ill = stated(HEALTH, Verdict::Critical, "the kubelet says that it is not well: https://10.0.0.1:10250: why");
        assert_eq!(told(Err(Silence::Fault(why())), Ok(Summary::default())), [ill, numbers]);
        let none = stated(RUNTIME, Verdict::Critical, "the kubelet gets no numbers of containers: https://10.0.0.1:10250: why");
        assert_eq!(told(Ok(()), Err(Silence::Fault(why()))), [well.clone(), none]);
        let untold = |id| stated(id, Verdict::Unknown, "the kubelet was not asked, or does not tell: https://10.0.0.1:10250: why");
        assert_eq!(told(Err(Silence::Unknown(why())), Err(Silence::Unknown(why()))), [untold(HEALTH), untold(RUNTIME)]);
        assert_eq!(told(Ok(()), Err(Silence::Unknown(why()))), [well, untold(RUNTIME)]);
    }
}
