//! The plans that come with the program and are present in every mesh.

use mainstay_core::plan::{self, Plan, PlanError};

/// Their sources, compiled in, in the order in which a new mesh is given them. `daily` is the last: who finds it there
/// finds all of them, which is what `mainstay up` waits for.
const SOURCES: [&str; 10] = [
    include_str!("../../deploy/plans/backup.yaml"),
    include_str!("../../deploy/plans/blue-green.yaml"),
    include_str!("../../deploy/plans/connection-test.yaml"),
    include_str!("../../deploy/plans/disaster-recovery.yaml"),
    include_str!("../../deploy/plans/health.yaml"),
    include_str!("../../deploy/plans/node-maintenance.yaml"),
    include_str!("../../deploy/plans/recovery-drill.yaml"),
    include_str!("../../deploy/plans/rolling-update.yaml"),
    include_str!("../../deploy/plans/root-rotation.yaml"),
    include_str!("../../deploy/plans/daily.yaml"),
];

/// All bundled plans. An error is the program's own, and a test finds it first.
pub fn bundled() -> Result<Vec<Plan>, PlanError> {
    SOURCES.iter().map(|source| plan::parse(source)).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_bundled_plan_is_sound() {
        let plans = super::bundled().unwrap();
        let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "backup",
                "blue-green",
                "connection-test",
                "disaster-recovery",
                "health",
                "node-maintenance",
                "recovery-drill",
                "rolling-update",
                "root-rotation",
                "daily"
            ]
        );
    }
}
