//! Other pods for a workload.

use super::super::{Connections, Effect, Kind, ParamType, Scope, Undo};
use super::kube::{ACCOUNT, FENCED, NAMESPACE, RUNNER};
use super::watch::GATES;
use super::{optional, required};
use crate::catalogue::Together;
use crate::state::enrolment::OperatorRole;
use crate::time::Millis;

pub(super) const ROLLOUT: Kind = Kind {
    name: "kube.rollout",
    summary: "Other pods for a Deployment, StatefulSet or DaemonSet by its own rolling update; put back by itself where it does not come to its end",
    scope: Scope::Cluster,
    effect: Effect::Write,
    idempotent: true,
    started_by: OperatorRole::Operator,
    undo: Undo::Reversible,
    protection: FENCED,
    connection: Connections::None,
    needs: RUNNER,
    params: &[
        NAMESPACE,
        optional("kind", ParamType::OneOf(&["Deployment", "StatefulSet", "DaemonSet"]), "Deployment", "Of the workload"),
        required("name", ParamType::Text, "Of the workload, which has to be there"),
        optional("image", ParamType::Text, "", "Of its only container, or of `container`"),
        optional("container", ParamType::Text, "the only one", "Whose `image` it is"),
        optional("images", ParamType::Map, "{}", "Images by the names of containers"),
        optional("env", ParamType::Block, "{}", "Variables by the names of containers, to text, a number, true or false; null takes one away"),
        optional("resources", ParamType::Block, "{}", "`requests` and `limits` by the names of containers; what is left out stays"),
        optional("object", ParamType::Block, "", "The whole workload, or the fields of it that are Mainstay's from then on (server-side apply)"),
        optional("takeOver", ParamType::Boolean, "false", "Whether fields of `object` that somebody else has set are set too"),
        optional("within", ParamType::Duration, "10m", "When it is put back because it has not come to its end"),
        optional(
            "patience",
            ParamType::Duration,
            "2m",
            "How long new pods may have a fault that does not go by itself (image, crash loop, no node, quota) before it is put back",
        ),
        optional("gates", GATES, "[]", "What has to hold while it goes; when one has failed, it is put back"),
        optional("watchFor", ParamType::Duration, "0s", "How long the gates go on when all pods are new and available"),
        ACCOUNT,
    ],
    together: &[
        Together::AnyOf(&["image", "images", "env", "resources", "object"]),
        Together::Excludes("object", &["image", "images", "env", "resources"], "the object says all of it"),
        Together::Requires(&["container"], "image"),
        Together::Requires(&["takeOver"], "object"),
    ],
    outputs: &[
        ("changed", "boolean", "Whether anything had to be changed"),
        ("pods", "number", "Pods that are new and available"),
        ("before", "text", "The images that it had, by container: app=shop/web:1"),
        ("images", "text", "The images that it has now"),
    ],
    default_timeout: Millis::from_secs(3_600),
    example: "namespace: shop\nname: web\nimage: shop/web:2\nenv: { app: { LEVEL: info, OLD: null } }\nwithin: 15m",
};

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    fn problems(more: Value) -> Vec<String> {
        let mut with = json!({ "namespace": "shop", "name": "web" });
        for (name, value) in more.as_object().unwrap() {
            with[name] = value.clone();
        }
        super::ROLLOUT.check(with.as_object().unwrap()).into_iter().map(|(_, problem)| problem).collect()
    }

    #[test]
    fn what_makes_no_sense_is_refused_when_a_plan_is_applied() {
        assert_eq!(
            problems(json!({ "image": "shop/web:2", "container": "app", "gates": [{ "http": { "url": "http://web/" } }] })),
            Vec::<String>::new()
        );
        for (more, words) in [
            (json!({}), "kube.rollout needs `image`, `images`, `env`, `resources` or `object`"),
            (json!({ "image": "x:1", "object": {} }), "`image` does not go with `object`"),
            (json!({ "env": {}, "container": "app" }), "`container` goes with `image`"),
            (json!({ "image": "x:1", "kind": "Job" }), "should be one of Deployment, StatefulSet, DaemonSet"),
            (json!({ "image": "x:1", "gates": [{ "newSignatures": {} }] }), "cannot be used yet: not until signatures of log messages exist"),
        ] {
            let said = problems(more.clone()).join("\n");
            assert!(said.contains(words), "{more}: {said}");
        }
    }
}
