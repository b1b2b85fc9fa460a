//! How full the volumes of this node's pods are.
//!
//! In: the kubelet's summary. Out: a check for each volume that is nearly full, and one of how full the fullest is.
//! A volume that is a folder of the node's disk is left out: how full that is stands with the disks.

use std::collections::BTreeMap;

use mainstay_core::report::{Check, Thresholds, Verdict};
use serde::Deserialize;

use super::{Params, rounded};
use crate::execute::wording;

/// Volumes that are told one by one, the fullest first.
const FULLEST: usize = 32;

/// The kubelet's `/stats/summary`, as far as it is looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Summary {
    node: NodeStats,
    pods: Vec<PodStats>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStats {
    fs: Filled,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStats {
    pod_ref: Ref,
    volume: Vec<Volume>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Volume {
    name: String,
    pvc_ref: Option<Ref>,
    #[serde(flatten)]
    filled: Filled,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ref {
    namespace: String,
    name: String,
}

/// A file system, as far as it says so.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filled {
    available_bytes: Option<u64>,
    capacity_bytes: Option<u64>,
    inodes: Option<u64>,
    inodes_free: Option<u64>,
}

impl Filled {
    fn is_within(&self, other: &Filled) -> bool {
        (self.capacity_bytes, self.inodes) == (other.capacity_bytes, other.inodes)
    }

    fn used_percent(&self) -> Option<f64> {
        percent(self.capacity_bytes, self.available_bytes)
    }

    fn inodes_used_percent(&self) -> Option<f64> {
        percent(self.inodes, self.inodes_free)
    }
}

fn percent(all: Option<u64>, left: Option<u64>) -> Option<f64> {
    let (all, left) = (all.filter(|all| *all > 0)?, left?);
    Some(all.saturating_sub(left) as f64 / all as f64 * 100.0)
}

pub(super) fn judge(params: &Params, summary: &Summary) -> Vec<Check> {
    // A claim is told once, however many pods have it.
    let mut volumes = BTreeMap::new();
    for pod in &summary.pods {
        for volume in pod.volume.iter().filter(|volume| !volume.filled.is_within(&summary.node.fs)) {
            let subject = match &volume.pvc_ref {
                Some(claim) => format!("{}/PersistentVolumeClaim/{}", claim.namespace, claim.name),
                None => format!("{}/{}/{}", pod.pod_ref.namespace, pod.pod_ref.name, volume.name),
            };
            volumes.insert(subject, volume.filled);
        }
    }
    let mut checks = Vec::new();
    let left = |left: Option<u64>| wording::bytes(left.unwrap_or_default());
    let fullest = near(
        &mut checks,
        "volume.used",
        params.disk.above(80.0, 90.0),
        volumes.iter().filter_map(|(subject, filled)| {
            let used = filled.used_percent()?;
            let message = format!("{} full, {} of {} left", wording::percent(used), left(filled.available_bytes), left(filled.capacity_bytes));
            Some((used, subject, message))
        }),
    );
    near(
        &mut checks,
        "volume.inodes",
        params.inodes.above(80.0, 90.0),
        volumes.iter().filter_map(|(subject, filled)| {
            let used = filled.inodes_used_percent()?;
            let inodes = wording::count(filled.inodes_free.unwrap_or_default(), "inode", "inodes");
            Some((used, subject, format!("{} of inodes used, {inodes} left", wording::percent(used))))
        }),
    );
    let seen = wording::count(volumes.len() as u64, "volume of pods is", "volumes of pods are");
    let message = match fullest {
        Some((used, subject)) => format!("{seen} no folder of the node's disk; the fullest is {subject}, {} full", wording::percent(used)),
        None => format!("{seen} no folder of the node's disk"),
    };
    checks.push(Check::stated("volume.used", "", Verdict::Ok, message));
    checks
}

/// Adds a check for each that is over a threshold, and says which is the fullest.
fn near<'a>(
    checks: &mut Vec<Check>,
    id: &'static str,
    thresholds: Thresholds,
    volumes: impl Iterator<Item = (f64, &'a String, String)>,
) -> Option<(f64, &'a String)> {
    let mut volumes: Vec<_> = volumes.collect();
    volumes.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
    let fullest = volumes.first().map(|(used, subject, _)| (*used, *subject));
    let over = volumes.into_iter().filter(|(used, ..)| thresholds.judge(*used) != Verdict::Ok);
    checks.extend(over.take(FULLEST).map(|(used, subject, message)| {
        let check = Check::measured(id, subject, rounded(used), "%", thresholds, message);
        check.with_hint("kubectl exec into a pod that has it, and look with du -x; or give it more room, where its class allows that")
    }));
    fullest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn volume(name: &str, claim: Option<&str>, capacity: u64, available: u64, inodes: u64, free: u64) -> Value {
        let mut volume = json!({
            "time": "2026-11-28T12:00:00Z", "name": name, "capacityBytes": capacity, "availableBytes": available, "usedBytes": 1,
            "inodes": inodes, "inodesFree": free, "inodesUsed": 1,
        });
        if let Some(claim) = claim {
            volume["pvcRef"] = json!({ "name": claim, "namespace": "shop" });
        }
        volume
    }

    fn told(pods: &[(&str, Vec<Value>)]) -> Vec<(String, String, Verdict, String)> {
        let pods: Vec<Value> =
            pods.iter().map(|(name, volumes)| json!({ "podRef": { "name": name, "namespace": "shop", "uid": "u" }, "volume": volumes })).collect();
        let node = json!({ "fs": { "capacityBytes": 1000, "availableBytes": 10, "inodes": 500, "inodesFree": 1 } });
        let summary = serde_json::from_value(json!({ "node": node, "pods": pods })).unwrap();
        judge(&Params::default(), &summary).into_iter().map(|check| (check.id, check.subject, check.verdict, check.message)).collect()
    }

    #[test]
    fn a_volume_that_is_nearly_full_is_told_once_and_one_on_the_nodes_disk_not_at_all() {
        let full = || volume("data", Some("data"), 4096, 0, 100, 90);
        let found = told(&[
            ("a", vec![full(), volume("scratch", None, 1000, 10, 500, 1), volume("token", None, 2048, 2040, 50, 41)]),
            ("b", vec![full(), volume("cache", None, 200, 36, 100, 90), volume("small", None, 200, 150, 100, 5)]),
            ("c", vec![json!({ "name": "silent" })]),
        ]);
        let stated = |id: &str, subject: &str, verdict, message: &str| (id.to_owned(), subject.to_owned(), verdict, message.to_owned());
        assert_eq!(
            found,
            [
                stated("volume.used", "shop/PersistentVolumeClaim/data", Verdict::Critical, "100 % full, 0 B of 4.0 KiB left"),
                stated("volume.used", "shop/b/cache", Verdict::Warning, "82 % full, 36 B of 200 B left"),
                stated("volume.inodes", "shop/b/small", Verdict::Critical, "95 % of inodes used, 5 inodes left"),
                stated(
                    "volume.used",
                    "",
                    Verdict::Ok,
                    "5 volumes of pods are no folder of the node's disk; the fullest is shop/PersistentVolumeClaim/data, 100 % full"
                ),
            ]
        );
        assert_eq!(told(&[]), [stated("volume.used", "", Verdict::Ok, "0 volumes of pods are no folder of the node's disk")]);
    }
}
