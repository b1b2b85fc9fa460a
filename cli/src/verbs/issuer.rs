//! `mainstay member issuer`: what a coordinator signs with, put into its directory by whoever has the root's key.
//!
//! A coordinator that joined with a token has none, and every one ends after a year.

use mainstay_client::failpoint::Point;
use mainstay_client::identity::{Bundle, root_sha256};
use mainstay_core::Identity;
use serde_json::json;

use super::{Screen, now, zone};
use crate::args::{self, Global};
use crate::authority::{self, Authority};
use crate::error::CliError;
use crate::exit::Exit;
use crate::host;
use crate::render::time;

/// Puts a new issuer in place; the coordinator takes it at its next start.
pub fn issuer(args: &args::node::Issuer, global: &Global, screen: Screen) -> Result<Exit, CliError> {
    let dir = global.dir.as_deref().ok_or_else(|| CliError::usage("which coordinator? --dir names its directory, usually /var/lib/mainstay"))?;
    let bundle = Bundle::load(dir).map_err(|error| CliError::usage(error.to_string()))?;
    let (mesh, identity) = bundle.identity().map_err(|error| CliError::usage(error.to_string()))?;
    let Identity::Coordinator(member) = identity else {
        return Err(CliError::usage(format!("the identity in {} is {identity}, and only a coordinator signs", dir.display())));
    };
    let authority = Authority::from_file(&args.root_key, &mesh)?;
    let root = root_sha256(authority.root_pem()).map_err(|error| CliError::usage(error.to_string()))?;
    if !bundle.trusts(&root) {
        return Err(CliError::usage(format!("{} is not a root of mesh {mesh}: nobody there would trust what it signs", args.root_key.display())));
    }
    let end = |cert_pem: &str| authority::end_of(cert_pem).map(|end| end.0);
    let before = authority::issuer_in(dir)?.map(|issuer| end(issuer.cert_pem())).transpose()?;
    let issuer = authority.issuer(args.name.as_deref().unwrap_or(&member.to_string()))?;
    let until = end(issuer.cert_pem())?;
    if !args.dry_run {
        authority::put_issuer(dir, issuer.cert_pem(), &issuer.key_pem())?;
        authority::write(Point::Provision, &dir.join("roots.pem"), &bundle.roots_pem, 0o644)?;
        for made in ["issuer.pem", "issuer.key", "roots.pem"] {
            host::give_to_owner_of(dir, &dir.join(made)).map_err(|error| CliError::failed(format!("{}: {error}", dir.join(made).display())))?;
        }
    }
    let at = |end: i64| time::local(end, now(), &zone());
    let replaced = before.map_or_else(|| "it had none".to_owned(), |end| format!("the one before ends at {}", at(end)));
    let words = if args.dry_run {
        format!("✔ would give {member} an issuer that is good until {}; {replaced}; nothing was changed", at(until))
    } else {
        format!(
            "✔ {member} has an issuer that is good until {}; {replaced}\n  it is used from the next start on:  systemctl restart mainstay-coordinator",
            at(until)
        )
    };
    let told = json!({ "member": member.to_string(), "dir": dir, "dryRun": args.dry_run, "notAfterUnixMs": until, "replacedNotAfterUnixMs": before });
    screen.done(&told, &words)?;
    Ok(Exit::Success)
}
