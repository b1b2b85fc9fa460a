//! From nothing to a daily report: a cluster, the chart, an application, faults drawn by a seed, and `mainstay run start
//! daily`. Each fault is found once, on the object concerned, and nothing else is reported.
//!
//! `MAINSTAY_SEED=7` repeats one seed; `MAINSTAY_SEEDS=20` runs so many. Seed 0 has all twelve kinds.

mod application;
mod table;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use mainstay_tests::kubernetes::{Cluster, Space};
use mainstay_tests::wait::eventually_within;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use crate::installed::{Home, image};
use table::{KINDS, Kind, Place};

/// A CronJob has missed its time within a minute and `lateBy`; to that comes what a busy machine takes.
const UNTIL_FOUND: Duration = Duration::from_secs(600);
/// The plan's patience for this test, in place of five minutes each.
const PATIENCE: [&str; 2] = ["settleFor=15s", "lateBy=20s"];
/// How often in a row all is as it should be: what comes and goes is seen.
const IN_A_ROW: usize = 2;
/// What both nodes measure of the machine that they share with all other tests.
const OF_THE_MACHINE: [&str; 8] = ["cpu.", "load.", "memory.", "swap.", "pressure.", "disk.", "network.", "kernel."];

/// A fault that was put.
pub struct Put {
    kind: &'static str,
    check: &'static str,
    subject: String,
}

/// What a seed puts: kinds, some of them twice, in no order.
fn drawn(seed: u64, rng: &mut StdRng) -> Vec<&'static Kind> {
    let mut kinds: Vec<&Kind> = KINDS.iter().collect();
    kinds.shuffle(rng);
    if seed > 0 {
        kinds.truncate(rng.random_range(4..=KINDS.len()));
        let again = kinds[rng.random_range(0..kinds.len())];
        kinds.push(again);
    }
    kinds
}

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number")));
    match (number("MAINSTAY_SEED"), number("MAINSTAY_SEEDS")) {
        (Some(seed), _) => vec![seed],
        (None, count) => (0..count.unwrap_or(1)).collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_daily_plan_finds_each_fault_of_a_seed_and_nothing_else() {
    let cluster = Cluster::start(0);
    let space = cluster.space("home");
    let home = Home { cluster: &cluster, space: &space, custom_resources: true, values: &[] };
    let mut is_installed = false;
    for seed in seeds() {
        let mut rng = StdRng::seed_from_u64(seed);
        let kinds = drawn(seed, &mut rng);
        let (shop, closed) = (cluster.space("shop"), cluster.space("closed"));
        application::put(&cluster, &shop);
        let place = Place { cluster: &cluster, space: &shop, closed: &closed };
        let mut put = put_all(&place, &kinds, false, &mut rng);
        if !is_installed {
            install(&home).await;
            is_installed = true;
        }
        put.extend(put_all(&place, &kinds, true, &mut rng));
        finds(&home, seed, &put, &shop).await;
        println!("seed {seed}, each found once, and nothing else:\n{}", table::listed(put.iter()));
        take_away(&cluster, &put, shop, closed);
    }
    drop(space);
    cluster.end();
}

async fn install(home: &Home<'_>) {
    image(home.cluster);
    home.put("install", "first");
    let login = home.cli(&["login", "--token-file", "/etc/mainstay/operator/token"]);
    login.unwrap_or_else(|error| panic!("{error}\n{}", home.look()));
    home.whole().await;
    acts_on_custom_resources(home);
}

/// The chart's agents do, unless they are told otherwise.
fn acts_on_custom_resources(home: &Home<'_>) {
    let plan = format!(
        "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\nmetadata: {{name: look}}\n\
         spec: {{steps: [{{name: look, uses: kube.workloads, with: {{namespaces: [{}]}}}}]}}\n",
        home.space.name()
    );
    home.space.apply(&plan);
    home.space.wait("mplan/look", "condition=Accepted");
    home.space.kubectl(&["delete", "mplan", "look"]).expect("it goes");
}

/// Those of the kinds that come early, or late.
fn put_all(place: &Place<'_>, kinds: &[&'static Kind], late: bool, rng: &mut StdRng) -> Vec<Put> {
    let numbered = kinds.iter().enumerate().filter(|(_, kind)| kind.late == late);
    numbered
        .map(|(number, kind)| {
            let (check, subject) = (kind.put)(place, rng, &format!("f{number}"));
            Put { kind: kind.name, check, subject }
        })
        .collect()
}

/// Runs the daily plan until what it finds are the faults and nothing else, several times in a row.
async fn finds(home: &Home<'_>, seed: u64, put: &[Put], shop: &Space<'_>) {
    let expected: BTreeSet<(String, String)> = put.iter().map(|fault| (fault.check.to_owned(), fault.subject.clone())).collect();
    assert_eq!(expected.len(), put.len(), "two faults of seed {seed} are one");
    let in_a_row = Cell::new(0);
    eventually_within(UNTIL_FOUND, &format!("seed {seed} is found"), || async {
        let run = home.start("daily", &PATIENCE).await;
        let ended = home.ended(&run).await;
        // On a machine that is busy with other tests, a look may take longer than it has.
        if ended["state"] != "completed" {
            in_a_row.set(0);
            return Err(ended.to_string());
        }
        let found = found(home, shop.name())?;
        if found == expected.iter().cloned().collect::<Vec<_>>() {
            in_a_row.set(in_a_row.get() + 1);
            return if in_a_row.get() == IN_A_ROW { Ok(()) } else { Err("found once, and then not again".to_owned()) };
        }
        in_a_row.set(0);
        let missing: Vec<_> = expected.iter().filter(|one| !found.contains(one)).collect();
        let more: Vec<_> = found.iter().filter(|one| !expected.contains(one)).collect();
        Err(format!(
            "missing: {missing:#?}\nnot put, or twice: {more:#?}\nput:\n{}{}\n\
             MAINSTAY_SEED={seed} cargo test -p mainstay-tests --test kubernetes the_daily_plan_finds -- --nocapture",
            table::listed(put.iter()),
            home.cli(&["finding", "list"]).unwrap_or_else(|error| error)
        ))
    })
    .await;
}

/// Check and subject of each finding, as often as it was found. Error lines of the application's pods and what the nodes
/// measure of this machine are apart.
fn found(home: &Home<'_>, shop: &str) -> Result<Vec<(String, String)>, String> {
    let all = home.json(&["finding", "list"])?;
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
    let all = all["findings"].as_array().into_iter().flatten().map(|finding| (text(finding, "check"), text(finding, "subject")));
    let mut found: Vec<_> = all
        .filter(|(check, subject)| {
            let is_log = check == "logs.errors" && subject.starts_with(&format!("{shop}/"));
            !is_log && !OF_THE_MACHINE.iter().any(|part| check.starts_with(part))
        })
        .collect();
    found.sort();
    Ok(found)
}

/// So that the next seed begins with a cluster that is well.
fn take_away(cluster: &Cluster, put: &[Put], shop: Space<'_>, closed: Space<'_>) {
    for node in put.iter().filter_map(|fault| fault.subject.strip_prefix("Node/")) {
        cluster.kubectl(&["delete", "node", node]).expect("it goes");
    }
    for space in [shop, closed] {
        let name = space.name().to_owned();
        cluster.kubectl(&["delete", "namespace", &name, "--timeout=120s"]).expect("it goes with all that is in it");
        for node in ["n1", "n2"] {
            let unmount = format!("for path in /var/lib/volumes/{name}-*; do ! mountpoint -q $path || umount $path; done");
            cluster.on(node, &["sh", "-c", &unmount]).expect("its file systems are gone");
        }
        let volumes = cluster.kubectl(&["get", "pv", "-o", "name"]).expect("volumes");
        for volume in volumes.lines().filter(|volume| volume.contains(&name)) {
            cluster.kubectl(&["delete", volume]).expect("it goes");
        }
    }
}
