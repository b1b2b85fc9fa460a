//! `mainstay token` and `mainstay revoke`

use mainstay_client::Mesh;
use mainstay_core::{Identity, WallTime};
use mainstay_proto::v1::create_join_token_request::Scope;
use mainstay_proto::v1::{CreateJoinTokenRequest, JoinGrant, ListJoinTokensRequest, RevokeJoinTokenRequest, RevokeRequest};

use super::{Screen, now, print, zone};
use crate::args::identity::{Create, Revoke, Scope as ScopeArgs, Token};
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::progress::note;
use crate::render::{Table, Terminal, time};

/// As much of an id as people are shown.
const ID_SHOWN: usize = 12;

pub async fn token(verb: &Token, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    match verb {
        Token::Create(create) => make(create, mesh, screen).await?,
        Token::List => {
            let tokens = mesh.list_join_tokens(ListJoinTokensRequest {}).await?;
            screen.show(&tokens, |tokens| render(&tokens.tokens, screen.terminal, now()))?;
        }
        Token::Revoke { id, dry_run } => {
            let answer = mesh.revoke_join_token(RevokeJoinTokenRequest { id: id.clone(), dry_run: *dry_run }).await?;
            let what = answer.token.as_ref().map(described).unwrap_or_default();
            let words = if *dry_run { format!("✔ would revoke {what}; nothing was changed") } else { format!("✔ revoked {what}") };
            screen.done(&answer, &words)?;
        }
    }
    Ok(Exit::Success)
}

async fn make(create: &Create, mesh: &Mesh, screen: Screen) -> Result<(), CliError> {
    let role = if create.scope.operator.is_some() { create.role.as_str().to_owned() } else { String::new() };
    let request = CreateJoinTokenRequest { scope: scope(&create.scope), valid_ms: create.valid.0, uses: create.uses, role, dry_run: create.dry_run };
    let token = mesh.create_join_token(request).await?;
    let until = time::local(token.expires_unix_ms, now(), &zone());
    if screen.is_json() {
        screen.show(&token, |_| String::new())
    } else if create.dry_run {
        print(&format!("✔ would make one that is good until {until}; nothing was changed\n"))
    } else {
        // The token alone on standard output, so that it can go into a file; what is to be known beside it.
        print(&format!("{}\n", token.token))?;
        note(screen.notes, &format!("good until {until}; it is shown only this once"));
        Ok(())
    }
}

fn scope(scope: &ScopeArgs) -> Option<Scope> {
    let named = [
        scope.nodes.clone().map(Scope::NodesOf),
        scope.cluster_agents.clone().map(Scope::ClusterAgentsOf),
        scope.operator.clone().map(Scope::Operator),
        scope.client.clone().map(Scope::Client),
        scope.coordinator.then_some(Scope::Coordinator(true)),
    ];
    named.into_iter().flatten().next()
}

/// A token in a sentence.
pub fn described(token: &JoinGrant) -> String {
    format!("join token {} for {}", shown_id(token), whom(token))
}

pub fn shown_id(token: &JoinGrant) -> &str {
    token.id.get(..ID_SHOWN).unwrap_or(&token.id)
}

fn whom(token: &JoinGrant) -> String {
    let of = if matches!(token.scope.as_str(), "nodes" | "cluster agents") { " of" } else { "" };
    format!("{}{of} {}", token.scope, token.name).trim_end().to_owned()
}

fn render(tokens: &[JoinGrant], terminal: Terminal, now: WallTime) -> String {
    if tokens.is_empty() {
        return "no join tokens that could be used: make one with  mainstay token create\n".to_owned();
    }
    let mut table = Table::new(terminal, &["token", "lets in", "uses", "until"]);
    for token in tokens {
        table.row(vec![
            shown_id(token).into(),
            whom(token).into(),
            token.uses.to_string().into(),
            time::local(token.expires_unix_ms, now, &zone()).into(),
        ]);
    }
    table.render()
}

pub async fn revoke(revoke: &Revoke, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let identity: Identity = revoke.identity.parse().map_err(|error| CliError::usage(format!("{error}")))?;
    revoke_identity(&identity, &revoke.reason, revoke.dry_run, mesh, screen).await
}

/// Has an identity refused from now on.
pub async fn revoke_identity(identity: &Identity, reason: &str, dry_run: bool, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    let answer = mesh.revoke_identity(RevokeRequest { identity: identity.to_string(), reason: reason.to_owned(), dry_run }).await?;
    let words = if dry_run {
        format!("✔ {identity} would be refused for good; nothing was changed")
    } else {
        format!("✔ {identity} is refused from now on, and its connections are ended")
    };
    screen.done(&answer, &words)?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(scope: &str, name: &str) -> JoinGrant {
        JoinGrant { id: "5f2c9a81d0b3ffff".into(), scope: scope.into(), name: name.into(), uses: 3, expires_unix_ms: 1 }
    }

    #[test]
    fn tokens_say_whom_they_let_in() {
        let whom = |scope, name| described(&grant(scope, name));
        assert_eq!(whom("nodes", "prod"), "join token 5f2c9a81d0b3 for nodes of prod");
        assert_eq!(whom("operator", "ana"), "join token 5f2c9a81d0b3 for operator ana");
        assert_eq!(whom("coordinator", ""), "join token 5f2c9a81d0b3 for coordinator");
        let text = render(&[grant("nodes", "prod")], Terminal::PIPE, WallTime(1));
        assert!(text.lines().count() == 2 && text.contains("5f2c9a81d0b3  nodes of prod  3"), "{text}");
    }
}
