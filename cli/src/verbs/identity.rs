//! `mainstay token` and `mainstay revoke`

use mainstay_client::Mesh;
use mainstay_core::Identity;
use mainstay_proto::v1::create_join_token_request::Scope;
use mainstay_proto::v1::{CreateJoinTokenRequest, RevokeRequest};

use super::{Screen, now, print, zone};
use crate::args;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::progress::note;
use crate::render::time;

pub async fn token(verb: &args::identity::Token, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let args::identity::Token::Create(create) = verb;
    let request = CreateJoinTokenRequest { scope: scope(&create.scope), valid_ms: create.valid.0, uses: create.uses, role: role(create) };
    let token = mesh.create_join_token(request).await?;
    if screen.is_json() {
        screen.show(&token, |_| String::new())?;
    } else {
        // The token alone on standard output, so that it can go into a file; what is to be known beside it.
        print(&format!("{}\n", token.token))?;
        note(screen.notes, &format!("good until {}; it is shown only this once", time::local(token.expires_unix_ms, now(), &zone())));
    }
    Ok(Exit::Success)
}

fn scope(scope: &args::identity::Scope) -> Option<Scope> {
    let named = [
        scope.nodes.clone().map(Scope::NodesOf),
        scope.operator.clone().map(Scope::Operator),
        scope.client.clone().map(Scope::Client),
        scope.coordinator.then_some(Scope::Coordinator(true)),
    ];
    named.into_iter().flatten().next()
}

fn role(create: &args::identity::Create) -> String {
    if create.scope.operator.is_some() { create.role.as_str().to_owned() } else { String::new() }
}

pub async fn revoke(revoke: &args::identity::Revoke, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let identity: Identity = revoke.identity.parse().map_err(|error| CliError::usage(format!("{error}")))?;
    let answer = mesh.revoke_identity(RevokeRequest { identity: identity.to_string(), reason: revoke.reason.clone() }).await?;
    screen.done(&answer, &format!("✔ {identity} is refused from now on, and its connections are ended"))?;
    Ok(Exit::Success)
}
