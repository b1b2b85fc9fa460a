//! The settings file of a first coordinator, with a word about each setting.

use mainstay_core::MemberId;

/// What goes into it.
pub struct Wanted<'a> {
    pub mesh: &'a str,
    pub dir: &'a str,
    pub member: &'a str,
    pub id: MemberId,
    pub listen: &'a str,
    pub advertise: &'a str,
    pub enrol_listen: &'a str,
    pub http_listen: &'a str,
    pub operator: &'a str,
}

/// The file's text.
pub fn text(wanted: &Wanted<'_>) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    format!(
        "\
# A coordinator of mesh {mesh}. Made by `mainstay init`; yours to change.
# Each setting can also be a flag or a variable, which go before this file:
# mainstay-coordinator --help. It holds no secret.

# Certificates and state. Readable by the user that runs the coordinator only.
dir = {dir}
# Name of this member, for people.
name = {member}

# gRPC with mutual TLS, for members, agents and operators.
listen = {listen}
# Where they reach it: a name or address that is good from everywhere.
advertise = {advertise}
# Enrolment, for whoever has a join token. HTTPS with a server certificate.
enrol_listen = {enrol_listen}
# /metrics, /healthz and /readyz, without TLS; \"none\" switches them off.
http_listen = {http_listen}

# Text, or json for a log collector.
log_format = \"text\"
# log = \"info,openraft=error\"

# The mesh begins with this member alone, and with this admin. Both count once,
# on an empty disk; where there is a mesh, they mean nothing.
form = {form}
admins = {operator}
",
        mesh = wanted.mesh,
        dir = quoted(wanted.dir),
        member = quoted(wanted.member),
        listen = quoted(wanted.listen),
        advertise = quoted(wanted.advertise),
        enrol_listen = quoted(wanted.enrol_listen),
        http_listen = quoted(wanted.http_listen),
        form = quoted(&format!("{}={}", wanted.id, wanted.advertise)),
        operator = quoted(wanted.operator),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_its_word() {
        let wanted = Wanted {
            mesh: "prod",
            dir: "/var/lib/mainstay",
            member: "c1",
            id: MemberId(0xab),
            listen: "0.0.0.0:7400",
            advertise: "server1.example:7400",
            enrol_listen: "0.0.0.0:7401",
            http_listen: "127.0.0.1:7402",
            operator: "ana",
        };
        insta::assert_snapshot!(text(&wanted));
    }

    #[test]
    fn it_is_toml_whatever_the_names_are() {
        let wanted = Wanted {
            mesh: "prod",
            dir: "/a \"b\"\\c",
            member: "c1",
            id: MemberId(1),
            listen: "a:1",
            advertise: "a:1",
            enrol_listen: "a:2",
            http_listen: "none",
            operator: "ana",
        };
        let table: toml::Table = text(&wanted).parse().unwrap();
        assert_eq!(table["dir"].as_str(), Some("/a \"b\"\\c"));
        assert_eq!(table["form"].as_str(), Some("0000000000000001=a:1"));
    }
}
