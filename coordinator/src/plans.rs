//! The plans that come with the program and are present in every mesh.

use mainstay_core::plan::{self, Plan, PlanError};

/// Their sources, compiled in.
const SOURCES: [&str; 4] = [
    include_str!("../../deploy/plans/connection-test.yaml"),
    include_str!("../../deploy/plans/daily.yaml"),
    include_str!("../../deploy/plans/health.yaml"),
    include_str!("../../deploy/plans/root-rotation.yaml"),
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
        assert_eq!(names, ["connection-test", "daily", "health", "root-rotation"]);
    }
}
