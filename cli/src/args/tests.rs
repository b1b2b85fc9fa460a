#![allow(clippy::unwrap_used)]
use clap::{CommandFactory, Parser};

use super::*;

fn parsed(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_definition_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn which_mesh_may_be_said_before_and_after_the_verb() {
    for line in ["mainstay --dir /m run list -o json", "mainstay run list --dir /m -o json", "mainstay run --dir /m list --output json"] {
        let cli = parsed(line).unwrap();
        assert_eq!((cli.global.dir, cli.global.output), (Some("/m".into()), Output::Json), "{line}");
    }
    assert!(parsed("mainstay status --dir /m --context prod").is_err());
}

#[test]
fn wrong_words_are_bad_usage() {
    for line in [
        "mainstay up --coordinators 2",
        "mainstay up --agents 0",
        "mainstay run abort daily-1",
        "mainstay run artifacts daily-1 --to x",
        "mainstay run artifacts daily-1 --dry-run",
        "mainstay run artifacts daily-1 --get x --forget x",
        "mainstay lease run demo",
        "mainstay lease run demo --ttl 5 -- true",
        "mainstay token create",
        "mainstay token revoke",
        "mainstay operator add ana",
        "mainstay operator role ana root",
        "mainstay operator revoke ana",
        "mainstay login mst1.a.b --token-file f",
        "mainstay login mst1.a.b --name x --context y",
        "mainstay token create --nodes a --operator b",
        "mainstay context add x --members a:1",
        "mainstay run start daily --set x",
        "mainstay run start daily --dry-run --wait",
        "mainstay run undo daily-1",
        "mainstay run approve daily-1 --wave 0",
        "mainstay plan preview",
        "mainstay plan preview daily -f daily.yaml",
        "mainstay plan preview -f daily.yaml --revision 2",
        "mainstay plan diff",
        "mainstay plan show daily --revisions --revision 2",
        "mainstay plan suspend daily",
        "mainstay backup run a/b --store s --files /etc",
        "mainstay backup run a/b --store s --drill k",
        "mainstay backup run a/b --store s --drill k --files /etc --redis redis://r",
        "mainstay backup restore a/b --store s --to d",
        "mainstay backup restore a/b --store s --to d --identity k --at noon",
        "mainstay backup erase a/b --store s",
        "mainstay backup erase a/b --sign k",
        "mainstay backup erase a/b --store s --dry-run --confirm a/b",
        "mainstay nonsense",
    ] {
        let error = parsed(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

/// Every verb's help, so that a change of it shows in review.
#[test]
fn help_texts() {
    fn collect(command: &mut clap::Command, path: &str, out: &mut String) {
        let path = format!("{path} {}", command.get_name());
        out.push_str(&format!("### {}\n\n{}\n", path.trim(), command.render_help()));
        for sub in command.get_subcommands_mut() {
            collect(sub, &path, out);
        }
    }
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut text = String::new();
    collect(&mut command, "", &mut text);
    insta::assert_snapshot!(text);
}
