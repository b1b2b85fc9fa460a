//! Steps that are scripts of a test.

/// Lets agents run `sh` on any script, and hold leases.
pub const POLICY: &str = r#"
[policy]
allow = ["node.exec", "lease.hold"]

[[policy.exec]]
command = ["/bin/sh", "**"]
"#;

/// A plan with one step, which runs a script on one agent.
#[must_use]
pub fn plan(name: &str, step: &str, script: &str) -> String {
    format!(
        r#"apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata:
  name: {name}
spec:
  steps:
    - name: {step}
      uses: node.exec
      runOn: once
      timeout: 120s
      with:
        command: [/bin/sh, -c, "{script}"]
"#
    )
}
