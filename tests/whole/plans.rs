//! The plans that are run: each exercises something else.

const HEAD: &str = "apiVersion: mainstay.dev/v1alpha1\nkind: MaintenancePlan\n";

/// By name, without the head. The first is run last of all.
pub const ALL: [(&str, &str); 5] = [
    (
        "change",
        "\
metadata: { name: change }
spec:
  steps:
    - { name: a, uses: node.exec, with: { command: [/do, a] }, runOn: node, timeout: 12s, retry: { attempts: 3, backoff: 1s }, undo: { uses: node.exec, with: { command: [/undo, a] }, timeout: 12s, retry: { attempts: 5, backoff: 1s } } }
    - { name: b, uses: node.exec, with: { command: [/do, b] }, runOn: node, needs: [a], timeout: 12s, undo: { uses: node.exec, with: { command: [/undo, b] }, timeout: 12s, retry: { attempts: 5, backoff: 1s } } }
    - { name: c, uses: wait, with: { for: 1s }, needs: [b], timeout: 10s, retry: { attempts: 5, backoff: 1s } }
",
    ),
    (
        "rollout",
        "\
metadata: { name: rollout }
spec:
  strategy: { maxUnavailable: 1, waves: [1], failureBudget: 1 }
  steps:
    - { name: drain, uses: node.exec, with: { command: [/do, drain] }, runOn: node, timeout: 10s, undo: { uses: node.exec, with: { command: [/undo, drain] }, timeout: 10s, retry: { attempts: 4, backoff: 1s } } }
    - { name: patch, uses: node.exec, with: { command: [/do, patch] }, runOn: node, needs: [drain], timeout: 10s }
",
    ),
    (
        "leased",
        "\
metadata: { name: leased }
spec:
  steps:
    - { name: work, uses: node.exec, with: { command: [/do, work] }, lease: deploy/shop, timeout: 8s, retry: { attempts: 2, backoff: 1s }, undo: { uses: node.exec, with: { command: [/undo, work] }, timeout: 8s, retry: { attempts: 3, backoff: 1s } } }
    - { name: hold, uses: lease.hold, with: { name: cluster/local/node/x, for: 1s }, needs: [work], onUnknown: continue, timeout: 20s }
    - { name: verify, uses: node.exec, with: { command: [/do, verify] }, needs: [work], lease: deploy/shop, timeout: 8s }
",
    ),
    // A simulation begins some seconds before noon, in the freeze, and clocks are set by up to an hour (`invariants/windows.rs`).
    (
        "windowed",
        "\
metadata: { name: windowed }
spec:
  gates:
    - window: { days: [mon, tue, wed, thu, fri], from: \"17:20\", to: \"17:50\", zone: Asia/Kolkata }
    - freeze: { from: 2026-11-25T20:59, to: 2026-11-25T21:00, zone: Asia/Tokyo, reason: sale }
  steps:
    - { name: early, uses: node.exec, with: { command: [/do, early] }, timeout: 8s }
    - { name: late, uses: node.exec, with: { command: [/do, late] }, runOn: node, needs: [early], timeout: 8s }
",
    ),
    (
        "approved",
        "\
metadata: { name: approved }
spec:
  steps:
    - { name: ask, uses: approval, with: { message: go on }, timeout: 60s }
    - { name: go, uses: node.exec, with: { command: [/do, go] }, runOn: node, needs: [ask], timeout: 8s }
",
    ),
];

/// What a plan's file says.
pub fn source(text: &str) -> String {
    format!("{HEAD}{text}")
}
