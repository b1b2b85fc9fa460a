use serde_json::json;

use super::*;

fn exported(kinds: &[&str]) -> BTreeSet<Kind> {
    kinds.iter().map(|kind| kind.parse().unwrap()).collect()
}

fn cleaned_with(kind: &str, object: Value, kinds: &[&str]) -> Result<Value, LeftOut> {
    clean(object, &kind.parse().unwrap(), &exported(kinds))
}

fn cleaned(kind: &str, object: Value) -> Result<Value, LeftOut> {
    cleaned_with(kind, object, &[kind])
}

/// Metadata as an API server has it.
fn meta(name: &str) -> Value {
    json!({
        "name": name, "namespace": "shop", "uid": "6f0c", "resourceVersion": "41", "generation": 3, "selfLink": "/x", "generateName": "x-",
        "creationTimestamp": "2026-11-30T02:00:00Z", "managedFields": [{ "manager": "kubectl" }],
        "labels": { "app": "web" },
        "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "shop", "mainstay.dev/work": "r1/web" },
    })
}

fn kept(name: &str) -> Value {
    json!({ "name": name, "namespace": "shop", "labels": { "app": "web" }, "annotations": { "team": "shop" } })
}

#[test]
fn what_the_cluster_writes_goes_and_what_people_give_stays() {
    let object = json!({ "metadata": meta("settings"), "data": { "a": "1" }, "binaryData": { "b": "AA==" }, "immutable": true });
    let expected = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": kept("settings"), "data": { "a": "1" }, "binaryData": { "b": "AA==" }, "immutable": true });
    assert_eq!(cleaned("v1/ConfigMap", object), Ok(expected.clone()));
    // What is clean stays as it is.
    assert_eq!(cleaned("v1/ConfigMap", expected.clone()), Ok(expected));
    // What is empty then is not there.
    let mut bare = meta("settings");
    bare["annotations"] = json!({ "kubectl.kubernetes.io/last-applied-configuration": "{}" });
    (bare["labels"], bare["finalizers"]) = (json!({}), json!(["foregroundDeletion"]));
    let expected = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "settings", "namespace": "shop" } });
    assert_eq!(cleaned("v1/ConfigMap", json!({ "metadata": bare })), Ok(expected));
}

#[test]
fn a_finalizer_of_somebody_else_stays() {
    let mut claim = meta("data");
    claim["finalizers"] = json!(["kubernetes.io/pvc-protection", "shop.example/archived"]);
    let cleaned = cleaned("v1/PersistentVolumeClaim", json!({ "metadata": claim, "spec": {} })).unwrap();
    assert_eq!(cleaned["metadata"]["finalizers"], json!(["shop.example/archived"]));
}

#[test]
fn what_a_controller_makes_again_is_left_out() {
    let owned = |api: &str, kind: &str, controls: bool| {
        let mut meta = meta("web-1");
        meta["ownerReferences"] = json!([{ "apiVersion": api, "kind": kind, "name": "web", "uid": "1", "controller": controls }]);
        json!({ "metadata": meta, "spec": {} })
    };
    for (of, api, kind) in [
        ("batch/v1/Job", "batch/v1", "CronJob"),
        ("apps/v1/ReplicaSet", "apps/v1", "Deployment"),
        ("discovery.k8s.io/v1/EndpointSlice", "v1", "Service"),
        ("v1/PersistentVolumeClaim", "apps/v1", "StatefulSet"),
    ] {
        assert_eq!(cleaned(of, owned(api, kind, true)), Err(LeftOut::Owned), "{of} of a {kind}");
    }
    // Of an operator's object: it comes again only where that one is in the backup.
    let shop = owned("shop.example/v1", "Shop", true);
    assert_eq!(cleaned_with("apps/v1/Deployment", shop.clone(), &["apps/v1/Deployment", "shop.example/v1beta1/Shop"]), Err(LeftOut::Owned));
    let alone = cleaned("apps/v1/Deployment", shop).unwrap();
    assert_eq!(alone["metadata"], kept("web-1"), "its owner is not named: it would be collected as garbage");
    // Who owns something without making it is not its maker.
    assert_eq!(cleaned("v1/ConfigMap", owned("apps/v1", "Deployment", false)).unwrap()["metadata"], kept("web-1"));
}

#[test]
fn what_comes_by_itself_or_is_of_no_use_elsewhere_is_left_out() {
    let named = |name: &str| json!({ "metadata": meta(name) });
    assert_eq!(cleaned("v1/ConfigMap", named("kube-root-ca.crt")), Err(LeftOut::Given));
    let mut kubernetes = named("kubernetes");
    assert!(cleaned("v1/Service", kubernetes.clone()).is_ok(), "of another namespace");
    kubernetes["metadata"]["namespace"] = json!("default");
    assert_eq!(cleaned("v1/Service", kubernetes), Err(LeftOut::Given));
    let secret = |of: &str| json!({ "metadata": meta("s"), "type": of, "data": { "token": "AA==" } });
    assert_eq!(cleaned("v1/Secret", secret("kubernetes.io/service-account-token")), Err(LeftOut::Token));
    assert_eq!(cleaned("v1/Secret", secret("bootstrap.kubernetes.io/token")), Err(LeftOut::Token));
    assert_eq!(cleaned("v1/Secret", secret("Opaque")).unwrap()["data"]["token"], "AA==");
    let mut ending = named("web");
    ending["metadata"]["deletionTimestamp"] = json!("2026-11-30T02:00:00Z");
    assert_eq!(cleaned("v1/ConfigMap", ending), Err(LeftOut::Ending));
    for (state, is_left_out) in [("Complete", true), ("Failed", true), ("Suspended", false)] {
        let job = json!({ "metadata": meta("once"), "spec": {}, "status": { "conditions": [{ "type": state, "status": "True" }] } });
        assert_eq!(cleaned("batch/v1/Job", job) == Err(LeftOut::Ended), is_left_out, "{state}");
    }
}

#[test]
fn the_account_of_every_namespace_is_kept_where_somebody_gave_it_something() {
    let account = |name: &str, more: Value| {
        let mut object = json!({ "metadata": { "name": name, "namespace": "shop", "uid": "1" }, "secrets": [{ "name": "default-token-x" }] });
        object.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        cleaned("v1/ServiceAccount", object)
    };
    assert_eq!(account("default", json!({})), Err(LeftOut::Given));
    let pulls = json!({ "imagePullSecrets": [{ "name": "registry" }] });
    let kept = account("default", pulls.clone()).unwrap();
    assert_eq!((&kept["imagePullSecrets"], &kept["secrets"]), (&pulls["imagePullSecrets"], &Value::Null));
    assert!(account("shop", json!({})).is_ok());
}

#[test]
fn a_service_loses_what_it_was_given_and_a_headless_one_stays_headless() {
    let service = |spec: Value| cleaned("v1/Service", json!({ "metadata": meta("web"), "spec": spec, "status": { "loadBalancer": {} } })).unwrap();
    let given = service(json!({
        "type": "LoadBalancer", "clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "healthCheckNodePort": 31000, "loadBalancerIP": "192.0.2.1",
        "ports": [{ "name": "http", "port": 80, "targetPort": 8080, "nodePort": 30080 }, { "port": 443 }], "selector": { "app": "web" },
    }));
    assert_eq!(
        given["spec"],
        json!({ "type": "LoadBalancer", "loadBalancerIP": "192.0.2.1", "ports": [{ "name": "http", "port": 80, "targetPort": 8080 }, { "port": 443 }], "selector": { "app": "web" } })
    );
    assert_eq!(given.get("status"), None);
    let headless = json!({ "clusterIP": "None", "clusterIPs": ["None"], "ports": [{ "port": 5432 }] });
    assert_eq!(service(headless.clone())["spec"], headless);
    let external = json!({ "type": "ExternalName", "externalName": "db.example" });
    assert_eq!(service(external.clone())["spec"], external);
}

#[test]
fn a_claim_loses_its_volume() {
    let mut bound = meta("data");
    for name in ["pv.kubernetes.io/bind-completed", "volume.kubernetes.io/selected-node", "volume.kubernetes.io/storage-provisioner"] {
        bound["annotations"][name] = json!("yes");
    }
    let spec = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } }, "storageClassName": "fast" });
    let mut own = spec.clone();
    own["volumeName"] = json!("pvc-6f0c");
    let cleaned = cleaned("v1/PersistentVolumeClaim", json!({ "metadata": bound, "spec": own, "status": { "phase": "Bound" } })).unwrap();
    assert_eq!((&cleaned["metadata"], &cleaned["spec"], cleaned.get("status")), (&kept("data"), &spec, None));
}

#[test]
fn a_workload_keeps_its_template() {
    let mut deployment = meta("web");
    deployment["annotations"]["deployment.kubernetes.io/revision"] = json!("7");
    let template = |more: Value| {
        let mut meta = json!({ "labels": { "app": "web" } });
        meta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "metadata": meta, "spec": { "containers": [{ "name": "app", "image": "shop/web:1" }], "nodeName": "n1" } })
    };
    let object =
        json!({ "metadata": deployment, "spec": { "replicas": 2, "template": template(json!({ "creationTimestamp": null })) }, "status": {} });
    let cleaned_one = cleaned("apps/v1/Deployment", object).unwrap();
    assert_eq!(
        cleaned_one,
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": kept("web"), "spec": { "replicas": 2, "template": template(json!({})) } })
    );

    let claimed = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data", "creationTimestamp": null },
        "spec": { "storageClassName": "fast" }, "status": { "phase": "Pending" } });
    let set = json!({ "metadata": meta("db"), "spec": { "template": template(json!({})), "volumeClaimTemplates": [claimed] } });
    let set = cleaned("apps/v1/StatefulSet", set).unwrap();
    let expected =
        json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "data" }, "spec": { "storageClassName": "fast" } });
    assert_eq!(set["spec"]["volumeClaimTemplates"][0], expected);

    let mut daemons = meta("logs");
    daemons["annotations"]["deprecated.daemonset.template.generation"] = json!("2");
    let daemons = cleaned("apps/v1/DaemonSet", json!({ "metadata": daemons, "spec": { "template": template(json!({})) } })).unwrap();
    assert_eq!(daemons["metadata"], kept("logs"));
}

#[test]
fn a_job_is_not_tied_to_the_pods_that_it_had() {
    let labels = json!({ "app": "web", "controller-uid": "1", "batch.kubernetes.io/controller-uid": "1", "job-name": "a", "batch.kubernetes.io/job-name": "a" });
    let job = |manual: bool| {
        let mut meta = meta("a");
        meta["labels"] = labels.clone();
        let spec = json!({ "manualSelector": manual, "selector": { "matchLabels": { "controller-uid": "1" } },
            "template": { "metadata": { "labels": labels, "creationTimestamp": null }, "spec": {} } });
        cleaned("batch/v1/Job", json!({ "metadata": meta, "spec": spec })).unwrap()
    };
    let own = job(false);
    let expected = json!({ "manualSelector": false, "template": { "metadata": { "labels": { "app": "web" } }, "spec": {} } });
    assert_eq!((&own["metadata"], &own["spec"]), (&kept("a"), &expected));
    let chosen = job(true);
    assert_eq!(chosen["spec"]["selector"]["matchLabels"]["controller-uid"], "1");
    assert_eq!(chosen["spec"]["template"]["metadata"]["labels"], labels);

    let times = json!({ "metadata": meta("night"), "spec": { "schedule": "0 2 * * *", "jobTemplate": {
        "metadata": { "creationTimestamp": null }, "spec": { "template": { "metadata": { "creationTimestamp": null }, "spec": {} } } } },
        "status": { "lastScheduleTime": "2026-11-30T02:00:00Z" } });
    let times = cleaned("batch/v1/CronJob", times).unwrap();
    assert_eq!(
        times["spec"],
        json!({ "schedule": "0 2 * * *", "jobTemplate": { "metadata": {}, "spec": { "template": { "metadata": {}, "spec": {} } } } })
    );
    assert_eq!(times.get("status"), None);
}

#[test]
fn an_object_of_a_kind_that_nobody_knows_keeps_what_it_says() {
    let shop = json!({ "metadata": meta("one"), "spec": { "clusterIP": "mine", "status": "open" }, "status": { "open": true }, "extra": [1] });
    let cleaned = cleaned("shop.example/v1/Shop", shop).unwrap();
    let expected = json!({ "apiVersion": "shop.example/v1", "kind": "Shop", "metadata": kept("one"), "spec": { "clusterIP": "mine", "status": "open" }, "extra": [1] });
    assert_eq!(cleaned, expected);
}

#[test]
fn something_without_the_usual_form_is_no_reason_to_stop() {
    for odd in [json!({}), json!({ "metadata": null }), json!({ "metadata": { "name": "a" }, "spec": [] }), json!({ "spec": { "ports": "no" } })] {
        for kind in ["v1/Service", "v1/PersistentVolumeClaim", "apps/v1/StatefulSet", "batch/v1/Job", "batch/v1/CronJob", "v1/ServiceAccount"] {
            assert!(cleaned(kind, odd.clone()).is_ok(), "{kind} {odd}");
        }
    }
}
