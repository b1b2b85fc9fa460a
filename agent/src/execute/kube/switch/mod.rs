//! `kube.switch`: leads Services, Ingresses or HTTPRoutes to somebody else, all of them or none; and back.
//!
//! ```text
//!  read all ─▶ decide (all may be switched, somebody is ready behind each) ─▶ switch one after another ─▶ endpoints follow ─▶ settle
//!                                                                               └─ one cannot be: those before are switched back
//! ```
//! HTTPRoutes may be led there in shares: each is watched for a while, and all goes back when a gate has failed.
//! A replica that takes over finds on each object whether it has been switched, and goes on with the others.

mod decide;

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_core::Millis;
use mainstay_core::report::{Check, Report, Verdict};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use self::decide::{Behind, Next, Wanted};
use super::super::params::{self, Span};
use super::super::watch::Watch;
use super::super::{Context, Ended, OutputLine, StepError, Stream, wording};
use super::live::{NAMES_MAX, instance, service};
use super::way::{Kind, Way};
use super::work::Work;
use super::{acting, behind};
use crate::kube::account::Right;
use crate::kube::ask::Patch;
use crate::kube::resource::Resource;
use crate::kube::{Cluster, ClusterError, Selected, escaped};

const KIND: &str = "kube.switch";
/// How often an object is read again that somebody else changes all the time.
const TRIES: usize = 10;
/// How often endpoints are looked at until they have followed.
const EVERY: Duration = Duration::from_millis(200);
/// Shares of one step.
const SHARES_MAX: usize = 20;
/// For switching back what a step that gives up has switched.
const PUT_BACK: Duration = Duration::from_secs(20);
/// The same where nobody waits for that: an API server that is away may come back.
const PUT_BACK_PATIENCE: Duration = Duration::from_secs(600);
/// For the API server to answer what is asked before anything is taken back.
const BACK_PATIENCE: Millis = Millis::from_secs(90);
/// Between two tries of that.
const PUT_BACK_EVERY: Duration = Duration::from_secs(1);
const SERVICE_OF_SLICE: &str = "kubernetes.io/service-name";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Params {
    namespace: String,
    #[serde(default = "service")]
    kind: Kind,
    names: Vec<String>,
    #[serde(default = "instance")]
    label: String,
    to: String,
    from: Option<String>,
    seen: Option<String>,
    #[serde(default = "one")]
    ready: usize,
    #[serde(default)]
    allow_empty: bool,
    #[serde(default)]
    shares: Vec<u8>,
    #[serde(default = "one_minute")]
    each: Span,
    #[serde(default)]
    gates: Vec<Map<String, Value>>,
    #[serde(default = "two_seconds")]
    settle: Span,
    #[serde(default = "one_minute")]
    within: Span,
    service_account: Option<String>,
}

fn one() -> usize {
    1
}

fn two_seconds() -> Span {
    Span(Millis::from_secs(2))
}

fn one_minute() -> Span {
    Span(Millis::from_secs(60))
}

/// The objects that are switched as one, and the way to them.
struct Unit {
    cluster: Cluster,
    resource: Resource,
    namespace: String,
    names: Vec<String>,
    wanted: Wanted,
    work: Work,
    /// Pods that must be ready; none where nobody has to be.
    ready: usize,
    settle: Millis,
    shares: Shares,
}

/// The way there in several steps.
struct Shares {
    /// Percent, growing; none where all is led there at once.
    percent: Vec<u8>,
    /// How long each is watched.
    each: Millis,
    watch: Watch,
}

/// Switches, or takes that back.
///
/// # Errors
/// Refused parameters or rights; what somebody else has changed since; nobody who would be ready.
pub async fn execute(with: &Map<String, Value>, context: &Context) -> Result<Report, StepError> {
    let params: Params = params::read(KIND, with)?;
    let watched = params.each.0.0.saturating_mul(params.shares.len() as u64);
    let within = Millis(params.within.0.0.saturating_add(watched));
    // What is taken back is asked for as long as what refuses is asked again.
    let patience = if context.labels.undoes { within.max(BACK_PATIENCE) } else { within };
    // Whoever takes over may find something switched: what is half done is looked at when it is taken back.
    let called_off = || StepError::cancelled(format!("{KIND} was called off before this attempt had switched anything"));
    let unit = tokio::select! {
        biased;
        () = context.cancel.cancelled() => return Err(called_off()),
        unit = tokio::time::timeout(patience.as_duration(), Unit::of(params, context)) => unit.unwrap_or_else(|_| Err(unanswered(patience)))?,
    };
    let ended = tokio::select! {
        biased;
        () = context.cancel.cancelled() => None,
        ended = tokio::time::timeout(within.as_duration(), unit.switch(context)) => Some(ended),
    };
    let (ended, why, report) = match ended {
        Some(Ok(Ok(report))) => return Ok(report),
        Some(Ok(Err(error))) => (error.ended, error.message, error.report),
        Some(Err(_)) => (Ended::Failed, format!("{KIND}: not within {within}"), None),
        // The next process, or another replica, goes on with it.
        None if context.leaving.is_cancelled() => return Err(StepError::cancelled(format!("{KIND}: the agent leaves, and what was switched stays"))),
        None => (Ended::Cancelled, format!("{KIND} was called off"), None),
    };
    let back = unit.put_back(&context.cancel).await;
    Err(StepError { ended, message: format!("{why}{back}"), report })
}

/// An API server that takes in what it is asked and says nothing, or nothing of use.
fn unanswered(within: Millis) -> StepError {
    StepError::failed(format!("{KIND}: the API server has not answered within {within}, or refused each time: this attempt has switched nothing"))
}

impl Unit {
    async fn of(params: Params, context: &Context) -> Result<Unit, StepError> {
        let refused = |why: &str| StepError::refused(format!("{KIND}: {why}"));
        if params.names.is_empty() || params.names.len() > NAMES_MAX {
            return Err(refused(&format!("`names` has {} names, and should have 1 to {NAMES_MAX}", params.names.len())));
        }
        if params.to.is_empty() || params.from.as_deref() == Some(&params.to) {
            return Err(refused("`to` has to name somebody else than `from`"));
        }
        if params.kind != Kind::Service && params.from.as_deref().unwrap_or_default().is_empty() {
            return Err(refused("of an Ingress or an HTTPRoute, `from` has to say which of its backends is led elsewhere"));
        }
        let seen = seen(params.seen.as_deref().unwrap_or_default());
        let seen = seen.ok_or_else(|| refused("`seen` is not what kube.live says: NAME=VERSION, with commas between them"))?;
        if !params.shares.is_empty() {
            if params.kind != Kind::HttpRoute {
                return Err(refused("`shares` are for HTTPRoutes: a Service and an Ingress lead to one at a time"));
            }
            if params.shares.len() > SHARES_MAX
                || !params.shares.is_sorted_by(|one, next| one < next)
                || params.shares.iter().any(|percent| !(1..100).contains(percent))
            {
                return Err(refused(&format!("`shares` should be up to {SHARES_MAX} percentages from 1 to 99, each more than the one before")));
            }
        }
        let work = Work::of(KIND, context)?;
        // What is taken back goes at once, and no gate has a part in it.
        let (percent, gates) = if work.taken_back.is_some() { (Vec::new(), Vec::new()) } else { (params.shares, params.gates) };
        if percent.is_empty() && !gates.is_empty() {
            return Err(refused("`gates` are asked while `shares` are watched, and there are none: after a switch use kube.watch"));
        }
        let watch = Watch::of(KIND, &gates)?;
        let own = super::cluster(KIND, context)?;
        let (api_version, of_kind) = params.kind.api();
        let resource = own.resource(api_version, of_kind).await.map_err(|error| super::failed(KIND, &error))?;
        let cluster = acting::runner(own, &params.namespace, params.service_account.as_deref());
        let mut rights = acting::rights(&resource, &params.namespace, &["get", "patch"]);
        let list = |group, resource| Right { verb: "list", group, resource, namespace: &params.namespace };
        if params.kind == Kind::Service {
            rights.push(list("", "pods"));
        }
        rights.push(list("discovery.k8s.io", "endpointslices"));
        acting::may(KIND, &cluster, &rights).await?;
        watch.can_be_asked(context, &cluster, &params.namespace)?;
        let shares = Shares { percent, each: params.each.0, watch };
        Ok(Unit {
            cluster,
            resource,
            namespace: params.namespace,
            names: params.names,
            wanted: Wanted {
                way: Way { kind: params.kind, label: params.label },
                to: params.to,
                from: params.from,
                seen,
                shares: !shares.percent.is_empty(),
                share: None,
            },
            // To go back, one is enough: what is live may be worse.
            ready: if params.allow_empty {
                0
            } else if work.taken_back.is_some() {
                1
            } else {
                params.ready.max(1)
            },
            work,
            settle: params.settle.0,
            shares,
        })
    }

    fn failed(&self, error: &ClusterError) -> StepError {
        super::failed(KIND, error)
    }

    fn subject(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.namespace, self.resource.kind)
    }

    fn refused(&self, name: &str, why: &str) -> StepError {
        StepError::failed(format!("{KIND}: {}: {why}", self.subject(name)))
    }

    async fn read(&self, name: &str) -> Result<Value, StepError> {
        self.cluster.get(&self.resource.path_of(&self.namespace, name)).await.map_err(|error| self.failed(&error))
    }

    async fn switch(&self, context: &Context) -> Result<Report, StepError> {
        let first = Wanted { share: self.shares.percent.first().copied(), ..self.wanted.clone() };
        // All are judged before any is changed.
        let mut reached = 100;
        for name in &self.names {
            let object = self.read(name).await?;
            reached = reached.min(decide::share_of(&object, &self.work));
            match decide::next(name, &object, &first, &self.work)? {
                Next::Refuse(why) => return Err(self.refused(name, &why)),
                Next::Lead { led, .. } => self.somebody_ready(name, &decide::behind(&self.wanted.way, &object, &led)).await?,
                Next::Mark { .. } | Next::Done { .. } => {}
            }
        }
        // Who takes over watches the share that is reached once more, and none before it.
        for percent in self.shares.percent.iter().copied().filter(|percent| *percent >= reached) {
            self.share(percent, context).await?;
        }
        let mut before = Vec::new();
        for name in &self.names {
            before.push(self.lead(name, &self.wanted).await?);
        }
        let mut checks = Vec::new();
        for (name, before) in self.names.iter().zip(&before) {
            let object = self.followed(name).await?;
            checks.push(Check::stated(KIND, &self.subject(name), Verdict::Ok, self.told(&object, before)));
        }
        tokio::time::sleep(self.settle.as_duration()).await;
        let live = if self.work.taken_back.is_some() { before.first().cloned().unwrap_or_default() } else { self.wanted.to.clone() };
        checks.extend(self.shares.watch.checks(None).into_iter().filter(|_| self.wanted.shares));
        let outputs = json!({ "before": before.first(), "live": live, "switched": before.len() });
        Ok(Report { checks, outputs: outputs.as_object().cloned().unwrap_or_default().into_iter().collect(), ..Report::default() })
    }

    /// Leads a share of the traffic, and watches it.
    async fn share(&self, percent: u8, context: &Context) -> Result<(), StepError> {
        let wanted = Wanted { share: Some(percent), ..self.wanted.clone() };
        for name in &self.names {
            self.lead(name, &wanted).await?;
        }
        let Shares { each, watch, .. } = &self.shares;
        let text = format!("{percent} % lead to {}, watched for {}", self.wanted.to, wording::span(*each));
        context.output.line(OutputLine { stream: Stream::Stdout, at: context.host.wall(), text });
        match tokio::time::timeout(each.as_duration(), watch.until_failed(context, &self.cluster, &self.namespace)).await {
            Ok(broken) => {
                let report = Report { checks: watch.checks(Some(&broken)), ..Report::default() };
                Err(StepError::failed(format!("{KIND}: at {percent} %: {broken}")).with_report(report))
            }
            Err(_) => match watch.unasked() {
                Some(gate) => {
                    let span = wording::span(*each);
                    Err(StepError::failed(format!(
                        "{KIND}: at {percent} %: no probe of the gate {gate} has ended within {span}: nobody knows whether it holds"
                    )))
                }
                None => Ok(()),
            },
        }
    }

    fn told(&self, object: &Value, before: &str) -> String {
        let now = self.wanted.way.in_words(object);
        if self.work.taken_back.is_some() {
            return format!("it leads to {now} again");
        }
        match before {
            "" => format!("it leads to {now}, and led to none of them before"),
            before if before == self.wanted.to => format!("it leads to {now}, as before"),
            before => format!("it leads to {now} in place of {before}"),
        }
    }

    /// Refuses to lead where nobody is.
    async fn somebody_ready(&self, name: &str, behind: &Behind) -> Result<(), StepError> {
        if self.ready == 0 {
            return Ok(());
        }
        let too_few = |who: &str, ready: usize, pods: Option<usize>| {
            let of = pods.map_or_else(String::new, |pods| format!(" of {}", wording::count(pods as u64, "pod", "pods")));
            self.refused(
                name,
                &format!("{who}: {ready}{of} ready, and {} should be: nothing is led there. Wait for them first, or `allowEmpty: true`", self.ready),
            )
        };
        match behind {
            Behind::Pods(None) => Err(self.refused(name, "it has no selector: its endpoints are somebody else's to say")),
            Behind::Pods(Some(selector)) => {
                let found = behind::of(&self.cluster, &self.namespace, selector).await.map_err(|error| self.failed(&error))?;
                let enough = found.ready.len() >= self.ready;
                if enough { Ok(()) } else { Err(too_few(&format!("pods with {selector}"), found.ready.len(), Some(found.pods.len()))) }
            }
            Behind::Services(services) => {
                for service in services {
                    let ready = self.endpoints(service).await?.len();
                    if ready < self.ready {
                        return Err(too_few(&format!("endpoints of Service {service}"), ready, None));
                    }
                }
                Ok(())
            }
        }
    }

    /// Switches one, and says what it led to before.
    async fn lead(&self, name: &str, wanted: &Wanted) -> Result<String, StepError> {
        let path = self.resource.path_of(&self.namespace, name);
        for _ in 0..TRIES {
            let object = self.read(name).await?;
            let fields = match decide::next(name, &object, wanted, &self.work)? {
                Next::Done { before } => return Ok(before),
                Next::Refuse(why) => return Err(self.refused(name, &why)),
                Next::Lead { fields, .. } | Next::Mark { fields } => fields,
            };
            match self.cluster.patch(&path, Patch::Merge, &fields).await {
                // It is read and decided on again.
                Ok(_) | Err(ClusterError::Conflict { .. }) => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        Err(self.refused(name, &format!("it was changed by somebody else each of {TRIES} times between reading and changing it")))
    }

    /// Waits until the endpoints of a Service are those of the pods that it selects now; another kind has none of its own.
    async fn followed(&self, name: &str) -> Result<Value, StepError> {
        loop {
            let object = self.read(name).await?;
            let selector = super::way::selector(&object).filter(|_| self.wanted.way.kind == Kind::Service);
            let Some(selector) = selector else { return Ok(object) };
            let pods = behind::of(&self.cluster, &self.namespace, &selector).await.map_err(|error| self.failed(&error))?;
            let endpoints = self.endpoints(name).await?;
            // A Service may be told to lead to pods that are not ready.
            let is_led = !endpoints.is_empty() || pods.ready.is_empty();
            if is_led && endpoints.iter().all(|endpoint| pods.pods.contains(endpoint)) {
                return Ok(object);
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn endpoints(&self, service: &str) -> Result<Vec<String>, StepError> {
        let path = format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", escaped(&self.namespace));
        let label = format!("{SERVICE_OF_SLICE}={service}");
        let slices: Vec<Value> =
            self.cluster.list(&path, Selected { labels: Some(&label), ..Selected::default() }).await.map_err(|error| self.failed(&error))?;
        Ok(decide::ready_endpoints(&slices))
    }

    /// Switches back what a step has switched that gives up, and says what came of it. An undo leaves what it has put back.
    async fn put_back(&self, cancel: &CancellationToken) -> String {
        if self.work.taken_back.is_some() {
            return String::new();
        }
        let (mut back, mut left) = (0, Vec::new());
        let all = async {
            for name in &self.names {
                match self.put_back_one(name).await {
                    Ok(was) => back += usize::from(was),
                    Err(why) => left.push(format!("{} stays as it is: {why}", self.subject(name))),
                }
            }
        };
        // Whoever calls a step off, or lets its agent go, waits for its end; what is half done then is looked at by the undo.
        let enough = async {
            if tokio::time::timeout(PUT_BACK_PATIENCE, cancel.cancelled()).await.is_ok() {
                tokio::time::sleep(PUT_BACK).await;
            }
        };
        let in_time = tokio::select! {
            () = all => true,
            () = enough => false,
        };
        let mut words = if back > 0 { "; what was switched is switched back".to_owned() } else { String::new() };
        if !in_time {
            left.push("not all could be looked at again: compare what they lead to".to_owned());
        }
        left.iter().for_each(|why| words += &format!("; {why}"));
        words
    }

    /// Whether there was something to put back. An API server that does not answer is asked again until it does.
    async fn put_back_one(&self, name: &str) -> Result<bool, String> {
        let path = self.resource.path_of(&self.namespace, name);
        let mut conflicts = 0;
        while conflicts < TRIES {
            let object: Option<Value> = match self.cluster.find(&path).await {
                Ok(object) => object,
                Err(ClusterError::Failed { .. }) => {
                    tokio::time::sleep(PUT_BACK_EVERY).await;
                    continue;
                }
                Err(error) => return Err(error.to_string()),
            };
            let Some(object) = object else { return Ok(false) };
            let Some(Next::Lead { fields, .. }) = decide::given_up(&object, &self.wanted, &self.work)? else { return Ok(false) };
            match self.cluster.patch(&path, Patch::Merge, &fields).await {
                Ok(_) => return Ok(true),
                Err(ClusterError::Conflict { .. }) => conflicts += 1,
                // What came of it is seen when it is read again.
                Err(ClusterError::Failed { .. }) => tokio::time::sleep(PUT_BACK_EVERY).await,
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(format!("it was changed by somebody else each of {TRIES} times between reading and changing it"))
    }
}

/// By name, the version that was read: `web=123,web-admin=124`.
fn seen(text: &str) -> Option<BTreeMap<String, String>> {
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').map(|(name, version)| (name.to_owned(), version.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_said() {
        assert_eq!(seen(""), Some(BTreeMap::new()));
        assert_eq!(seen("web=12,admin=13"), Some([("admin".to_owned(), "13".to_owned()), ("web".to_owned(), "12".to_owned())].into()));
        assert_eq!(seen("12"), None);
    }
}
