//! The operator's command line.
//!
//! In: arguments, the environment, a mesh. Out: what the mesh says, for people or as JSON, and an exit status.
//! It decides nothing about maintenance. `up` runs a whole mesh as its children.

mod args;
mod authority;
mod bundle;
mod connection;
mod contexts;
mod doctor;
mod error;
mod exit;
mod host;
mod mesh_finder;
mod plugin;
mod render;
mod up;
mod verbs;
mod yaml;

use std::process::ExitCode;

use args::{Cli, Verb};
use clap::{CommandFactory, FromArgMatches};
use error::CliError;
use exit::Exit;
use mainstay_client::Mesh;
use plugin::Called;
use verbs::Screen;

fn main() -> ExitCode {
    mainstay_client::tls::install_provider();
    let called = Called::by(&std::env::args_os().next().unwrap_or_default());
    if called == Called::Completion {
        let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
        // Without a reader there is nobody to complete anything.
        let _ = verbs::print(&format!("{}\n", plugin::complete(Cli::command(), &words)));
        return ExitCode::SUCCESS;
    }
    let matches = called.command(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let filter = tracing_subscriber::EnvFilter::try_from_env("MAINSTAY_LOG").unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).without_time().init();
    let outcome = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        // One thread starts all children: they are to end when their parent does, and to the kernel the parent
        // is the thread that started them.
        Ok(runtime) => runtime.block_on(run(&cli)),
        Err(error) => Err(CliError::failed(format!("this program cannot run: {error}"))),
    };
    let exit = outcome.unwrap_or_else(|error| {
        let error = connection::explain(error, &cli.global);
        let error = if let Verb::Backup(verb) = &cli.verb { verbs::backup::unreached(verb, error) } else { error };
        // Without a reader of errors there is only the status left.
        let _ = host::print_error(&format!("{error}\n"));
        error.exit
    });
    exit.into()
}

async fn run(cli: &Cli) -> Result<Exit, CliError> {
    let (global, screen) = (&cli.global, Screen::new(&cli.global));
    match &cli.verb {
        Verb::Up(args) => return up::up(args, global, screen).await,
        Verb::Doctor => return verbs::doctor::doctor(global, screen).await,
        Verb::SupportBundle(args) => return verbs::bundle::support_bundle(args, global, screen).await,
        Verb::Init(args) => return verbs::init::init(args, global, screen),
        Verb::InitCluster(args) => return verbs::init::init_cluster(args, screen).await,
        Verb::Steps { kind } => return verbs::steps::steps(kind.as_deref(), screen),
        Verb::Backup(verb) if !verbs::backup::is_of_mesh(verb) => return verbs::backup::backup(verb, screen).await,
        Verb::Login(login) => return verbs::login::login(login, global, screen).await,
        Verb::Context(verb) => return verbs::context::context(verb, screen).await,
        Verb::Plan(args::plan::Plan::Validate { source }) => return verbs::validate::validate(&source.paths(), screen),
        Verb::Plan(args::plan::Plan::Schema) => return verbs::validate::print_schema(),
        Verb::Member(args::node::Member::Issuer(args)) => return verbs::issuer::issuer(args, global, screen),
        Verb::Mesh(args::mesh::Mesh::Recover(recover)) => return verbs::mesh::recover(recover, global, screen).await,
        Verb::Mesh(args::mesh::Mesh::Root(args::root::Root::New(new))) => return verbs::root::new(new, screen),
        Verb::Completion { shell } => return completion(*shell),
        Verb::Version => {
            screen.done(&serde_json::json!({ "version": env!("CARGO_PKG_VERSION") }), concat!("mainstay ", env!("CARGO_PKG_VERSION")))?;
            return Ok(Exit::Success);
        }
        _ => {}
    }
    let mesh = connection::connect(global).await?;
    let exit = with_mesh(&cli.verb, &mesh, screen).await;
    connection::renew_if_asked(&mesh, global).await;
    exit
}

async fn with_mesh(verb: &Verb, mesh: &Mesh, screen: Screen) -> Result<Exit, CliError> {
    match verb {
        Verb::Status => verbs::status::status(mesh, screen).await,
        Verb::Node(verb) => verbs::node::node(verb, mesh, screen).await,
        Verb::Member(verb) => verbs::member::member(verb, mesh, screen).await,
        Verb::Mesh(args::mesh::Mesh::Snapshot(snapshot)) => verbs::mesh::snapshot(snapshot, mesh, screen).await,
        Verb::Mesh(args::mesh::Mesh::Root(verb)) => verbs::root::root(verb, mesh, screen).await,
        Verb::Run(verb) => verbs::run::run(verb, mesh, screen).await,
        Verb::Why { run } => verbs::run::why(run.as_deref(), mesh, screen).await,
        Verb::Finding(verb) => verbs::finding::finding(verb, mesh, screen).await,
        Verb::Lease(verb) => verbs::lease::lease(verb, mesh, screen).await,
        Verb::Connection(verb) => verbs::connection::connection(verb, mesh, screen).await,
        Verb::Backup(verb) => verbs::backup::of_mesh(verb, mesh, screen).await,
        Verb::Plan(verb) => verbs::plan::plan(verb, mesh, screen).await,
        Verb::Audit { limit } => verbs::audit::audit(*limit, mesh, screen).await,
        Verb::Operator(verb) => verbs::operator::operator(verb, mesh, screen).await,
        Verb::Token(verb) => verbs::token::token(verb, mesh, screen).await,
        Verb::Revoke(revoke) => verbs::token::revoke(revoke, mesh, screen).await,
        Verb::Mesh(args::mesh::Mesh::Recover(_))
        | Verb::Up(_)
        | Verb::Init(_)
        | Verb::InitCluster(_)
        | Verb::Doctor
        | Verb::SupportBundle(_)
        | Verb::Steps { .. }
        | Verb::Context(_)
        | Verb::Login(_)
        | Verb::Completion { .. }
        | Verb::Version => Ok(Exit::Success),
    }
}

fn completion(shell: clap_complete::Shell) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mainstay", &mut script);
    verbs::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
