//! The custom resources of clusters: who may speak for them, of which namespace, and what they are told.

use mainstay_client::error::CallError;
use mainstay_proto::v1;
use mainstay_proto::v1::objects_event::Event;
use tonic::{Code, Streaming};

use super::harness::{Mesh, eventually};

/// A plan's object that looks at one namespace.
fn source(name: &str, namespace: &str) -> String {
    format!(
        r#"{{"apiVersion":"mainstay.dev/v1alpha1","kind":"MaintenancePlan","metadata":{{"name":"{name}"}},
"spec":{{"inputs":{{"pods":{{"type":"integer","default":1}}}},"steps":[{{"name":"look","uses":"kube.workloads","with":{{"namespaces":["{namespace}"]}}}}]}}}}"#
    )
}

fn apply(namespace: &str, source: String) -> v1::ApplyObjectRequest {
    v1::ApplyObjectRequest { namespace: namespace.into(), source }
}

fn start(plan: &str, object: &str) -> v1::StartObjectRequest {
    v1::StartObjectRequest { namespace: "shop".into(), plan: plan.into(), object: object.into(), ..Default::default() }
}

/// Holds the lease of a cluster's acting agent.
async fn acts(agent: &mainstay_client::Mesh, cluster: &str) {
    let spec = Some(v1::LeaseSpec { slots: 1, ttl_ms: 600_000, kind: v1::LeaseKind::Ttl.into() });
    let ask = v1::AcquireRequest { name: format!("agent/{cluster}"), spec, incarnation: "p".into(), ..Default::default() };
    assert!(!agent.acquire_lease(ask).await.unwrap().token.is_empty());
}

fn code<T: std::fmt::Debug>(answer: Result<T, CallError>) -> Option<Code> {
    answer.unwrap_err().code()
}

/// Everything that is told until this is all.
async fn told(stream: &mut Streaming<v1::ObjectsEvent>) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match stream.message().await.unwrap().unwrap().event.unwrap() {
            Event::Told(_) => return events,
            event => events.push(event),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_agent_that_acts_speaks_for_its_clusters_objects() {
    let mut mesh = Mesh::of(1).await;
    let admin = mesh.operator("ana");
    mesh.ready(&admin).await;
    eventually("the newest feature level", async || (admin.get_status(v1::GetStatusRequest {}).await.ok()?.feature_level >= 5).then_some(())).await;
    let (first, second) = (mesh.as_identity("cluster/prod/agent/r1"), mesh.as_identity("cluster/prod/agent/r2"));
    let other = mesh.as_identity("cluster/test/agent/r1");
    acts(&first, "prod").await;
    acts(&other, "test").await;
    let applied = first.apply_object(apply("shop", source("look", "shop"))).await.unwrap();
    assert_eq!((applied.revision, applied.changed, applied.refusal), (1, true, None));

    // Whoever is no such agent is refused each call, whatever it names.
    for caller in ["operator/ana", "cluster/prod/node/n1", "client/ci", "cluster/prod/worker/1.1"] {
        let caller = mesh.as_identity(caller);
        assert_eq!(code(caller.apply_object(apply("shop", source("look", "shop"))).await), Some(Code::PermissionDenied));
        assert_eq!(code(caller.start_object(start("look", "u1")).await), Some(Code::PermissionDenied));
        let remove = v1::RemoveObjectRequest { namespace: "shop".into(), name: "look".into() };
        assert_eq!(code(caller.remove_object(remove).await), Some(Code::PermissionDenied));
        assert_eq!(code(caller.watch_objects(v1::WatchObjectsRequest {}).await), Some(Code::PermissionDenied));
    }
    // So is the replica that does not act: that is no word on the object.
    assert_eq!(code(second.apply_object(apply("shop", source("look", "shop"))).await), Some(Code::FailedPrecondition));
    assert_eq!(code(second.start_object(start("look", "u1")).await), Some(Code::FailedPrecondition));
    assert_eq!(code(second.watch_objects(v1::WatchObjectsRequest {}).await), Some(Code::FailedPrecondition));
    // An operator neither writes such a plan nor names one like it.
    let as_plan = v1::ApplyPlanRequest { source: source("prod/shop/look", "shop"), dry_run: false };
    assert_eq!(code(admin.apply_plan(as_plan).await), Some(Code::InvalidArgument));

    // What another cluster's agent applies is another plan, and it sees, starts and removes nothing of this one.
    let theirs = other.apply_object(apply("shop", source("look", "shop"))).await.unwrap();
    assert_eq!((theirs.revision, theirs.refusal), (1, None));
    for namespace in ["prod/shop", "../prod/shop", "shop/x", ""] {
        let refusal = other.apply_object(apply(namespace, source("look", "shop"))).await.unwrap().refusal.unwrap();
        assert_eq!(refusal.reason, "Invalid", "{namespace}");
        let started = other.start_object(v1::StartObjectRequest { namespace: namespace.into(), ..start("look", "u1") }).await.unwrap();
        assert_eq!(started.refusal.unwrap().reason, "Invalid", "{namespace}");
    }
    let mut watched = other.watch_objects(v1::WatchObjectsRequest {}).await.unwrap();
    let names = |events: &[Event]| -> Vec<String> {
        let name = |event: &Event| match event {
            Event::Plan(plan) => plan.plan.as_ref().map(|plan| plan.name.clone()).unwrap_or_default(),
            other => format!("{other:?}"),
        };
        events.iter().map(name).collect()
    };
    assert_eq!(names(&told(&mut watched).await), ["test/shop/look"]);

    // A namespace's plan does something to that namespace, and one problem is one problem.
    let refusal = first.apply_object(apply("shop", source("look", "other"))).await.unwrap().refusal.unwrap();
    assert_eq!((refusal.reason.as_str(), refusal.problems[0].field.as_str()), ("Invalid", "spec.steps[0].with.namespaces"), "{refusal:?}");
    assert!(refusal.problems[0].message.contains("has to be `[shop]`"), "{refusal:?}");
    let misspelt = source("look", "shop").replace("\"spec\"", "\"spek\"");
    let refusal = first.apply_object(apply("shop", misspelt)).await.unwrap().refusal.unwrap();
    assert!(refusal.problems.iter().any(|problem| problem.line == 2 && problem.message.contains("spek")), "{refusal:?}");
    mesh.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_starts_one_run_and_what_becomes_of_it_is_told() {
    let mut mesh = Mesh::of(1).await;
    let admin = mesh.operator("ana");
    mesh.ready(&admin).await;
    eventually("the newest feature level", async || (admin.get_status(v1::GetStatusRequest {}).await.ok()?.feature_level >= 5).then_some(())).await;
    let agent = mesh.as_identity("cluster/prod/agent/r1");
    acts(&agent, "prod").await;
    let _link = mesh.linked(&agent, "p").await;
    let mut watched = agent.watch_objects(v1::WatchObjectsRequest {}).await.unwrap();
    assert_eq!(told(&mut watched).await, []);

    let missing = agent.start_object(start("look", "u1")).await.unwrap().refusal.unwrap();
    assert_eq!(missing.reason, "NotFound", "{missing:?}");
    agent.apply_object(apply("shop", source("look", "shop"))).await.unwrap();
    let wrong = v1::StartObjectRequest { inputs: [("pods".to_owned(), "\"x\"".to_owned())].into(), ..start("look", "u1") };
    assert_eq!(agent.start_object(wrong).await.unwrap().refusal.unwrap().reason, "Invalid");
    for _ in 0..2 {
        assert_eq!(agent.start_object(v1::StartObjectRequest { revision: 1, ..start("look", "u1") }).await.unwrap().run, "prod/shop/look-1");
    }
    // The agent does not do that kind, and whoever looks is told.
    let seen = eventually("the run is told, and what it waits for", async || {
        told(&mut watched).await.into_iter().find_map(|event| match event {
            Event::Plan(plan) => plan.runs.first().filter(|run| !run.waits_for.is_empty()).cloned(),
            _ => None,
        })
    })
    .await;
    let run = seen.run.unwrap();
    assert_eq!((run.id.as_str(), seen.object.as_str(), seen.asks, run.ended_unix_ms), ("prod/shop/look-1", "u1", false, 0));
    assert!(seen.waits_for.starts_with("step look"), "{}", seen.waits_for);

    // It is not removed as long as a run of it is open; after that it is, and again.
    let remove = || agent.remove_object(v1::RemoveObjectRequest { namespace: "shop".into(), name: "look".into() });
    assert_eq!(remove().await.unwrap().refusal.unwrap().reason, "Conflict");
    admin.abort_run(v1::AbortRunRequest { run: "prod/shop/look-1".into(), ..Default::default() }).await.unwrap();
    eventually("the run ends, and its plan is removed", async || remove().await.unwrap().refusal.is_none().then_some(())).await;
    assert!(remove().await.unwrap().refusal.is_none());
    let left = eventually("its end is told", async || {
        told(&mut watched).await.into_iter().find_map(|event| match event {
            Event::Plan(plan) if plan.plan.as_ref().is_some_and(|plan| plan.revision == 0) => Some(plan),
            _ => None,
        })
    })
    .await;
    assert!(left.digest.is_empty() && left.runs[0].run.as_ref().unwrap().state() == v1::RunState::Aborted, "{left:?}");

    // Whoever acts no more is told nothing more.
    agent.release_lease(v1::ReleaseRequest { name: "agent/prod".into(), token: String::new(), incarnation: "p".into() }).await.unwrap();
    let last = loop {
        match watched.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ends with a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(last.code(), Code::FailedPrecondition, "{last}");
    mesh.stop_all().await;
}
