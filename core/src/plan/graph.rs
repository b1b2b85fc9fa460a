//! The graph that `needs` makes.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::StepName;

/// The steps in an order in which each comes after what it needs, ties in the order given; or the steps of
/// a cycle, in its direction.
pub fn order<'a>(steps: &[(&'a StepName, &'a [StepName])]) -> Result<Vec<&'a StepName>, Vec<&'a StepName>> {
    let mut done: BTreeSet<&StepName> = BTreeSet::new();
    let mut sorted = Vec::with_capacity(steps.len());
    while sorted.len() < steps.len() {
        let before = sorted.len();
        for (name, needs) in steps {
            if !done.contains(name) && needs.iter().all(|need| done.contains(need)) {
                done.insert(name);
                sorted.push(*name);
            }
        }
        if sorted.len() == before {
            return Err(cycle(steps, &done));
        }
    }
    Ok(sorted)
}

/// Follows needs that are not met until a step comes up twice.
fn cycle<'a>(steps: &[(&'a StepName, &'a [StepName])], done: &BTreeSet<&StepName>) -> Vec<&'a StepName> {
    let open: BTreeMap<&StepName, &'a [StepName]> =
        steps.iter().filter(|(name, _)| !done.contains(name)).map(|(name, needs)| (*name, *needs)).collect();
    let Some((_, needs)) = open.iter().next() else { return Vec::new() };
    let mut path: Vec<&'a StepName> = Vec::new();
    let mut needs: &'a [StepName] = needs;
    while let Some(next) = needs.iter().find(|need| open.contains_key(need)) {
        if let Some(start) = path.iter().position(|name| *name == next) {
            return path.split_off(start);
        }
        path.push(next);
        needs = open.get(next).copied().unwrap_or_default();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(steps: &[(&str, &[&str])]) -> Result<Vec<String>, Vec<String>> {
        let name = |text: &&str| text.parse::<StepName>().unwrap();
        let owned: Vec<(StepName, Vec<StepName>)> = steps.iter().map(|(step, needs)| (name(step), needs.iter().map(name).collect())).collect();
        let borrowed: Vec<(&StepName, &[StepName])> = owned.iter().map(|(step, needs)| (step, needs.as_slice())).collect();
        let text = |names: Vec<&StepName>| names.into_iter().map(ToString::to_string).collect();
        order(&borrowed).map(text).map_err(text)
    }

    #[test]
    fn each_step_comes_after_what_it_needs() {
        assert_eq!(sorted(&[("c", &["b"]), ("b", &["a"]), ("a", &[])]), Ok(vec!["a".into(), "b".into(), "c".into()]));
        assert_eq!(sorted(&[]), Ok(vec![]));
    }

    #[test]
    fn a_cycle_is_named_step_by_step() {
        assert_eq!(sorted(&[("a", &["c"]), ("b", &["a"]), ("c", &["b"]), ("d", &["a"])]).unwrap_err().len(), 3);
        assert_eq!(sorted(&[("a", &["a"])]), Err(vec!["a".into()]));
    }
}
