//! One coordinator from start to end: build, serve, wait, drain.

use std::sync::Arc;

use mainstay_client::clock::Clock;
use mainstay_client::network::Listener;
use mainstay_client::tls::Connections;
use mainstay_client::{files, random};
use mainstay_core::MemberId;
use mainstay_core::plan::PlanError;
use mainstay_core::state::FEATURE_LEVEL;
use mainstay_core::state::member::Member;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{self, ApiError, Credentials, Front, Listeners, Seen};
use crate::artifacts::{ArtifactMetrics, Artifacts, ShelfError};
use crate::ca::{self, Home, HomeError, MemberRecord, RecordError, Renewal, Signing};
use crate::enrolment::{self, EnrolmentError};
use crate::formation::{self, Formation};
use crate::founding::{self, FoundingError};
use crate::http::{self, Metrics};
use crate::leader::{Founding, Leader, LeaderMetrics};
use crate::listen::{ListenError, listen};
use crate::peers::Peers;
use crate::seed::{Seed, SeedError};
use crate::settings::Settings;
use crate::store::{self, Consensus, Disk, StartError, StopReason};
use crate::{plans, watchers};

/// Between two questions who was at a member's address before.
const FORMER_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);
/// Version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why a coordinator did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Founding(#[from] FoundingError),
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    #[error(transparent)]
    Seed(#[from] SeedError),
    #[error(transparent)]
    Store(#[from] StartError),
    #[error("the files of steps: {0}")]
    Artifacts(#[from] ShelfError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("a bundled plan is not sound: {0}")]
    Plans(#[from] PlanError),
    #[error("the member has stopped: {0}")]
    Stopped(StopReason),
    #[error("{doing}: {source}")]
    System {
        doing: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// Runs until it is asked to end, or something makes going on impossible.
pub async fn run(settings: Settings, clock: Arc<dyn Clock>, asked_to_end: impl Future<Output = ()>) -> Result<(), RunError> {
    tokio::pin!(asked_to_end);
    let settings = founding::take(settings, &*clock)?;
    tokio::select! {
        obtained = enrolment::obtain(&settings) => obtained?,
        () = &mut asked_to_end => return Ok(()),
    }
    let home = Arc::new(Home::open(&settings.dir, settings.identity.clone(), clock.clone())?);
    let peers = Peers::new(home.identity().clone());
    let seed = Seed::find(&settings.dir, &home)?;
    let (disk, record) = tokio::select! {
        taken = take_disk(&settings, &home, &peers, seed.is_some()) => taken?,
        () = &mut asked_to_end => return Ok(()),
    };

    let api = listen(&settings.listen, "gRPC").await?;
    let enrolment = listen(&settings.enrol_listen, "enrolment").await?;
    let http = match &settings.http_listen {
        Some(address) => Some(listen(address, "metrics and health").await?),
        None => None,
    };
    let listeners = Listeners { api, enrolment };
    let member = describe(&settings, disk.member(), &listeners)?;
    if let Some(seed) = seed {
        seed.plant(&disk, &member)?;
    }
    let files = disk.dir().join("artifacts");
    let consensus = Consensus::start(disk, store::Settings::default(), Arc::new(peers.clone())).await?;
    tracing::info!(member = %member.id, name = member.name, address = member.address, version = VERSION, "coordinator starts");

    let (leader_metrics, artifact_metrics) = (LeaderMetrics::default(), ArtifactMetrics::default());
    let artifacts = Artifacts::open(&files, settings.artifacts.clone(), consensus.clone(), peers.clone(), clock.clone(), artifact_metrics.clone())?;
    let leader = Leader::new(consensus.clone(), clock.clone(), leader_metrics.clone());
    let connections = Connections::default();
    let founding = Founding { mesh: home.mesh(), admins: settings.admins.clone(), grants: settings.grants.clone(), plans: plans::bundled()? };
    let signing = Signing::new(home.clone(), peers.clone(), consensus.clone());
    let credentials = Credentials::default();
    let front = Arc::new(Front {
        consensus: consensus.clone(),
        leader: leader.clone(),
        home: home.clone(),
        signing: signing.clone(),
        peers: peers.clone(),
        artifacts: artifacts.clone(),
        clock: clock.clone(),
        member: member.clone(),
        seen: Seen::default(),
        snapshots: Arc::new(Semaphore::new(api::SNAPSHOTS)),
        credentials: credentials.clone(),
    });
    let formation = Formation {
        consensus: consensus.clone(),
        peers: peers.clone(),
        home: home.clone(),
        member,
        form: settings.form,
        join: settings.join,
        record,
        dir: settings.dir,
    };

    // The API outlives the rest: others vote through it while leadership moves away.
    let (end, end_of_api) = (CancellationToken::new(), CancellationToken::new());
    let mut aside = JoinSet::new();
    aside.spawn(artifacts.keeper().run(clock, end.clone()));
    aside.spawn(ca::keep_renewed(Renewal { home: home.clone(), peers: peers.clone(), signing }, end.clone()));
    aside.spawn(ca::keep_following(home.clone(), peers.clone(), connections.clone(), consensus.clone(), end.clone()));
    aside.spawn(credentials.keep(leader.clone(), consensus.clone(), peers, end.clone()));
    aside.spawn(api::found_roots(leader.clone(), home.clone(), consensus.clone(), end.clone()));
    aside.spawn(watchers::close_revoked(consensus.clone(), connections.clone(), end.clone()));
    #[cfg(debug_assertions)]
    aside.spawn(watchers::check_invariants(consensus.clone(), end.clone()));
    aside.spawn({
        let end = end.clone();
        async move {
            end.run_until_cancelled(formation.run()).await;
        }
    });
    aside.spawn({
        let end = end.clone();
        async move { leader.run(&founding, end).await }
    });
    if let Some(listener) = http {
        let metrics = Arc::new(Metrics::new(consensus.clone(), &leader_metrics, &artifact_metrics, VERSION));
        let end = end.clone();
        aside.spawn(async move {
            if let Err(error) = http::serve(listener, metrics, end).await {
                tracing::error!(%error, "metrics and health are no longer served");
            }
        });
    }
    let mut serving = tokio::spawn(api::serve(front, home.identity().clone(), connections, listeners, end_of_api.clone()));

    let mut stopped = consensus.stopped();
    let outcome = tokio::select! {
        () = &mut asked_to_end => Ok(()),
        reason = stopped.wait_for(Option::is_some) => Err(RunError::Stopped(reason.ok().and_then(|reason| reason.clone()).unwrap_or(StopReason::Asked))),
        served = &mut serving => Err(ended_early(served)),
        error = first_failure(&mut aside) => Err(error),
    };
    tracing::info!("coordinator ends");
    consensus.shutdown().await;
    end.cancel();
    end_of_api.cancel();
    if !serving.is_finished()
        && let Ok(Err(error)) = serving.await
    {
        tracing::warn!(%error, "the API did not end cleanly");
    }
    aside.abort_all();
    while aside.join_next().await.is_some() {}
    outcome
}

/// Waits until one of the tasks breaks down. That it ends well is all right.
async fn first_failure(tasks: &mut JoinSet<()>) -> RunError {
    loop {
        match tasks.join_next().await {
            Some(Ok(())) => {}
            Some(Err(error)) => return RunError::System { doing: "a part of this member broke down", source: std::io::Error::other(error) },
            None => std::future::pending().await,
        }
    }
}

fn ended_early(served: Result<Result<(), ApiError>, tokio::task::JoinError>) -> RunError {
    match served {
        Ok(Err(error)) => error.into(),
        Ok(Ok(())) => RunError::System { doing: "the API ended by itself", source: std::io::ErrorKind::Other.into() },
        Err(error) => RunError::System { doing: "the API ended by itself", source: std::io::Error::other(error) },
    }
}

/// Takes the disk, under the certificate's id if that id has never had one, else under a new id; and has a
/// certificate for whoever lives there. Whether it has had one is known for sure only here; elsewhere the
/// mesh is asked, or, when this member can sign for itself and forms nothing, a new id is taken in any case. The
/// first member of a recovered mesh has an identity of its own that nobody has had before.
async fn take_disk(settings: &Settings, home: &Home, peers: &Peers, recovers: bool) -> Result<(Disk, MemberRecord), RunError> {
    let mut record = MemberRecord::load(&settings.dir)?;
    let state = settings.dir.join("state");
    let is_first = settings.form.iter().any(|(id, _)| *id == home.member());
    if record.is_none()
        && !recovers
        && let Some(own) = settings.advertise.as_ref().filter(|_| settings.founding.is_some())
    {
        record = in_place_of_former(settings, home, peers, own, is_first).await;
    }
    if record.is_none() && !is_first && !recovers && home.has_issuer() {
        record = Some(MemberRecord { member: home.member(), replaces: Vec::new() });
    }
    if record.is_none() && !recovers {
        let others: Vec<String> = settings.form.iter().filter(|(id, _)| *id != home.member()).map(|(_, address)| address.clone()).collect();
        let asked = [others, settings.join.clone()].concat();
        if formation::is_known_already(peers, &asked, home.member()).await {
            tracing::warn!(member = %home.member(), "the mesh knows this member, and its disk is not here: it becomes another one");
            record = Some(MemberRecord { member: home.member(), replaces: Vec::new() });
        }
    }
    let fresh = if record.is_none() { home.member() } else { MemberId(random::number()) };
    let disk = Disk::open(&state, fresh)?;
    let after = MemberRecord::after(record.clone(), disk.member(), disk.predecessor());
    if record.as_ref() != Some(&after) {
        after.store(&settings.dir)?;
    }
    home.become_member(disk.member())?;
    Ok((disk, after))
}

/// Whom a member with an empty disk follows at its address, which an installer gave to it and to nobody else. One that is
/// to form nothing waits for the mesh's word.
async fn in_place_of_former(settings: &Settings, home: &Home, peers: &Peers, own: &str, is_first: bool) -> Option<MemberRecord> {
    let disk = settings.dir.join("state");
    if files::exists(&disk) {
        return None;
    }
    let mut told = false;
    loop {
        if let Some(replaces) = formation::former_at(peers, &settings.join, own).await {
            tracing::warn!(?replaces, "the mesh is there, and this member's disk is empty: it joins as another one");
            return Some(MemberRecord { member: home.member(), replaces });
        }
        if is_first {
            return None;
        }
        if !told {
            told = true;
            tracing::warn!(
                "this member's disk is empty, and nobody at {} is in a mesh: it waits for them, and forms no mesh. When all disks are lost: `mainstay mesh recover`",
                settings.join.join(", ")
            );
        }
        tokio::time::sleep(FORMER_PAUSE).await;
    }
}

/// How this member describes itself, now that it knows its ports.
fn describe(settings: &Settings, id: MemberId, listeners: &Listeners) -> Result<Member, RunError> {
    let bound =
        |listener: &Listener| listener.local_addr().map_err(|source| RunError::System { doing: "cannot find out where this member listens", source });
    let (api, enrolment) = (bound(&listeners.api)?, bound(&listeners.enrolment)?);
    let address = settings.advertise.clone().unwrap_or_else(|| api.to_string());
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    let enrol_address = settings.enrol_advertise.clone().unwrap_or_else(|| format!("{host}:{}", enrolment.port()));
    let name = if settings.name.is_empty() { id.to_string() } else { settings.name.clone() };
    let (version, node) = (VERSION.to_owned(), settings.node.clone());
    Ok(Member { id, name, address, enrol_address, version, node, feature_level: FEATURE_LEVEL, ..Member::default() })
}
