//! Requests of plans: what they may not reach, they do not, whatever leads there. `mainstay up` lets its agents
//! reach this machine, so loopback addresses are the agent's own tests to refuse.

use super::look::look;
use super::stage::Stage;

const REACH: &str = r#"apiVersion: mainstay.dev/v1alpha1
kind: MaintenancePlan
metadata: { name: reach }
spec:
  steps:
    - name: own
      uses: http.check
      with: { urls: ["http://169.254.169.254/latest/meta-data/", "http://0xa9fea9fe/", "http://[::ffff:169.254.169.254]/", "http://169.254.1.1/"] }
    - name: servers
      uses: tls.check
      with: { endpoints: ["169.254.169.254:443", "[fe80::1]:443"] }
    - name: redirected
      uses: http.check
      with: { connection: shop-slow, paths: [/redirect, /hop] }
    - name: not-followed
      uses: http.check
      with: { connection: shop-slow, paths: [/redirect], followRedirects: 0 }
"#;

pub async fn stay_where_they_may_go(stage: &Stage) {
    stage.up.apply("reach", REACH);
    let seen = look(&stage.up, "reach", &[]).await;
    let (followed, other): (Vec<_>, Vec<_>) = seen.checks.iter().partition(|seen| seen.step != "not-followed");
    assert_eq!(followed.len(), 8, "{followed:#?}");
    for seen in followed {
        assert_eq!(
            (seen.verdict.as_str(), seen.message.as_str()),
            ("unknown", "not asked: its address is one that this agent does not reach"),
            "{seen:#?}"
        );
        assert!(seen.hint.contains("allow_addresses"), "and what the agent's owner can do is said: {seen:#?}");
    }
    assert!(other.iter().all(|seen| seen.verdict == "ok" && seen.message.starts_with("HTTP 302")), "{other:#?}");
}
