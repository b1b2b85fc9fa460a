//! Roots, and members and identities that are as far with them as a scenario says.

use mainstay_core::certificate::RootCertificate;
use mainstay_core::state::member::Member;
use mainstay_core::state::trust::{IssuerGrant, IssuerRequest, RootId, Shown};
use mainstay_core::{Command, MemberId, Reply, WallTime};

use super::{Rig, identity};

/// The certificate of a root of that name; `leaf` is none.
pub fn pem(name: &str) -> &'static str {
    match name {
        "old" => include_str!("../fixtures/old-root.pem"),
        "new" => include_str!("../fixtures/root.pem"),
        "leaf" => include_str!("../fixtures/leaf.pem"),
        other => panic!("there is no root {other}"),
    }
}

pub fn root(name: &str) -> RootId {
    RootCertificate::read(pem(name)).unwrap().id
}

fn roots(names: &str) -> Vec<RootId> {
    names.split(',').filter(|name| !name.is_empty()).map(root).collect()
}

/// `c2` has the id 2.
fn member(name: &str) -> MemberId {
    MemberId(name.trim_start_matches('c').parse().unwrap())
}

impl Rig {
    /// A line of a scenario that is about roots, or about members.
    pub fn apply_root_line(&mut self, words: &[&str]) -> Reply {
        let said = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
        match words {
            ["root", name] => {
                let RootCertificate { id, pem, ends, .. } = RootCertificate::read(pem(name)).unwrap();
                self.mesh(Command::AddRoot { id, pem, ends })
            }
            ["member", name, ..] => {
                let issuer_request = roots(said("asks")).pop().map(|root| IssuerRequest { root, csr_pem: "csr".into() });
                let (trusts, issuers) = (roots(said("trusts")), roots(said("issuers")));
                let feature_level = self.state.feature_level;
                let node = Some(said("node")).filter(|node| !node.is_empty()).map(|node| node.parse().unwrap());
                let member =
                    Member { id: member(name), name: (*name).into(), node, trusts, issuers, issuer_request, feature_level, ..Member::default() };
                self.mesh(Command::PutMember { member })
            }
            ["voters", voters @ ..] => {
                let answers = |word: &&str| (member(word.trim_end_matches(":silent")), !word.ends_with(":silent"));
                self.seen.voters = voters.iter().map(answers).collect();
                Reply::Done
            }
            ["issuer", name, under] => {
                let grant = IssuerGrant { root: root(under), cert_pem: "cert".into() };
                self.operator(Command::GrantIssuer { member: member(name), grant })
            }
            ["shown", who, under, ..] => {
                let shown = Shown { ends: WallTime(i64::MAX / 2), root: root(under), trusts: roots(said("trusts")) };
                self.mesh(Command::RecordCertificate { identity: identity(who), shown })
            }
            ["retire", name] => self.operator(Command::RetireRoot { id: root(name), cut_off: false }),
            other => panic!("what is {other:?}?"),
        }
    }
}
