//! The agent as a whole: built from its settings, run until it is asked to stop or cannot go on.
//!
//! ```text
//!  lock ─▶ ledger ─▶ listener ─▶ identity (waits for the mesh) ─▶ link ──desired──▶ attempts ──▶ executors
//!                                   └─ renewal                      ◀───output─────────┘         └─ readings ◀─ sampler
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use mainstay_client::clock::Clock;
use mainstay_client::failpoint::Point;
use mainstay_client::identity::{IdentityFiles, keep_reloaded};
use mainstay_client::work;
use mainstay_client::{Mesh, files, random};
use mainstay_core::Identity;
use mainstay_core::id::{LedgerId, SpeaksFor};
use mainstay_core::state::FEATURE_LEVEL;
use mainstay_core::state::agent::Hello;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::artifacts::ArtifactStore;
use crate::attempts::{AttemptMetrics, AttemptSettings, Attempts, Leave, Steps, kinds};
use crate::conditions;
use crate::enrolment::{self, Enrolment, EnrolmentError};
use crate::execute::{Context, OutgoingError, review};
use crate::host::Host;
use crate::http::{Http, ListenError};
use crate::kube::conditions::{self as node_conditions, Conditions, Told};
use crate::kube::kept::Kept;
use crate::kube::mirror;
use crate::kube::view::{self, ViewMetrics};
use crate::kube::vouch::{Accounts, Vouch};
use crate::kube::{Cluster, ClusterError, acting};
use crate::ledger::{Ledger, LedgerError};
use crate::link::{Exchange, Link, LinkError, LinkMetrics};
use crate::observe::pods::Pods;
use crate::observe::readings::{Readings, Sampler};
use crate::settings::Settings;

/// Random bytes of a ledger's id and of a process's incarnation.
const ID_BYTES: usize = 16;

/// Why an agent ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot make the state directory {}: {source}", path.display())]
    StateDir {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Lock(#[from] files::LockError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Enrolment(Box<EnrolmentError>),
    #[error("allow_addresses: {0}")]
    Outgoing(#[from] OutgoingError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("opening the state directory did not come to its end: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

impl From<EnrolmentError> for AgentError {
    fn from(error: EnrolmentError) -> AgentError {
        AgentError::Enrolment(Box::new(error))
    }
}

/// Metrics of every part, and whether the agent is ready.
struct Watched {
    attempts: AttemptMetrics,
    link: LinkMetrics,
    view: ViewMetrics,
    ready: watch::Sender<bool>,
    _http: Option<AbortOnDropHandle<std::convert::Infallible>>,
}

/// Runs an agent of a machine until it has left. Two processes cannot have one state directory.
///
/// # Errors
/// What keeps it from starting or going on, with what to do about it.
pub async fn run(settings: Settings, host: Host, leave: Leave) -> Result<(), AgentError> {
    // Held until this function ends, after everything that uses the directory.
    let (_lock, ledger) = open(&settings.dir).await?;
    let (dir, ledger_id) = (settings.dir.clone(), ledger.id().clone());
    if let Some(homes) = settings.execute.helm.as_ref().map(|helm| helm.dir.clone()) {
        // What an earlier process of this agent has left there is of no attempt any more.
        drop(work::blocking(move || files::remove_tree(Point::AgentDirectory, &homes)).await?);
    }
    let clock: Arc<dyn Clock> = host.clock();
    let watched = watch_over(&settings).await?;
    let identity = Identity::of_agent(&settings.agent);
    let cluster = match &settings.agent.speaks_for {
        SpeaksFor::Node(_) | SpeaksFor::Hands(_) => None,
        SpeaksFor::Cluster(_) => Some(Cluster::of(settings.kubeconfig.as_deref()).await?),
    };
    let kept = cluster.as_ref().zip(settings.identity_secret.clone()).map(|(cluster, secret)| Kept::new(cluster, secret));
    let obtained = async {
        match settings.identity.clone() {
            Some(files) => enrolment::from_files(files, identity.clone(), Arc::clone(&clock)).await,
            None => enrolment_of(&settings, &identity, kept.clone()).obtain(Arc::clone(&clock)).await,
        }
    };
    let identity = tokio::select! {
        biased;
        () = leave.soon.cancelled() => return Ok(()),
        identity = obtained => identity?,
    };
    let mesh = Mesh::new(settings.coordinators.clone(), identity);
    let _renewal = AbortOnDropHandle::new(tokio::spawn(keep_in_force(settings.identity.clone(), settings.dir.clone(), mesh.clone())));

    let _keeping = kept.map(|kept| AbortOnDropHandle::new(tokio::spawn(kept.keep(mesh.clone()))));
    let (exchange, teller) = Exchange::open();
    let told = Told::default();
    let conditions = Conditions {
        enabled: settings.node_conditions,
        told: told.clone(),
        clock: Arc::clone(&clock),
        manager: node_conditions::manager(&mesh.identity().mesh()),
    };
    let _acting = cluster.clone().map(|cluster| {
        let acts = watch::Sender::new(false);
        let mirroring = settings.custom_resources.then(|| {
            let (agent, metrics) = (settings.agent.clone(), watched.view.clone());
            AbortOnDropHandle::new(tokio::spawn(mirror::keep(cluster.clone(), mesh.clone(), agent, acts.subscribe(), metrics)))
        });
        let viewing = tokio::spawn(view::keep(cluster.clone(), acts.subscribe(), teller, conditions, watched.view.clone()));
        let acting = tokio::spawn(acting::keep(mesh.clone(), cluster, settings.agent.clone(), acts));
        (mirroring, [acting, viewing].map(AbortOnDropHandle::new))
    });
    let accounts = Accounts { nodes: settings.vouch_for.iter().cloned().collect(), hands: settings.vouch_for_hands.iter().cloned().collect() };
    let vouch = cluster.clone().map(|cluster| Arc::new(Vouch::new(cluster, accounts)));
    let (host, readings, pods) = (Arc::new(host), Readings::default(), Pods::default());
    let hello = hello(&settings, &ledger, &host);
    let context = Context::new(Arc::clone(&host), readings.clone(), Arc::new(settings.execute), Arc::new(settings.policy))?
        .with_connections(settings.connections)
        .with_cluster(cluster)
        .with_leaving(leave.soon.clone())
        .with_pods(pods.clone());
    // Hands look at nothing.
    let _sampling = (!settings.agent.is_hands()).then(|| {
        let sampler = Sampler::new(host, &context.settings.services, readings, context.prober.clone());
        AbortOnDropHandle::new(tokio::spawn(sampler.run(CancellationToken::new())))
    });
    let (says, conditions) = watch::channel(None);
    let _watching =
        settings.agent.is_node().then(|| AbortOnDropHandle::new(tokio::spawn(conditions::keep(context.clone(), settings.dir.clone(), says))));
    let (link, handle) = Link::new(mesh.clone(), hello, ledger.clone(), clock, watched.link.clone(), exchange, pods);
    let link = link.with_told(told).with_conditions(conditions);
    let link = match vouch {
        Some(vouch) => link.with_reviewer(vouch),
        None => link,
    };
    let _ready = AbortOnDropHandle::new(tokio::spawn(follow(handle.up.clone(), watched.ready)));
    let attempt_settings = AttemptSettings { drain: settings.drain, ..AttemptSettings::default() };
    let depot = Arc::new(mesh.clone());
    let opened = work::blocking(move || {
        ArtifactStore::open(&dir, depot, ledger_id).map_err(|source| AgentError::StateDir { path: dir.join("spool"), source })
    });
    // Hands are asked nothing.
    let link = if settings.agent.is_hands() {
        link
    } else {
        link.with_rights(Arc::new(review::Reviewer { context: Arc::new(context.clone()), cluster: settings.agent.cluster.clone() }))
    };
    let steps = Arc::new(Steps::new(settings.agent, context, mesh.clone(), Arc::new(opened.await??)));
    let attempts = Attempts::new(attempt_settings, ledger, Arc::new(mesh), steps, handle, watched.attempts.clone(), leave);
    tokio::select! {
        biased;
        ended = attempts.run() => ended.map_err(AgentError::from),
        error = link.run() => Err(error.into()),
    }
}

fn enrolment_of(settings: &Settings, identity: &Identity, kept: Option<Kept>) -> Enrolment {
    Enrolment {
        dir: settings.dir.clone(),
        identity: identity.clone(),
        addresses: settings.enrol.clone(),
        token: settings.join_token.clone(),
        pod: settings.pod_token.clone(),
        kept,
    }
}

/// Renews the certificate, or takes what somebody else has renewed.
async fn keep_in_force(files: Option<IdentityFiles>, dir: PathBuf, mesh: Mesh) {
    match files {
        Some(files) => keep_reloaded(files, mesh.identity().clone(), || mesh.reconnect()).await,
        None => enrolment::keep_renewed(dir, mesh).await,
    }
}

/// Takes the directory for this process and opens what is in it.
async fn open(dir: &std::path::Path) -> Result<(files::FileLock, Ledger), AgentError> {
    let dir = dir.to_owned();
    let opened = work::blocking(move || {
        files::create_private_dir(Point::AgentDirectory, &dir).map_err(|source| AgentError::StateDir { path: dir.clone(), source })?;
        let lock = files::lock_exclusive(&dir.join("lock"))?;
        let ledger = Ledger::open(&dir, LedgerId(random::token(ID_BYTES)))?;
        Ok((lock, ledger))
    });
    opened.await?
}

/// Serves metrics and health from here on, also while this agent waits to be enrolled.
async fn watch_over(settings: &Settings) -> Result<Watched, AgentError> {
    let (attempts, link, view) = (AttemptMetrics::default(), LinkMetrics::default(), ViewMetrics::default());
    let mut registry = Registry::default();
    attempts.register(&mut registry);
    link.register(&mut registry);
    view.register(&mut registry);
    registry.register("mainstay_agent_build", "What runs here", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    let (ready, is_ready) = watch::channel(false);
    let http = match settings.http {
        None => None,
        Some(address) => {
            let http = Http::bind(address).await?;
            tracing::info!(address = %http.address().unwrap_or(address), "serving metrics and health");
            let root_path = settings.http_root_path.clone();
            Some(AbortOnDropHandle::new(tokio::spawn(async move { http.serve(&root_path, Arc::new(registry), is_ready).await })))
        }
    };
    Ok(Watched { attempts, link, view, ready, _http: http })
}

/// The listener is there before the link: what it is told follows the link once there is one.
async fn follow(mut from: watch::Receiver<bool>, to: watch::Sender<bool>) {
    loop {
        to.send_replace(*from.borrow_and_update());
        if from.changed().await.is_err() {
            to.send_replace(false);
            return;
        }
    }
}

fn hello(settings: &Settings, ledger: &Ledger, host: &Host) -> Hello {
    let boot_id = host.text("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Hello {
        ledger: ledger.id().clone(),
        incarnation: random::token(ID_BYTES),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        feature_level: FEATURE_LEVEL,
        host: settings.host,
        kinds: kinds(&settings.policy, &settings.agent, settings.execute.helm.is_some()),
        boot_id: boot_id.trim().to_owned(),
        connections: settings.connections.told(),
    }
}
