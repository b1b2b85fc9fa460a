//! `mainstay mesh root`

use std::path::Path;

use mainstay_client::clock::{Clock, SystemClock};
use mainstay_client::failpoint::Point;
use mainstay_client::identity::{IdentityError, Root, RootCertificate};
use mainstay_client::{Mesh, files};
use mainstay_core::WallTime;
use mainstay_core::id::MeshName;
use mainstay_proto::v1::{AddRootRequest, GrantIssuersRequest, IssuerGrant, IssuerRequest, ListRootsRequest, ListRootsResponse, RetireRootRequest};
use serde_json::json;

use super::{Screen, now, zone};
use crate::args::root::{New, Root as Verb};
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::{Entry, Table, Terminal, Tone, time, units, values};

/// A certificate or a key is about 1 KiB.
const PEM_MAX: u64 = 64 << 10;
/// Names shown in one sentence.
const NAMED: usize = 5;

pub async fn root(verb: &Verb, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    match verb {
        Verb::List => {
            let roots = mesh.list_roots(ListRootsRequest {}).await?;
            screen.show(&roots, |roots| render(roots, screen.terminal, now()))?;
        }
        Verb::New(new_root) => return new(new_root, screen),
        Verb::Add { file, dry_run } => {
            let root = RootCertificate::read(&read(file)?).map_err(|error| CliError::usage(format!("{}: {error}", file.display())))?;
            let answer = mesh.add_root(AddRootRequest { pem: root.pem, dry_run: *dry_run }).await?;
            let words = match (answer.known, *dry_run) {
                (true, _) => format!("✔ root {} is trusted already", answer.id),
                (false, true) => format!("✔ root {} would be trusted; nothing was changed", answer.id),
                (false, false) => format!("✔ root {} is trusted from now on\n  how far everybody is:  mainstay mesh root list", answer.id),
            };
            screen.done(&answer, &words)?;
        }
        Verb::Issue { root_key, dry_run } => issue(root_key, *dry_run, mesh, screen).await?,
        Verb::Retire { id, cut_off, dry_run } => {
            let answer = mesh.retire_root(RetireRootRequest { id: id.clone(), cut_off: *cut_off, dry_run: *dry_run }).await?;
            let mut words =
                if *dry_run { format!("✔ root {id} would be retired; nothing was changed") } else { format!("✔ root {id} is trusted no longer") };
            if !answer.cut_off.is_empty() {
                words.push_str(&format!("\n  cut off, to be enrolled again: {}", some(&answer.cut_off, answer.cut_off.len())));
            }
            screen.done(&answer, &words)?;
        }
    }
    Ok(Exit::Success)
}

/// Makes a root and its key.
pub fn new(new: &New, screen: Screen) -> Result<Exit, CliError> {
    let mesh: MeshName = new.mesh.parse().map_err(|error| CliError::usage(format!("--mesh: {error}")))?;
    let (cert, key) = (new.to.join("root.pem"), new.to.join("root.key"));
    if let Some(there) = [&cert, &key].into_iter().find(|path| files::exists(path)) {
        return Err(CliError::usage(format!("{} is there already: name another directory", there.display())));
    }
    let root = Root::create(&mesh, SystemClock.wall()).map_err(|error| CliError::failed(error.to_string()))?;
    let read = RootCertificate::read(root.cert_pem()).map_err(|error| CliError::failed(error.to_string()))?;
    let (shown, ends) = (new.to.display(), time::local(read.ends.0, now(), &zone()));
    if new.dry_run {
        screen.done(
            &json!({ "id": "", "certificate": cert, "key": key }),
            &format!("✔ would write root.pem and root.key into {shown}; nothing was done"),
        )?;
        return Ok(Exit::Success);
    }
    let written = files::create_private_dir(Point::CliDirectory, &new.to)
        .and_then(|()| files::write_sealed(Point::RootKey, &key, &root.key_pem(), 0o600))
        .and_then(|()| files::write_sealed(Point::RootKey, &cert, root.cert_pem(), 0o644));
    written.map_err(|error| CliError::failed(format!("{shown}: {error}")))?;
    let words = format!(
        "✔ root {} of {mesh}, good until {ends}, is in {shown}: keep root.key offline\n  mainstay plan preview root-rotation --set root=\"$(cat {})\"",
        read.id,
        values::quoted(&cert.display().to_string())
    );
    screen.done(&json!({ "id": read.id.to_string(), "certificate": cert, "key": key, "endsUnixMs": read.ends.0 }), &words)?;
    Ok(Exit::Success)
}

fn read(path: &Path) -> Result<String, CliError> {
    files::read_sealed(path, PEM_MAX).map_err(|error| CliError::usage(format!("{}: {error}", path.display())))
}

/// Signs what members ask of the root whose key this is.
async fn issue(root_key: &Path, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<(), CliError> {
    let key_pem = read(root_key)?;
    let listed = mesh.list_roots(ListRootsRequest {}).await?;
    let Some(root) = listed.roots.iter().find(|root| Root::is_key_of(&key_pem, &root.pem)) else {
        return Err(CliError::usage(format!("{} is not the key of a root that the mesh trusts", root_key.display()))
            .with_next("which roots there are:  mainstay mesh root list")
            .with_next("add another one:        mainstay mesh root add FILE"));
    };
    let asking: Vec<&IssuerRequest> = listed.requests.iter().filter(|request| request.root == root.id && !request.granted).collect();
    let names = asking.iter().map(|request| request.member_name.clone()).collect::<Vec<_>>();
    if asking.is_empty() {
        return screen.done(&json!({ "root": root.id, "issuedFor": names }), &format!("✔ no member asks for an issuer under root {}", root.id));
    }
    let authority = Root::from_pem(&root.pem, &key_pem).map_err(|error| CliError::usage(format!("{}: {error}", root_key.display())))?;
    let sign = |request: &&IssuerRequest| -> Result<IssuerGrant, IdentityError> {
        let cert_pem = authority.certify(&request.csr_pem, &request.member_name, SystemClock.wall())?;
        Ok(IssuerGrant { member: request.member.clone(), root: request.root.clone(), cert_pem })
    };
    let grants = asking.iter().map(sign).collect::<Result<Vec<_>, _>>().map_err(|error| CliError::failed(error.to_string()))?;
    mesh.grant_issuers(GrantIssuersRequest { grants, dry_run }).await?;
    let (who, id) = (names.join(", "), &root.id);
    let words = if dry_run {
        format!("✔ would sign issuers under root {id} for {who}; nothing was changed")
    } else {
        format!("✔ signed issuers under root {id} for {who}")
    };
    screen.done(&json!({ "root": root.id, "issuedFor": names }), &words)
}

fn render(listed: &ListRootsResponse, terminal: Terminal, now: WallTime) -> String {
    if listed.roots.is_empty() {
        return "no roots are known to the mesh: its certificates are issued elsewhere, or it has just begun\n".to_owned();
    }
    let mut table = Table::new(terminal, &["root", "", "members", "identities", "added", "ends"]);
    for root in &listed.roots {
        let members = format!("{} of {} trust, {} sign", root.members_trusting.len(), listed.members, root.members_signing.len());
        let identities = format!("{} of {} trust, {} are of it", root.identities_trusting, listed.identities, root.identities_under);
        let mark: Entry = if root.issuing { Entry::toned("✔ in use", Tone::Good) } else { "".into() };
        table.row(vec![
            root.id.as_str().into(),
            mark,
            members.into(),
            identities.into(),
            time::ago(root.added_unix_ms, now).into(),
            time::local(root.ends_unix_ms, now, &zone()).into(),
        ]);
    }
    let mut text = table.render();
    for line in next(listed) {
        text.push_str(&format!("\n{line}"));
    }
    text + "\n"
}

/// What is waited for, or what is to be done.
fn next(listed: &ListRootsResponse) -> Vec<String> {
    let mut lines = Vec::new();
    let asking: Vec<String> =
        listed.requests.iter().filter(|request| !request.granted).map(|request| format!("{} (root {})", request.member_name, request.root)).collect();
    if !asking.is_empty() {
        lines.push(format!("an issuer is to be signed for {}:  mainstay mesh root issue --root-key FILE", some(&asking, asking.len())));
    }
    let (Some((newest, older)), total) = (listed.roots.split_last(), listed.members as usize) else { return lines };
    if newest.members_trusting.len() < total {
        let missing = total - newest.members_trusting.len();
        lines.push(format!("root {} is not trusted yet by {}", newest.id, units::count(missing as u64, "member", "members")));
    } else if !newest.issuing && asking.is_empty() {
        lines.push(format!("root {} is not used yet: members take the issuers that were signed for them", newest.id));
    }
    for root in older.iter().filter(|_| newest.issuing) {
        lines.push(match root.needed_by_total as usize {
            0 => format!("nobody needs root {} any more:  mainstay mesh root retire {}", root.id, root.id),
            total => format!("root {} is still needed by {}; each renews when it is next connected", root.id, some(&root.needed_by, total)),
        });
    }
    if lines.is_empty() && older.is_empty() {
        lines.push("nothing is to be done; another root begins with  mainstay mesh root new --mesh NAME --to DIR".to_owned());
    }
    lines
}

/// Some names of so many.
fn some(names: &[String], total: usize) -> String {
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match total.saturating_sub(names.len().min(NAMED)) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use mainstay_proto::v1;

    use super::*;

    fn root(id: &str, trusting: usize, signing: usize) -> v1::Root {
        let names = |n: usize| (1..=n).map(|n| format!("c{n}")).collect();
        v1::Root { id: id.into(), members_trusting: names(trusting), members_signing: names(signing), ..v1::Root::default() }
    }

    fn listed(roots: Vec<v1::Root>) -> ListRootsResponse {
        ListRootsResponse { roots, requests: Vec::new(), members: 3, identities: 7 }
    }

    #[test]
    fn each_phase_says_what_comes_next() {
        let old = || v1::Root { issuing: true, ..root("old", 3, 3) };
        assert!(next(&listed(vec![old()]))[0].starts_with("nothing is to be done"));
        assert_eq!(next(&listed(vec![old(), root("new", 1, 0)])), ["root new is not trusted yet by 2 members"]);
        let request = |granted| IssuerRequest { member_name: "c1".into(), root: "new".into(), granted, ..IssuerRequest::default() };
        let asking = ListRootsResponse { requests: vec![request(false), request(true)], ..listed(vec![old(), root("new", 3, 0)]) };
        assert_eq!(next(&asking), ["an issuer is to be signed for c1 (root new):  mainstay mesh root issue --root-key FILE"]);
        assert_eq!(next(&listed(vec![old(), root("new", 3, 2)])), ["root new is not used yet: members take the issuers that were signed for them"]);
        let needed = v1::Root { needed_by: vec!["client/ci (its certificate is of that root)".into()], needed_by_total: 1, ..root("old", 3, 3) };
        let new = || v1::Root { issuing: true, ..root("new", 3, 3) };
        assert_eq!(
            next(&listed(vec![needed, new()])),
            ["root old is still needed by client/ci (its certificate is of that root); each renews when it is next connected"]
        );
        assert_eq!(next(&listed(vec![root("old", 3, 3), new()])), ["nobody needs root old any more:  mainstay mesh root retire old"]);
    }

    #[test]
    fn the_list_says_how_far_everybody_is() {
        let text = render(
            &listed(vec![v1::Root { issuing: true, identities_trusting: 5, identities_under: 4, ..root("old", 3, 3) }]),
            Terminal::PIPE,
            WallTime(1),
        );
        assert!(text.contains("old   ✔ in use  3 of 3 trust, 3 sign  5 of 7 trust, 4 are of it"), "{text}");
    }
}
