//! A plan that came from a namespace of a cluster: what it may do, whose it is, and where it acts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod rig;

use mainstay_core::catalogue::{KINDS, Kind, Scope};
use mainstay_core::id::{Origin, PlanName};
use mainstay_core::plan::{self, Plan, confined};
use mainstay_core::state::lease::Holder;
use mainstay_core::{Actor, Command, Identity, Reply, RunId, State, WallTime, bounds, preview};

/// A plan of one step, as an object of namespace `shop` in cluster `prod`.
fn plan(step: &str) -> Plan {
    let steps = format!("[{{name: a, {step}}}]");
    let text = format!("apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{name: renew}}\nspec: {{steps: {steps}}}\n");
    let parsed = plan::parse(&text).unwrap_or_else(|error| panic!("{step}: {error}"));
    confined::of_object(parsed, Origin { cluster: "prod", namespace: "shop" }).unwrap()
}

fn said(step: &str) -> String {
    confined::breaches(&plan(step)).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn its_name_says_where_it_came_from() {
    let name: PlanName = "prod/shop/renew".parse().unwrap();
    assert_eq!(name.origin(), Some(Origin { cluster: "prod", namespace: "shop" }));
    assert_eq!("renew".parse::<PlanName>().unwrap().origin(), None);
    let longest = ["a"; 3].map(|part| part.repeat(63)).join("/");
    assert!(longest.parse::<PlanName>().is_ok());
    for wrong in
        ["prod/renew", "prod/shop/renew/x", "/shop/renew", "prod//renew", "prod/shop/", "Prod/shop/renew", "prod/shop/re new", "prod/../renew"]
    {
        assert!(wrong.parse::<PlanName>().is_err(), "{wrong}");
    }
    let run: mainstay_core::RunId = "prod/shop/renew-12".parse().unwrap();
    assert_eq!((run.plan.origin().is_some(), run.number, run.to_string()), (true, 12, "prod/shop/renew-12".to_owned()));
    // Nobody writes such a name into a plan.
    let text = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {name: prod/shop/renew}\nspec: {steps: [{name: a, uses: wait, with: {for: 1s}}]}\n";
    assert!(plan::parse(text).unwrap_err().to_string().contains("is not a plan name"));
    assert!(confined::of_object(plan("uses: approval"), Origin { cluster: "prod", namespace: "sh/op" }).is_err());
}

#[test]
fn it_does_something_to_its_own_namespace() {
    for step in [
        "uses: kube.workloads, with: {namespaces: [shop]}",
        "uses: kube.events, with: {namespaces: [shop, shop]}",
        "uses: kube.certificates, with: {namespaces: [shop], serviceAccount: other}",
        "uses: kube.wait, with: {kind: Pod, namespace: shop, name: web, until: object != null}",
        "uses: kube.restart, with: {namespace: shop, name: \"${{ inputs.x }}\"}",
        "uses: kube.scale, with: {namespace: shop, name: web, replicas: 1}, lease: prod/shop/web",
        "uses: kube.switch, with: {namespace: shop, names: [web], to: web-green}",
        "uses: kube.watch, with: {namespace: shop, gates: [{object: {kind: Pod, name: x, that: object != null}}, {logErrors: {selector: a=b}}]}",
        "uses: kube.delete, with: {kind: ConfigMap, namespace: shop, name: x}",
        "uses: kube.apply, with: {object: {apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: shop}}}",
        "uses: kube.exec, acceptIrreversible: false, with: {namespace: shop, pod: x, command: [/bin/true]}, undo: {uses: kube.restart, with: {namespace: shop, name: x}}",
        "uses: approval",
        "uses: approval, gates: [{lease: {name: deploy/other}}, {health: {plan: daily, maxAge: 1d}}, approval: {}]",
    ] {
        let step = step.replace(", acceptIrreversible: false", "").replace(", approval: {}]", "]").replace("${{ inputs.x }}", "x");
        assert_eq!(said(&step), "", "{step}");
    }
}

#[test]
fn it_does_nothing_to_anything_else() {
    for (step, field, words) in [
        ("uses: kube.workloads", "spec.steps[0].with.namespaces", "has to be `[shop]`"),
        ("uses: kube.workloads, with: {namespaces: []}", "with.namespaces", "has to be `[shop]`"),
        ("uses: kube.workloads, with: {namespaces: [shop, other]}", "with.namespaces", "has to be `[shop]`"),
        ("uses: kube.workloads, with: {namespaces: [\"shop*\"]}", "with.namespaces", "has to be `[shop]`"),
        ("uses: kube.services, with: {namespaces: [\"*\"]}", "with.namespaces", "has to be `[shop]`"),
        ("uses: kube.cronjobs, with: {excludeNamespaces: [other]}", "with.namespaces", "has to be `[shop]`"),
        ("uses: kube.events, with: {namespaces: [other]}", "with.namespaces", "has to be `[shop]`"),
        ("uses: kube.certificates, with: {names: [x]}", "with.namespaces", "has to be `[shop]`"),
        ("uses: kube.restart, with: {namespace: other, name: web}", "spec.steps[0].with.namespace", "acts in that namespace of cluster prod only"),
        ("uses: kube.scale, with: {namespace: Shop, name: web, replicas: 1}", "with.namespace", "has to be `shop`"),
        (
            "uses: kube.watch, with: {namespace: shop, gates: [{logErrors: {selector: a=b}}, {http: {url: \"http://10.0.0.1/\"}}]}",
            "spec.steps[0].with.gates[1]",
            "has to be `object` or `logErrors`",
        ),
        (
            "uses: kube.watch, with: {namespace: shop, gates: [{prometheus: {connection: p, query: up, above: {critical: 1}}}]}",
            "with.gates[0]",
            "has to be `object` or `logErrors`",
        ),
        ("uses: kube.cronjob.trigger, with: {namespace: other, name: x}", "with.namespace", "has to be `shop`"),
        ("uses: kube.job, with: {namespace: other, name: x, spec: {}}", "with.namespace", "has to be `shop`"),
        ("uses: kube.wait, with: {kind: Node, name: n1, until: object != null}", "with.namespace", "has to be `shop`"),
        ("uses: kube.wait, with: {kind: Pod, namespace: \"${{ 'sh' + 'op' }}\", name: x, until: object != null}", "with.namespace", "written out"),
        ("uses: kube.delete, with: {kind: Namespace, name: other}", "with.namespace", "has to be `shop`"),
        (
            "uses: kube.apply, with: {object: {apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: other}}}",
            "object.metadata.namespace",
            "has to be `shop`",
        ),
        (
            "uses: kube.apply, with: {object: {apiVersion: v1, kind: Namespace, metadata: {name: shop}}}",
            "object.metadata.namespace",
            "has to be `shop`",
        ),
        (
            "uses: kube.apply, with: {object: {apiVersion: v1, kind: ConfigMap, metadata: {name: x, namespace: \"${{ 'shop' }}\"}}}",
            "object.metadata.namespace",
            "written out",
        ),
        ("uses: kube.exec, with: {namespace: other, pod: x, command: [/bin/true]}, acceptIrreversible: true", "with.namespace", "has to be `shop`"),
        (
            "uses: kube.job, with: {namespace: shop, name: x, spec: {}}, undo: {uses: kube.restart, with: {namespace: other, name: x}}",
            "spec.steps[0].undo.with.namespace",
            "has to be `shop`",
        ),
        (
            "uses: kube.job, with: {namespace: shop, name: x, spec: {}}, undo: {uses: node.exec, with: {command: [/bin/true]}}",
            "spec.steps[0].undo.uses",
            "node.exec is no kind for it",
        ),
        ("uses: approval, lease: deploy/shop", "spec.steps[0].lease", "name it prod/shop/…"),
        ("uses: approval, lease: prod/shop2/x", "spec.steps[0].lease", "name it prod/shop/…"),
        ("uses: approval, lease: prod/shop", "spec.steps[0].lease", "name it prod/shop/…"),
    ] {
        let said = said(step);
        assert!(said.contains(field) && said.contains(words) && said.lines().count() == 1, "{step}: {said}");
    }
    let whole = plan("uses: kube.workloads, with: {namespaces: [shop]}");
    let with_strategy = Plan { strategy: Some(plan::Strategy::default()), ..whole };
    assert!(confined::breaches(&with_strategy)[0].to_string().starts_with("spec.strategy: is about nodes"));
}

/// Of each kind of the catalogue it is known by what it keeps to a namespace, or it is refused.
#[test]
fn every_kind_is_judged() {
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for kind in KINDS {
        let mut whole = plan("uses: approval");
        whole.steps[0].uses = kind.name.to_owned();
        let breaches = confined::breaches(&whole);
        if breaches.iter().any(|breach| breach.field.ends_with(".uses")) {
            refused.push(kind.name);
        } else {
            // Without a word on namespaces, only what is about nothing is good.
            assert!(kind.name == "approval" || breaches.len() == 1, "{}: {breaches:?}", kind.name);
            assert!(kind.scope == Scope::Cluster || kind.name == "approval", "{}", kind.name);
            taken.push(kind.name);
        }
    }
    // What is about nodes is about no namespace.
    let is_of_nodes = |kind: &&Kind| kind.scope == Scope::Node || kind.name == "kube.drainable";
    let of_nodes: Vec<&str> = KINDS.iter().filter(is_of_nodes).map(|kind| kind.name).collect();
    let of_a_cluster = |name: &&&str| (name.starts_with("kube.") || name.starts_with("helm.")) && !of_nodes.contains(*name);
    assert_eq!(taken.iter().filter(|name| !of_a_cluster(name)).collect::<Vec<_>>(), [&"approval"], "{taken:?}");
    assert_eq!(refused.iter().filter(of_a_cluster).count(), 0, "{refused:?}");
    assert_eq!(confined::kinds().map(|kind| kind.name).collect::<Vec<_>>(), taken);
}

/// Two clusters, each with two agents of which `r1` acts.
fn mesh() -> rig::Rig {
    let mut rig = rig::Rig::new();
    for cluster in ["prod", "test"] {
        for id in ["r1", "r2"] {
            rig.connect(&format!("{cluster}/agent/{id}"), &format!("{cluster}-{id}"), &["kube.workloads"]);
        }
        let acts = Holder { identity: rig::identity(&format!("cluster/{cluster}/agent/r1")), ..rig::holder("x", "p1") };
        assert!(matches!(rig.acquire(&format!("agent/{cluster}"), &acts, false), Reply::Granted(_)));
    }
    rig
}

fn apply(plan: &Plan) -> Command {
    Command::ApplyPlan { plan: Box::new(plan.clone()), bundled: false }
}

fn refused(reply: &Reply) -> String {
    match reply {
        Reply::Refused(refusal) => refusal.to_string(),
        other => panic!("{other:?}"),
    }
}

const GOOD: &str = "uses: kube.workloads, with: {namespaces: [shop]}";
const R1: &str = "cluster/prod/agent/r1";

#[test]
fn the_agent_that_acts_applies_it_and_nobody_else() {
    let (mut rig, good) = (mesh(), plan(GOOD));
    for (who, words) in [
        ("operator/ana", "change MaintenancePlan renew in namespace shop of cluster prod"),
        ("cluster/prod/agent/r2", "it does not hold the lease agent/prod"),
        ("cluster/test/agent/r1", "speaks for another cluster"),
        ("cluster/prod/node/n1", "is no agent of cluster prod"),
    ] {
        let reply = rig.by(who, apply(&good));
        assert!(refused(&reply).contains(words), "{who}: {reply:?}");
    }
    let breach = plan("uses: kube.workloads, with: {namespaces: [other]}");
    assert!(refused(&rig.by(R1, apply(&breach))).contains("spec.steps[0].with.namespaces: has to be `[shop]`"));
    let operators = plan::parse(&good.source).unwrap();
    assert!(refused(&rig.by(R1, apply(&operators))).contains("only plans of its namespaces"));
    assert!(matches!(rig.by(R1, apply(&good)), Reply::Applied { revision: 1, changed: true, .. }));
    assert!(matches!(rig.by(R1, apply(&good)), Reply::Applied { revision: 1, changed: false, .. }));
    // An operator's plan of the same last name is another one.
    assert!(matches!(rig.operator(apply(&operators)), Reply::Applied { revision: 1, changed: true, .. }));
    for (who, plan, words) in
        [("cluster/test/agent/r1", "prod/shop/renew", "speaks for another cluster"), (R1, "renew", "only plans of its namespaces")]
    {
        let plan: PlanName = plan.parse().unwrap();
        for command in [Command::start(plan.clone()), Command::RemovePlan { plan }] {
            assert!(refused(&rig.by(who, command.clone())).contains(words), "{who}: {command}");
        }
    }
    assert!(matches!(rig.by(R1, Command::start(good.name.clone())), Reply::Started(_)));
    let aborted = Command::AbortRun { run: "prod/shop/renew-1".parse().unwrap(), reason: String::new() };
    assert_eq!(rig.operator(aborted), Reply::Done, "an operator has the mesh in hand");
}

fn asked_by(object: &str) -> Command {
    let Command::StartRun { plan, revision, inputs, connections, without_calendar, .. } = Command::start("prod/shop/renew".parse().unwrap()) else {
        panic!("it starts a run")
    };
    Command::StartRun { plan, revision, inputs, connections, without_calendar, object: Some(object.to_owned()) }
}

#[test]
fn an_object_that_asks_again_has_the_run_that_it_has() {
    let mut rig = mesh();
    rig.by(R1, apply(&plan(GOOD)));
    let started = |number: u64| Reply::Started(RunId { plan: "prod/shop/renew".parse().unwrap(), number });
    assert_eq!(rig.by(R1, asked_by("one")), started(1));
    assert_eq!(rig.by(R1, asked_by("one")), started(1), "it was asked for once");
    assert_eq!(rig.by(R1, asked_by("two")), started(2), "another object under the name asks for another");
    assert_eq!(rig.state.runs[&"prod/shop/renew-1".parse::<RunId>().unwrap()].object.as_deref(), Some("one"));
    // Also when it has ended, when there is no room for another, and when another replica asks.
    for number in [1, 2] {
        let run = format!("prod/shop/renew-{number}").parse().unwrap();
        assert_eq!(rig.operator(Command::AbortRun { run, reason: String::new() }), Reply::Done);
    }
    rig.settle();
    rig.check_every = 1_000;
    for _ in 0..bounds::NAMESPACE_RUNS_OPEN {
        rig.start("prod/shop/renew");
    }
    assert_eq!(rig.by(R1, asked_by("one")), started(1));
    assert!(refused(&rig.by(R1, asked_by("three"))).contains("open runs of one namespace"));
    // Nobody else asks in an object's name, and none asks for an operator's plan.
    assert!(refused(&rig.by("cluster/test/agent/r1", asked_by("one"))).contains("speaks for another cluster"));
    let operators = plan::parse(&plan(GOOD).source).unwrap();
    assert!(matches!(rig.operator(apply(&operators)), Reply::Applied { .. }));
    let Command::StartRun { revision, inputs, connections, without_calendar, object, .. } = asked_by("one") else { panic!("it starts a run") };
    let theirs = Command::StartRun { plan: operators.name, revision, inputs, connections, without_calendar, object };
    assert!(refused(&rig.operator(theirs.clone())).contains("came from no cluster"));
    assert!(refused(&rig.by(R1, asked_by(""))).contains("1 to 63 characters"));
    assert!(at_level(4).too_early(&theirs).is_some_and(|refusal| refusal.to_string().contains("needs level 5")));
}

#[test]
fn it_acts_in_its_own_cluster() {
    let mut rig = mesh();
    rig.by(R1, apply(&plan(GOOD)));
    let by = Actor::Identity(rig::identity("operator/ana"));
    let looks = preview::Looks {
        by: &by,
        wall: WallTime(0),
        without_calendar: None,
        known: mainstay_core::fact::Known { clusters: &Default::default(), now: mainstay_core::MeshTime(0) },
    };
    let seen = preview::preview(&rig.state, &plan(GOOD), &Default::default(), looks).unwrap();
    assert_eq!(seen.steps[0].targets.iter().map(ToString::to_string).collect::<Vec<_>>(), ["cluster:prod"], "an operator sees what it would do");
    let run = rig.start("prod/shop/renew");
    let offered: Vec<String> = rig
        .settle()
        .into_iter()
        .filter_map(|command| if let Command::OfferAttempt { agent, .. } = command { Some(agent.to_string()) } else { None })
        .collect();
    assert_eq!(offered, ["prod/agent/r1"]);
    let targets: Vec<String> = rig.state.runs[&run].work.values().flat_map(|targets| targets.keys().map(ToString::to_string)).collect();
    assert_eq!(targets, ["cluster:prod"], "there are two clusters");
}

#[test]
fn one_namespace_takes_no_more_than_its_share() {
    let mut rig = mesh();
    rig.check_every = 1_000;
    let named = |number: usize, namespace: &'static str| {
        let whole = plan::parse(&plan(GOOD).source.replace("renew", &format!("p{number}")).replace("[shop]", &format!("[{namespace}]"))).unwrap();
        confined::of_object(whole, Origin { cluster: "prod", namespace }).unwrap()
    };
    for number in 0..bounds::NAMESPACE_PLANS {
        assert!(matches!(rig.by(R1, apply(&named(number, "shop"))), Reply::Applied { .. }));
    }
    let one_more = named(bounds::NAMESPACE_PLANS, "shop");
    assert!(refused(&rig.by(R1, apply(&one_more))).contains("plans of one namespace"));
    assert!(matches!(rig.by(R1, apply(&named(0, "other"))), Reply::Applied { .. }));
    assert_eq!(rig.by(R1, Command::RemovePlan { plan: named(0, "shop").name }), Reply::Done);
    assert!(!rig.state.plans.contains_key(&named(0, "shop").name), "of what never ran nothing stays");
    assert!(matches!(rig.by(R1, apply(&one_more)), Reply::Applied { .. }));
    for _ in 0..bounds::NAMESPACE_RUNS_OPEN {
        rig.start("prod/shop/p1");
    }
    let reply = rig.try_start("prod/shop/p2", Default::default());
    assert!(refused(&reply).contains("open runs of one namespace"), "{reply:?}");
    rig.start("prod/other/p0");
}

fn at_level(level: u32) -> State {
    let mut state = State::default();
    state.feature_level = level;
    state
}

/// An older member could not read such a name, and would stop at the entry.
#[test]
fn its_name_gets_into_no_log_that_an_older_member_reads() {
    let older = at_level(4);
    let (plan, run): (PlanName, RunId) = ("prod/shop/renew".parse().unwrap(), "prod/shop/renew-1".parse().unwrap());
    let acquire = Command::AcquireLease {
        name: rig::lease("deploy/shop"),
        spec: None,
        holder: Holder { identity: Identity::Run(run.clone()), ..rig::holder("x", "p") },
        wait: false,
    };
    for command in [
        apply(&self::plan(GOOD)),
        Command::RemovePlan { plan: plan.clone() },
        Command::start(plan.clone()),
        Command::SuspendPlan { plan: plan.clone(), reason: String::new() },
        Command::ResumePlan { plan },
        Command::AbortRun { run: run.clone(), reason: String::new() },
        Command::PauseRun { run: run.clone(), reason: String::new() },
        Command::ResumeRun { run: run.clone() },
        Command::UndoRun { run: run.clone(), reason: String::new() },
        Command::RetryRun { run: run.clone(), step: None, unknown: false },
        Command::BeginUndo { run },
        acquire,
    ] {
        assert!(older.too_early(&command).is_some_and(|refusal| refusal.to_string().contains("needs level 5")), "{command}");
        assert_eq!(at_level(5).too_early(&command), None, "{command}");
    }
    let start = Command::start("renew".parse().unwrap());
    assert_eq!(older.too_early(&start), None);
}
