//! What is to be done now to a release, from its history alone. Pure.
//!
//! A second attempt at the same work, whichever agent makes it, finds here what the first one has done: what is in force
//! is done, what is pending was left by one that died (the release's lock is held, so that nobody of Mainstay's is at
//! it), and what failed is tried again. What somebody else has left pending is not touched, and nothing is taken back
//! over somebody else's later change.

use super::super::kube::work::Work;
use super::history::{History, Marks, Revision, Status};

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing is left to do: the revision that says so, where there is one, and in words.
    Done(Option<u32>, String),
    /// It was tried by this very attempt, and came to this.
    Failed(String),
    /// It is not this step's to do: it was not touched.
    Refuse(String),
    Upgrade {
        /// The record that a dead attempt of this work has left pending, which stands in helm's way.
        discard: Option<u32>,
        marks: Marks,
    },
    Rollback {
        to: u32,
        /// The last one now.
        from: u32,
    },
    Uninstall {
        /// Whether its history stays.
        keeps: bool,
    },
}

/// What an uninstalling step wrote down before it began.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Uninstalls {
    /// Digest of the work.
    pub work: String,
    /// The last revision then, and the UID of its Secret.
    pub revision: u32,
    pub uid: String,
}

fn later(history: &History, work: &Work) -> Option<Next> {
    let later = history.later_than(work.attempt)?;
    Some(Next::Refuse(format!("it was changed by attempt {later}, which is later than this one, {}: nothing was done", work.attempt)))
}

/// Somebody who is no attempt at this work is at it, or has died over it.
fn taken(last: &Revision, hint: bool) -> Next {
    let whose = match (&last.marks, last.described()) {
        (_, Some(described)) => format!("attempt {} of another run", described.attempt),
        (Some(marks), None) if last.rollback_to.is_none() && last.number == marks.base + 1 => format!("attempt {} of another run", marks.attempt),
        _ => "somebody else".to_owned(),
    };
    let way = if hint {
        "; where that has died, a step helm.rollback with `overPending: true` brings the release back"
    } else {
        "; where that has died, `overPending: true` brings the release back all the same"
    };
    Next::Refuse(format!("revision {} is {} since {}: {whose} is at it{way}", last.number, last.status.word(), last.updated))
}

/// Somebody has changed it since.
fn changed(last: &Revision, own: u32) -> Next {
    Next::Refuse(format!(
        "somebody has changed it since: revision {} is {}, and the step left revision {own}: what it is to be is for a person to say",
        last.number,
        last.status.word()
    ))
}

fn done(revision: u32, words: &str) -> Next {
    Next::Done(Some(revision), words.to_owned())
}

/// Of `helm.upgrade`.
pub fn upgrade(history: &History, work: &Work, may_install: bool) -> Next {
    if let Some(refusal) = later(history, work) {
        return refusal;
    }
    let mut discard = None;
    if let Some((own, marks)) = history.made_by(&work.name) {
        let is_last = history.last().is_some_and(|last| last.number == own.number);
        match own.status {
            Status::Deployed => return done(own.number, "it is in force"),
            Status::Superseded | Status::Uninstalled | Status::Uninstalling => {
                return done(own.number, "it was in force, and somebody has changed the release since");
            }
            Status::Failed if marks.attempt == work.attempt => return Next::Failed(own.description.clone()),
            status if status.is_pending() && is_last => discard = Some(own.number),
            _ => {}
        }
    }
    let rest = discard.map_or_else(|| history.clone(), |number| history.without(number));
    let (base, before) = match rest.last() {
        None => (0, Some(0)),
        Some(last) if last.status.is_pending() => return taken(last, true),
        Some(last) if last.status == Status::Uninstalling => {
            return Next::Refuse(format!("revision {} is being uninstalled since {}, or whoever did that has died", last.number, last.updated));
        }
        Some(last) if last.status == Status::Uninstalled => (last.number, Some(0)),
        Some(last) => (last.number, rest.deployed().or_else(|| rest.deployed_before(last.number))),
    };
    if before == Some(0) && !may_install {
        return Next::Refuse("there is no such release, and `install` is false".to_owned());
    }
    Next::Upgrade { discard, marks: Marks::new(work, base, before) }
}

/// Of `helm.rollback`, to the revision that the step names.
pub fn rollback(history: &History, work: &Work, to: Option<u32>, over_pending: bool) -> Next {
    if let Some(refusal) = later(history, work) {
        return refusal;
    }
    let Some(last) = history.last() else { return Next::Refuse("there is no such release".to_owned()) };
    if let Some((own, _)) = history.brought_back_by(&work.name) {
        match (own.status, own.rollback_to) {
            (Status::Deployed, _) => return done(own.number, "it is in force"),
            (Status::Superseded | Status::Uninstalled | Status::Uninstalling, _) => {
                return done(own.number, "it was in force, and somebody has changed the release since");
            }
            (status, Some(to)) if status.is_pending() && own.number == last.number => return Next::Rollback { to, from: last.number },
            _ => {}
        }
    }
    if last.status.is_pending() && !over_pending {
        return taken(last, false);
    }
    let to = to.or_else(|| match (last.status, last.rollback_to) {
        // One that failed was on its way there.
        (Status::Failed, Some(to)) => Some(to),
        (Status::Uninstalled | Status::Uninstalling, _) => Some(last.number),
        _ => history.deployed_before(last.number),
    });
    match to {
        None => Next::Refuse("none of its revisions before this one was ever in force: name one under `revision`".to_owned()),
        Some(to) if history.get(to).is_none() => {
            let kept: Vec<String> = history.0.iter().map(|revision| revision.number.to_string()).collect();
            Next::Refuse(format!("it has no revision {to} any more: there are {}", kept.join(", ")))
        }
        Some(to) if to == last.number && last.status == Status::Deployed => done(to, "it is in force already"),
        Some(to) => Next::Rollback { to, from: last.number },
    }
}

/// Of `helm.uninstall`. `written` is what an earlier attempt at some work has written down.
pub fn uninstall(history: &History, work: &Work, written: Option<&Uninstalls>, keeps: bool) -> Next {
    if let Some(refusal) = later(history, work) {
        return refusal;
    }
    let Some(last) = history.last() else { return Next::Done(None, "it is not there".to_owned()) };
    let own = written.filter(|written| written.work == work.digest());
    if let Some(own) = own {
        match history.get(own.revision).filter(|revision| revision.secret.uid == own.uid) {
            None => return done(own.revision, "it was uninstalled, and somebody has installed another since"),
            Some(revision) if revision.status == Status::Uninstalled && revision.number != last.number => {
                return done(own.revision, "it was uninstalled, and somebody has installed it again since");
            }
            Some(_) => {}
        }
    }
    match last.status {
        Status::Uninstalled if keeps => done(last.number, "it is uninstalled"),
        Status::Uninstalling if own.is_none() => {
            Next::Refuse(format!("revision {} is being uninstalled since {} by somebody else", last.number, last.updated))
        }
        status if status.is_pending() => taken(last, true),
        _ => Next::Uninstall { keeps },
    }
}

/// Takes back what the work `step` has done by an upgrade or a rollback.
pub fn take_back(history: &History, work: &Work, step: &str) -> Next {
    if let Some(refusal) = later(history, work) {
        return refusal;
    }
    let nothing = || Next::Done(None, "there is nothing to take back".to_owned());
    let (own, before) = match (history.made_by(step), history.brought_back_by(step)) {
        (Some((own, marks)), _) => (own, marks.before),
        (None, Some((own, described))) => {
            // What had failed or was pending is nothing to go back to.
            let was_good = history.get(described.from).is_some_and(|from| from.status.was_deployed() || from.status == Status::Uninstalled);
            (own, Some(described.from).filter(|_| was_good))
        }
        (None, None) => return nothing(),
    };
    let Some(last) = history.last() else { return nothing() };
    if let Some(next) = continued(history, work, last) {
        return next;
    }
    if last.number != own.number {
        // What helm has taken back by itself needs nothing more.
        let by_helm = own.status == Status::Failed && last.number == own.number + 1 && last.status == Status::Deployed && last.rollback_to == before;
        return if by_helm { done(last.number, "helm has taken it back by itself") } else { changed(last, own.number) };
    }
    let was_uninstalled = |number: u32| history.get(number).is_some_and(|revision| revision.status == Status::Uninstalled);
    match before {
        Some(to) if to == 0 || was_uninstalled(to) => match own.status {
            Status::Uninstalled => done(own.number, "it is uninstalled again"),
            // It is as it was: with the history that it had, or with none.
            _ => Next::Uninstall { keeps: history.0.iter().any(|revision| revision.number < own.number) },
        },
        Some(to) if history.get(to).is_some() => Next::Rollback { to, from: last.number },
        Some(to) => Next::Refuse(format!("revision {to}, which was in force before, is not in its history any more: a person has to take it back")),
        None => Next::Refuse("no revision before it was in force: what the release is to be is for a person to say".to_owned()),
    }
}

/// Installs again what the work `step` has uninstalled.
pub fn install_again(history: &History, work: &Work, step: &str, written: Option<&Uninstalls>) -> Next {
    if let Some(refusal) = later(history, work) {
        return refusal;
    }
    let Some(own) = written.filter(|written| written.work == super::super::kube::work::digest(step)) else {
        return Next::Done(None, "there is nothing to take back".to_owned());
    };
    let Some(last) = history.last() else {
        return Next::Refuse("its history is gone with it: a step helm.upgrade installs it anew".to_owned());
    };
    if let Some(next) = continued(history, work, last) {
        return next;
    }
    let revision = history.get(own.revision).filter(|revision| revision.secret.uid == own.uid);
    match revision {
        Some(revision) if revision.number == last.number => match revision.status {
            Status::Uninstalled | Status::Uninstalling => Next::Rollback { to: revision.number, from: revision.number },
            _ => Next::Done(Some(revision.number), "it was not uninstalled".to_owned()),
        },
        _ => changed(last, own.revision),
    }
}

/// How far an earlier attempt at the same way back has come.
fn continued(history: &History, work: &Work, last: &Revision) -> Option<Next> {
    let (own, _) = history.brought_back_by(&work.name)?;
    match (own.status, own.rollback_to) {
        (Status::Deployed, _) => Some(done(own.number, "it is in force")),
        (Status::Superseded, _) => Some(done(own.number, "it was taken back, and somebody has changed the release since")),
        (status, Some(to)) if status.is_pending() && own.number == last.number => Some(Next::Rollback { to, from: last.number }),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
