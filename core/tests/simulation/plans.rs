//! The plans that are run: each exercises something else.

use std::sync::LazyLock;

use mainstay_core::plan::{self, Plan};

const HEAD: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\n";

/// Their text, without the head.
const TEXTS: [&str; 10] = [
    // Retries and undo over all nodes.
    "\
metadata: { name: change }
spec:
  steps:
    - { name: look, uses: node.resources, timeout: 10s, retry: { attempts: 5, backoff: 1s } }
    - { name: a, uses: node.exec, with: { command: [a] }, runOn: node, needs: [look], timeout: 12s, retry: { attempts: 3, backoff: 1s }, undo: { uses: node.exec, with: { command: [un-a] }, timeout: 12s, retry: { attempts: 5, backoff: 1s } } }
    - { name: b, uses: node.exec, with: { command: [b] }, runOn: node, needs: [a], timeout: 12s, undo: { uses: node.exec, with: { command: [un-b] }, timeout: 12s, retry: { attempts: 5, backoff: 1s } } }
    - { name: c, uses: wait, with: { for: 1s }, needs: [b], timeout: 10s, retry: { attempts: 5, backoff: 1s } }
",
    // What is unknown may go on.
    "\
metadata: { name: look }
spec:
  steps:
    - { name: a, uses: node.resources, timeout: 10s, retry: { attempts: 4, backoff: 1s } }
    - { name: b, uses: node.exec, with: { command: [b] }, runOn: node, timeout: 8s, onUnknown: continue }
    - { name: c, uses: wait, with: { for: 1s }, needs: [a, b], timeout: 10s, retry: { attempts: 4, backoff: 1s } }
",
    // Once, with undo, an expression and a condition.
    "\
metadata: { name: once }
spec:
  inputs: { name: { type: text, default: x } }
  steps:
    - { name: a, uses: node.exec, with: { command: [a, \"${{ inputs.name }}\"] }, timeout: 10s, retry: { attempts: 3, backoff: 1s }, undo: { uses: node.exec, with: { command: [un-a] }, timeout: 10s, retry: { attempts: 5, backoff: 1s } } }
    - { name: b, uses: node.exec, with: { command: [b] }, if: \"inputs.name == 'y'\", needs: [a], timeout: 10s }
    - { name: c, uses: node.exec, with: { command: [c] }, needs: [b], timeout: 10s }
",
    // Node by node.
    "\
metadata: { name: rollout }
spec:
  strategy: { maxUnavailable: 1, waves: [1], soak: 2s, failureBudget: 1 }
  steps:
    - { name: drain, uses: node.exec, with: { command: [drain] }, runOn: node, timeout: 10s, undo: { uses: node.exec, with: { command: [uncordon] }, timeout: 10s, retry: { attempts: 4, backoff: 1s } } }
    - { name: patch, uses: node.exec, with: { command: [patch] }, runOn: node, needs: [drain], timeout: 10s }
    - { name: drained, uses: wait, with: { for: 1s }, needs: [drain], timeout: 10s }
    - { name: patched, uses: wait, with: { for: 1s }, needs: [patch], timeout: 10s }
",
    // Waves of more than one, with patience for one failure.
    "\
metadata: { name: waves }
spec:
  steps:
    - { name: reload, uses: node.exec, with: { command: [reload] }, runOn: node, timeout: 8s, strategy: { order: reverse, maxUnavailable: 2, waves: [1, 3], failureBudget: 1 } }
    - { name: after, uses: wait, with: { for: 1s }, needs: [reload], timeout: 8s }
",
    // A lease for a step, which others want too.
    "\
metadata: { name: leased }
spec:
  steps:
    - { name: work, uses: node.exec, with: { command: [work] }, lease: deploy/shop, timeout: 8s, retry: { attempts: 2, backoff: 1s }, undo: { uses: node.exec, with: { command: [unwork] }, timeout: 8s, retry: { attempts: 3, backoff: 1s } } }
    - { name: verify, uses: node.exec, with: { command: [verify] }, needs: [work], lease: deploy/shop, timeout: 8s }
",
    // Node by node, and each only with a lease that others want too.
    "\
metadata: { name: guarded }
spec:
  strategy: { maxUnavailable: 2, waves: [1], failureBudget: 1 }
  steps:
    - { name: drain, uses: node.exec, with: { command: [drain] }, runOn: node, lease: deploy/shop, timeout: 8s, undo: { uses: node.exec, with: { command: [uncordon] }, timeout: 8s, retry: { attempts: 3, backoff: 1s } } }
    - { name: patch, uses: node.exec, with: { command: [patch] }, runOn: node, needs: [drain], lease: deploy/shop, timeout: 8s }
",
    // A window in a zone that is five and a half hours ahead, and a freeze in one that is nine.
    "\
metadata: { name: windowed }
spec:
  gates:
    - window: { days: [mon, tue, wed, thu, fri], from: \"14:10\", to: \"15:20\", zone: Asia/Kolkata }
    - freeze: { from: 2026-11-25T18:20, to: 2026-11-25T19:20, zone: Asia/Tokyo, reason: sale }
  steps:
    - { name: a, uses: node.exec, with: { command: [a] }, timeout: 8s }
    - { name: b, uses: node.exec, with: { command: [b] }, runOn: node, needs: [a], timeout: 8s }
",
    // People agree, or do not.
    "\
metadata: { name: approved }
spec:
  steps:
    - { name: a, uses: node.exec, with: { command: [a] }, timeout: 8s, undo: { uses: node.exec, with: { command: [un-a] }, timeout: 8s, retry: { attempts: 3, backoff: 1s } } }
    - { name: ask, uses: approval, with: { message: go on }, needs: [a], timeout: 60s }
    - { name: b, uses: node.exec, with: { command: [b] }, runOn: node, needs: [ask], timeout: 8s, gates: [{ approval: { expires: 1m } }] }
",
    // Every minute.
    "\
metadata: { name: timed }
spec:
  schedules: [{ cron: \"* * * * *\", zone: Asia/Kolkata, window: 10m }]
  concurrency: replace
  history: { successful: 1, failed: 1 }
  steps:
    - { name: a, uses: node.exec, with: { command: [a] }, timeout: 8s }
",
];

/// All plans, read once.
pub static ALL: LazyLock<Vec<Plan>> =
    LazyLock::new(|| TEXTS.iter().map(|text| plan::parse(&format!("{HEAD}{text}")).unwrap_or_else(|error| panic!("{error}"))).collect());
/// By its name, the one that starts by itself.
pub const TIMED: &str = "timed";
