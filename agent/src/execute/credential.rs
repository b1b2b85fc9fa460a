//! What a connection sends with a request over HTTP: a token, or a user and a password.

use reqwest::RequestBuilder;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use super::Context;
use crate::connections::{Connection, Secret};

/// Read for one attempt.
pub(super) enum Credential {
    None,
    /// As a header has it.
    Bearer(HeaderValue),
    Basic {
        user: String,
        password: Secret,
    },
}

impl Credential {
    /// Reads what the connection names.
    ///
    /// # Errors
    /// In words, when it cannot be read or sent; never anything of it.
    pub fn of(connection: &Connection, context: &Context) -> Result<Credential, String> {
        let Some(reference) = &connection.secret else { return Ok(Credential::None) };
        let secret = context.secrets.read(reference).map_err(|error| error.to_string())?;
        if !connection.bearer {
            return Ok(Credential::Basic { user: connection.user.clone().unwrap_or_default(), password: secret });
        }
        let header = HeaderValue::from_str(&format!("Bearer {}", secret.reveal()));
        let mut header = header.map_err(|_| format!("the token of its {reference} holds what cannot stand in a header"))?;
        header.set_sensitive(true);
        Ok(Credential::Bearer(header))
    }

    /// Puts it into a request. A redirect to another host goes without it: that is the library's own rule.
    pub fn add(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Credential::None => request,
            Credential::Bearer(header) => request.header(AUTHORIZATION, header.clone()),
            Credential::Basic { user, password } => request.basic_auth(user, Some(password.reveal())),
        }
    }
}
