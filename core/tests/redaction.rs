//! Credentials by their shapes: what each looks like where people meet it, and what becomes of it.
//!
//! Each row has the secret apart from its surroundings, so that the test can ask for both: nothing of the
//! secret is left, and the words that tell a person what happened are. The secrets are put together here, so
//! that no program that looks for leaked ones finds any in this file.
#![allow(clippy::unwrap_used)]

use mainstay_core::redact::{MARK, Redactor, redact, redact_line};

/// Before the secret, the secret, after it.
type Row = (&'static str, String, &'static str);

fn rows() -> Vec<Row> {
    let hex = "0123456789abcdef".repeat(4);
    let letters = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789";
    let of = |prefix: &str, rest: &str| format!("{prefix}{rest}");
    vec![
        ("key ", of("AKIA", "IOSFODNN7EXAMPLE"), " was denied"),
        ("key ", of("ASIA", "IOSFODNN7EXAMPLE"), " was denied"),
        ("aws_secret_access_key = ", of("wJalrXUtnFEMI/K7MDENG/", "bPxRfiCYEXAMPLEKEY"), ""),
        ("AWS_SESSION_TOKEN=", of("FwoGZXIvYXdzE", letters), " aws s3 ls"),
        ("GET /bucket/x?X-Amz-Credential=", of("id%2F20260101", "%2Feu"), "&X-Amz-Expires=60"),
        ("GET /bucket/x?X-Amz-Date=1&X-Amz-Signature=", hex.clone(), " 403"),
        ("https://account.blob.core.windows.net/c?sv=2024&sig=", of("abcDEF", "123%3D"), "&se=2026"),
        ("DefaultEndpointsProtocol=https;AccountKey=", of("bXlrZXk", "bXlrZXk=="), ";EndpointSuffix=x"),
        ("Authorization: Bearer ", of("abc.", letters), ""),
        ("Authorization: Basic ", of("dXNlcjpw", "YXNz"), ""),
        ("> proxy-authorization: Basic ", of("dXNlcjpw", "YXNz"), ""),
        ("got bearer ", letters.to_owned(), ""),
        ("jwt ", of("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.", "c2lnbmF0dXJl"), " expired"),
        ("clone https://", of("me:", letters), "@git.example/x.git"),
        ("clone https://", of("ghp_", letters), "@github.com/x.git"),
        ("dial postgres://", "app:s3cr3t".to_owned(), "@db:5432/orders"),
        ("redis://", ":s3cr3t".to_owned(), "@cache:6379"),
        ("amqp://", "app:p@ss:word".to_owned(), "@mq/"),
        ("token ", of("ghp_", letters), ""),
        ("token ", of("github_pat_", letters), ""),
        ("token ", of("glpat-", letters), ""),
        ("token ", of("xoxb-", "123456789012-abcdefghijkl"), ""),
        ("post to https://hooks.slack.com", of("/services/T0000/B0000/", "abcdefgh"), " failed"),
        ("post to https://discord.com", of("/api/webhooks/1234/", letters), " failed"),
        ("key ", of("sk_live_", letters), ""),
        ("key ", of("sk-proj-", letters), ""),
        ("key ", of("AIza", "SyA0123456789abcdefghijklmnopqrstuv"), ""),
        ("token ", of("ya29.", letters), ""),
        ("token ", of("npm_", letters), ""),
        ("//registry.example/:_authToken=", of("abcdef-", "0123"), ""),
        ("token ", of("hvs.", letters), ""),
        ("token ", of("dop_v1_", &hex), ""),
        ("token ", of("hf_", letters), ""),
        ("token ", of("glsa_", letters), ""),
        ("age ", of("AGE-SECRET-KEY-1", "QQPQZ0123456789ABCDEFGH"), ""),
        ("mainstay-agent --join ", format!("mst1.{hex}.{hex}"), ""),
        ("password=", "hunter2".to_owned(), " user=ana"),
        ("PGPASSWORD=", "hunter2".to_owned(), " psql"),
        ("spring.datasource.password: ", "hunter2".to_owned(), ""),
        ("{\"password\": \"", "hun\\\"ter2".to_owned(), "\"}"),
        ("{\"clientSecret\":\"", "hunter2".to_owned(), "\",\"n\":1}"),
        ("{\"auths\":{\"r\":{\"auth\": \"", "dXNlcjpwYXNz".to_owned(), "\"}}}"),
        ("STATEMENT:  ALTER ROLE app PASSWORD '", "hunter2".to_owned(), "'"),
        ("CREATE USER 'a'@'%' IDENTIFIED BY '", "hunter2".to_owned(), "'"),
        ("requirepass ", "hunter2".to_owned(), ""),
        ("masterauth \"", "hunter2".to_owned(), "\""),
        ("machine x login ana password ", "hunter2".to_owned(), ""),
        ("mysqldump -u root -p", "hunter2".to_owned(), " orders"),
        ("curl -u ana:", "hunter2".to_owned(), " https://x"),
        ("mysqldump --password ", "hunter2".to_owned(), " orders"),
        ("root:", of("$6$saltsalt$", letters), ":19000:0:99999:7:::"),
        ("htpasswd ana:", of("$2y$05$", "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"), ""),
        ("rolpassword ", of("SCRAM-SHA-256$4096:", "c2FsdHNhbHQ=$c3RvcmVk:c2VydmVy"), ""),
        ("Set-Cookie: ", "sid=hunter2; Path=/".to_owned(), ""),
        ("X-Vault-Token: ", "s.12345".to_owned(), ""),
        ("GET /x?access_token=", "hunter2".to_owned(), "&page=2"),
        ("key: ", of("-----BEGIN RSA PRIVATE KEY-----\\nMIIE", "owIBAAKC\\n-----END RSA PRIVATE KEY-----"), " loaded"),
        ("", of("-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQ", "OYBF\n-----END PGP PRIVATE KEY BLOCK-----"), "\nafter"),
    ]
}

#[test]
fn nothing_of_a_credential_is_left_and_its_surroundings_are() {
    for (before, secret, after) in rows() {
        let text = format!("{before}{secret}{after}");
        let clean = redact(&text);
        assert!(clean.contains(MARK), "{text:?} is not known: {clean:?}");
        // No eight characters in a row, so that no half is left either.
        let letters: Vec<char> = secret.chars().collect();
        let window = letters.len().min(8);
        for part in letters.windows(window).map(|part| part.iter().collect::<String>()) {
            assert!(!clean.contains(&part), "{part:?} of {text:?} is left: {clean:?}");
        }
        for word in before.split_whitespace().chain(after.split_whitespace()).filter(|word| word.chars().all(char::is_alphabetic)) {
            assert!(clean.contains(word), "{word} of {text:?} is gone: {clean:?}");
        }
    }
}

#[test]
fn a_line_is_as_clean_as_a_text_and_a_second_pass_changes_nothing() {
    for (before, secret, after) in rows() {
        let text = format!("{before}{secret}{after}");
        let clean = redact(&text).into_owned();
        assert_eq!(redact(&clean), clean, "of {text:?}");
        if !text.contains('\n') {
            assert_eq!(redact_line(&text), clean);
            assert_eq!(Redactor::default().line(&text).unwrap(), clean);
        }
    }
}

#[test]
fn what_is_no_credential_stays() {
    for text in [
        "GET https://shop.example/cart?page=2&sort=signature 200 in 12 ms",
        "password authentication failed for user \"app\"",
        "FATAL:  password authentication failed for user \"replicator\"",
        "user ana logged in from 10.1.2.3 port 22",
        "token bucket refilled, 12 tokens left",
        "login of ana, password not asked for",
        "mysql -u root -p orders",
        "secret store is sealed",
        "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "-----BEGIN CERTIFICATE-----",
        "http://db:5432/x and ana@example.org and 12:30:01",
        "price is $6 and $15 more",
        "curl -u ana https://x",
        "kind: Secret, name: orders-db, namespace: shop",
        "see docs/auth.md: \"author\": \"ana\"",
    ] {
        assert_eq!(redact(text), text);
    }
}
