//! With real processes.

use mainstay_core::time::Millis;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::execute::{Context, Labels, Output, Policy, StepError, allowed, execute};
use crate::observe::readings::Readings;

struct RealSteps(Context);

impl Executor for RealSteps {
    fn refuses(&self, attempt: &DesiredAttempt) -> Option<StepError> {
        allowed(&attempt.kind, &attempt.with, &self.0.policy).err()
    }

    async fn execute(&self, attempt: DesiredAttempt, output: Output, cancel: CancellationToken) -> Result<Report, StepError> {
        execute(&attempt.kind, &attempt.with, &self.0.for_attempt(Labels::default(), output, cancel)).await
    }
}

fn lives(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn a_command_that_has_had_its_time_is_gone_when_its_end_is_reported() {
    let (dir, world) = (tempfile::tempdir().unwrap(), World::new(Does::Work));
    let policy = Policy::parse("[policy]\nallow = [\"node.exec\"]\n[[policy.exec]]\ncommand = [\"/bin/sh\", \"-c\", \"*\"]").unwrap();
    let context = Context::new(Arc::default(), Readings::default(), Arc::default(), Arc::new(policy)).unwrap();
    let _process = Process::start_with(dir.path(), &world, Arc::new(RealSteps(context)), settings()).await;
    let marker = dir.path().join("pid");
    let script = format!("echo $$ > {0}.part; mv {0}.part {0}; sleep 600; echo never", marker.display());
    let with = json!({"command": ["/bin/sh", "-c", script]}).as_object().cloned().unwrap();
    let id = world.offer_with(7, "node.exec", with, Millis(1_500));
    let outcome = world.ended(id).await;
    assert!(matches!(&outcome, Outcome::TimedOut { message } if message.starts_with("stopped after 1.5s")), "{outcome:?}");
    let pid = std::fs::read_to_string(&marker).unwrap();
    assert!(!lives(pid.trim()), "process {pid}");
}
