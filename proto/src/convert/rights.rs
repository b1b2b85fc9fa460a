//! Which rights a step would lack, between an agent and the mesh.

use mainstay_core::preview::rights::{Lacking, NOTICED_MAX, Noticed, RIGHTS_MAX, Right};

use crate::v1;

/// Longest reason for which an agent could not ask.
const FAILED_MAX: usize = 300;
/// Longest of what was noticed.
const NOTICED_LENGTH: usize = 600;
/// Longest name that an API server knows.
const NAME_MAX: usize = 253;

/// What an agent says, or why it does not know.
#[must_use]
pub fn rights_reviewed_to_wire(id: u64, answer: Result<Lacking, String>) -> v1::RightsReviewed {
    match answer {
        Err(failed) => v1::RightsReviewed { id, failed, ..v1::RightsReviewed::default() },
        Ok(Lacking { namespace, account, missing, rights, noticed }) => {
            let wire = |Right { verb, group, resource, namespace }| v1::Right { verb, group, resource, namespace };
            let lacking = rights.into_iter().take(RIGHTS_MAX).map(wire).collect();
            let noticed =
                noticed.into_iter().take(NOTICED_MAX).map(|Noticed { is_warning, message }| v1::Noticed { warning: is_warning, message }).collect();
            v1::RightsReviewed { id, failed: String::new(), namespace, account, missing, lacking, noticed }
        }
    }
}

/// Of which question it is the answer, and the answer. What in it could be no name of an API server's becomes part of no
/// command that a person is shown.
pub fn rights_reviewed_from_wire(said: v1::RightsReviewed) -> (u64, Result<Lacking, String>) {
    let v1::RightsReviewed { id, failed, namespace, account, missing, lacking, noticed } = said;
    if !failed.is_empty() {
        return (id, Err(failed.chars().take(FAILED_MAX).collect()));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '/' | ':' | '*' | '_');
    let plain = |text: String| text.chars().filter(|c| is_plain(*c)).take(NAME_MAX).collect::<String>();
    let right = |v1::Right { verb, group, resource, namespace }| Right {
        verb: plain(verb),
        group: plain(group),
        resource: plain(resource),
        namespace: plain(namespace),
    };
    let rights = lacking.into_iter().take(RIGHTS_MAX).map(right).collect();
    let shown = |text: String| text.chars().filter(|c| !c.is_control()).take(NOTICED_LENGTH).collect::<String>();
    let noticed = noticed
        .into_iter()
        .take(NOTICED_MAX)
        .map(|v1::Noticed { warning, message }| Noticed { is_warning: warning, message: shown(message) })
        .collect();
    (id, Ok(Lacking { namespace: plain(namespace), account: plain(account), missing, rights, noticed }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_arrives_as_it_was_given_but_for_what_no_name_has() {
        let right = Right { verb: "patch".into(), group: "apps".into(), resource: "deployments".into(), namespace: "shop".into() };
        let noticed = vec![Noticed { is_warning: true, message: "it has one pod".into() }];
        let lacking = Lacking { namespace: "shop".into(), account: "mainstay-runner".into(), missing: true, rights: vec![right], noticed };
        assert_eq!(rights_reviewed_from_wire(rights_reviewed_to_wire(7, Ok(lacking.clone()))), (7, Ok(lacking.clone())));
        assert_eq!(rights_reviewed_from_wire(rights_reviewed_to_wire(7, Err("no".into()))), (7, Err("no".to_owned())));
        let noisy = vec![Noticed { is_warning: false, message: format!("\u{1b}[31m{}", "x".repeat(10_000)) }; 2 * NOTICED_MAX];
        let (_, heard) = rights_reviewed_from_wire(rights_reviewed_to_wire(7, Ok(Lacking { noticed: noisy, ..lacking.clone() })));
        let heard = heard.map(|read| read.noticed).unwrap_or_default();
        assert!(heard.len() == NOTICED_MAX && heard[0].message.starts_with("[31mx") && heard[0].message.len() == NOTICED_LENGTH);
        let evil = Lacking { account: "x; rm -rf $HOME".into(), ..lacking };
        assert_eq!(rights_reviewed_from_wire(rights_reviewed_to_wire(7, Ok(evil))).1.map(|read| read.account), Ok("xrm-rfHOME".to_owned()));
    }
}
