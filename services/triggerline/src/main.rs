//! The one binary. Each subcommand is a room of its own:
//! the services ([`services`]), what sets them up ([`setup`]), what became of the
//! settings ([`check`], [`dump`]), who may use them ([`manage`]), what
//! their customers may ask ([`client`]), what receivers check ([`webhook`]), what selectors mean ([`selectors`]), and, with the feature
//! `embedded`, the whole platform in this process ([`platform`]), to show ([`demo`]) or to
//! develop against ([`dev`]).

mod check;
mod cli;
mod client;
mod config;
#[cfg(feature = "embedded")]
mod demo;
#[cfg(feature = "embedded")]
mod dev;
mod dump;
#[cfg(feature = "embedded")]
mod embedded;
mod manage;
#[cfg(feature = "embedded")]
mod platform;
mod selectors;
mod services;
mod setup;
mod webhook;

use std::process::ExitCode;

use clap::Parser as _;
use triggerline_service::ConfigError;
use triggerline_service::config::EXIT_BAD_CONFIG;

use cli::{Cli, Command, Secrets, SettingsCommand, Topics};
use config::Config;
use services::Service;

/// A request is some fifty small allocations, freed by whichever thread comes to it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Two TLS providers are linked (a dependency of the embedded broker brings its own), so
    // rustls wants to be told.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("start the runtime")),
    };
    match runtime.block_on(run(cli.command)) {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        #[cfg(feature = "embedded")]
        Command::Demo(options) => return demo::run(&options).await,
        #[cfg(feature = "embedded")]
        Command::Dev(options) => dev::run(&options).await?,
        #[cfg(not(feature = "embedded"))]
        Command::Demo(_) | Command::Dev(_) => anyhow::bail!(
            "this binary was built without the embedded parts (cargo feature \"embedded\")"
        ),
        Command::Gateway(file) => services::run(Service::Gateway, &load(&file)?).await?,
        Command::Matcher(file) => services::run(Service::Matcher, &load(&file)?).await?,
        Command::Delivery(file) => services::run(Service::Delivery, &load(&file)?).await?,
        Command::Storage(file) => services::run(Service::Storage, &load(&file)?).await?,
        Command::Replayer(file) => services::run(Service::Replayer, &load(&file)?).await?,
        Command::Migrate(file) => setup::migrate(&load(&file)?).await?,
        Command::Topics(Topics::Apply(file)) => setup::topics(&load(&file)?).await?,
        Command::Customers(command) => manage::customers(command).await?,
        Command::Keys(command) => manage::keys(command).await?,
        Command::Secrets(Secrets::Seal(file)) => setup::seal(&load(&file)?).await?,
        Command::Inbox(asked) => client::inbox::inbox(asked).await?,
        Command::Tail(asked) => client::inbox::tail(asked).await?,
        Command::Listen(asked) => client::listen::listen(&asked).await?,
        Command::Dlq(asked) => client::dlq::dlq(asked).await?,
        Command::Replay(asked) => client::replay::replay(*asked).await?,
        Command::Replays(asked) => client::replay::replays(asked).await?,
        Command::Sign(asked) => webhook::sign(&asked)?,
        Command::Verify(asked) => webhook::verify(&asked)?,
        Command::JsonPath(asked) => return selectors::jsonpath(&asked),
        Command::Match(asked) => return selectors::r#match(&asked),
        Command::Config(cli::Settings { command }) => match command {
            None => setup::print_defaults(),
            Some(SettingsCommand::Check(file)) => check::check(&load(&file)?).await?,
            Some(SettingsCommand::Dump(file)) => dump::dump(file.config.as_deref())?,
        },
    }
    Ok(ExitCode::SUCCESS)
}

fn load(file: &cli::File) -> Result<Config, ConfigError> {
    Config::load(file.config.as_deref(), &[])
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // `{:#}` tells the causes too, on one line.
    eprintln_error(&format!("{error:#}"));
    if error.is::<ConfigError>() { ExitCode::from(EXIT_BAD_CONFIG) } else { ExitCode::FAILURE }
}

#[allow(clippy::print_stderr, reason = "the one place where a failure is told to a person")]
fn eprintln_error(text: &str) {
    eprintln!("triggerline: {text}");
}
