//! `trueline-server`: runs the reference services.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;
use trueline_server::platform::config::{Config, Flags, LogFormat};
use trueline_server::platform::http::observe;
use trueline_server::platform::ingest::{PdfReader, serve_pdf_child};
use trueline_server::platform::serve::{asked_to_stop, base_url, serve, write_ready_file};
use trueline_server::registry::{self, Demonstration, Entry, Failure, Service};

/// The sub-command that the server starts for itself, to read PDFs apart from its own memory.
const PDF_CHILD: &str = "read-pdf";

/// Runs reference services that keep what their contracts promise.
///
/// Try it: `trueline-server serve --contract ragchats --database sqlite::memory: --demo-data --demo-file demo.toml`
/// starts a service that forgets everything when it ends, and writes who can log in to demo.toml.
#[derive(Parser)]
#[command(version, after_long_help = SETTINGS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const SETTINGS: &str = "\
Settings come from flags, then environment variables, then the file given with --config, then defaults.
The file is TOML; a variable is TRUELINE_ and the setting's name in capitals, `__` between section and name:

  listen = \"127.0.0.1:8080\"         TRUELINE_LISTEN            address; port 0 takes a free one
  data-dir = \"trueline-data\"        TRUELINE_DATA_DIR          where databases and the signing secret are kept
  database = \"sqlite://x.db\"        TRUELINE_DATABASE          in place of <data-dir>/<contract>.db
  trusted-proxies = [\"10.0.0.0/8\"]  TRUELINE_TRUSTED_PROXIES   peers whose X-Forwarded-For is believed
  shutdown-seconds = 30             TRUELINE_SHUTDOWN_SECONDS  time for requests in progress when stopping
  [auth]
  jwt-secret-file = \"secret\"        TRUELINE_AUTH__JWT_SECRET_FILE   made beside the database when absent
  jwks-url = \"https://…/jwks.json\"  TRUELINE_AUTH__JWKS_URL    keys of an outside identity provider, for contracts that
                                                             have one; without it a local issuer signs demo tokens
  issuer = \"https://…\"              TRUELINE_AUTH__ISSUER      what its tokens must say of where they are from
  audience = \"…\"                    TRUELINE_AUTH__AUDIENCE    and of whom they are for
  [limits]
  agent-query = 60                  TRUELINE_LIMITS__AGENT_QUERY     requests a window of a rate class
  [model]
  provider = \"embedded\"             TRUELINE_MODEL__PROVIDER         or \"openai\", with the next four
  base-url = \"https://…/v1\"         TRUELINE_MODEL__BASE_URL
  key-file = \"key\"                  TRUELINE_MODEL__KEY_FILE
  name = \"gpt-4o\"                   TRUELINE_MODEL__NAME             in place of the model the caller names
  timeout-seconds = 60              TRUELINE_MODEL__TIMEOUT_SECONDS
  [ingest]
  settle-ms = 300                   TRUELINE_INGEST__SETTLE_MS       wait before a changed source is processed
  pdf-timeout-seconds = 60          TRUELINE_INGEST__PDF_TIMEOUT_SECONDS
  allowed-hosts = [\"docs.test\"]     TRUELINE_INGEST__ALLOWED_HOSTS   hosts that sources may be fetched from
  [oauth.google-calendar]                                    other services that users can connect
  authorization-endpoint = \"https://…\"                     Google's unless set, like the next
  token-endpoint = \"https://…\"
  client-id = \"…\"                                          as registered there, like the next two
  client-secret = \"…\"
  redirect-uri = \"https://…\"
  [log]
  format = \"text\"                   TRUELINE_LOG__FORMAT             or \"json\"
  filter = \"info\"                   TRUELINE_LOG__FILTER";

#[derive(Subcommand)]
enum Command {
    /// Serve a contract until SIGINT or SIGTERM.
    Serve(Serve),
    /// Create demonstration users, agents and keys in the database, or put them back to their start, and print them.
    DemoData(DemoData),
    /// Bring the database's tables up to date and stop.
    Migrate(Common),
    /// Read a PDF from standard input and write its text. The server starts this for itself, apart from its own memory.
    #[command(name = PDF_CHILD, hide = true)]
    ReadPdf,
}

#[derive(Args)]
struct Common {
    /// The contract to serve; may be repeated, and each is then below a path of its name.
    #[arg(long, required = true, value_name = "CONTRACT", value_parser = contracts())]
    contract: Vec<String>,
    /// TOML file with settings; see the end of `--help`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for databases and the signing secret.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Database URL, such as sqlite://data/ragchats.db, or sqlite::memory: for one that is forgotten.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Form of the log on standard error.
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// What is logged: error, warn, info (a line a request), debug, or a list such as warn,trueline_server=debug.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    common: Common,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Write the base URL to this file once requests are answered.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Requests a window of a rate class, in place of the contract's figure; may be repeated.
    #[arg(long, value_name = "CLASS=REQUESTS", value_parser = parse_limit)]
    limit: Vec<(String, u64)>,
    /// Create the demonstration data first.
    #[arg(long)]
    demo_data: bool,
    /// Write the demonstration's users and keys to this file (.toml, .json or .env).
    #[arg(long, value_name = "FILE", requires = "demo_data")]
    demo_file: Option<PathBuf>,
    /// Write a profile for `trueline check` against this server, with the demonstration's credentials, to this file.
    #[arg(long, value_name = "FILE", requires = "demo_data")]
    profile: Option<PathBuf>,
}

#[derive(Args)]
struct DemoData {
    #[command(flatten)]
    common: Common,
    /// Write to this file (.toml, .json or .env) and not to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Form of what is printed on standard output.
    #[arg(long, value_enum, default_value = "toml")]
    format: DemoFormat,
}

/// The names that the registry knows.
fn contracts() -> PossibleValuesParser {
    registry::ENTRIES.iter().map(|entry| PossibleValue::new(entry.name).help(entry.about)).into()
}

#[derive(Clone, Copy, ValueEnum)]
enum DemoFormat {
    Toml,
    Json,
    /// Lines for a shell: NAME='value'
    Env,
}

fn main() -> ExitCode {
    let command = Cli::parse().command;
    if matches!(command, Command::ReadPdf) {
        return serve_pdf_child();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let done = runtime.block_on(async {
        match command {
            Command::Serve(options) => run_server(options).await,
            Command::DemoData(options) => make_demo_data(options).await,
            Command::Migrate(options) => migrate(options).await,
            Command::ReadPdf => Ok(()),
        }
    });
    // A PDF that is read on a thread must not keep the program from ending.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(error.as_ref()),
    }
}

/// Prints an error with its causes.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    let mut text = format!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!("\n  because: {error}"));
        cause = error.source();
    }
    eprintln!("{text}");
    ExitCode::FAILURE
}

/// A service that is served, and below which path.
struct Served {
    entry: &'static Entry,
    service: Box<dyn Service>,
    prefix: String,
    demonstration: Option<Demonstration>,
}

/// Puts the services together: one below the root, or several below their names.
async fn build(common: &Common, config: &Config) -> Result<Vec<Served>, Failure> {
    let several = common.contract.len() > 1;
    if several && config.database.is_some() {
        return Err("--database is for one contract; several have a database each in the data folder".into());
    }
    let known = |class: &str| common.entries().any(|entry| classes(entry).any(|known| known == class));
    if let Some(class) = config.limits.keys().find(|class| several && !known(class)) {
        return Err(format!("limits: none of the contracts has a rate class `{class}`").into());
    }
    let mut services = Vec::new();
    for entry in common.entries() {
        let mut own = config.clone();
        if several {
            own.limits.retain(|class, _| classes(entry).any(|known| known == class));
        }
        let service = (entry.build)(&own, pdf_reader()).await?;
        let prefix = if several { format!("/{}", entry.name) } else { String::new() };
        services.push(Served { entry, service, prefix, demonstration: None });
    }
    Ok(services)
}

/// The names of a contract's rate classes.
fn classes(entry: &Entry) -> impl Iterator<Item = &'static str> {
    entry.contract.rate_limits.into_iter().flat_map(|limits| limits.classes).map(|class| class.name)
}

/// Where something about one of several contracts is written: its name before the extension.
fn file_of(path: &Path, served: &Served) -> PathBuf {
    if served.prefix.is_empty() {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    path.with_file_name(format!("{stem}-{}{extension}", served.entry.name))
}

async fn run_server(options: Serve) -> Result<(), Failure> {
    let flags = Flags { listen: options.listen, limits: options.limit.into_iter().collect(), ..options.common.flags() };
    let config = settings(&options.common, &flags)?;
    let mut services = build(&options.common, &config).await?;
    if options.demo_data {
        for served in &mut services {
            let demo = served.service.seed().await?;
            match &options.demo_file {
                Some(path) => write_private(&file_of(path, served), render(&demo, format_of(path)))?,
                None => tracing::info!("demonstration data created; `trueline-server demo-data` prints it"),
            }
            served.demonstration = Some(demo);
        }
    }
    let mut workers = Vec::new();
    let mut router = Router::new();
    for served in &services {
        workers.extend(served.service.start().await?);
        router = match served.prefix.as_str() {
            "" => served.service.router(),
            prefix => router.nest(prefix, served.service.router()),
        };
    }
    let router = observe(router, config.proxies()?);
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
    let address = listener.local_addr()?;
    for served in &services {
        let url = base_url(address, &served.prefix);
        served.service.reached_at(&url);
        if let (Some(path), Some(demo)) = (&options.profile, &served.demonstration) {
            write_private(&file_of(path, served), &(demo.profile)(&url))?;
        }
        tracing::info!(url, contract = served.entry.name, "listening");
    }
    if let Some(path) = &options.ready_file {
        write_ready_file(path, address, "").map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }

    serve(listener, router, asked_to_stop(), Duration::from_secs(config.shutdown_seconds)).await;

    for workers in workers {
        workers.stop().await;
    }
    for served in &services {
        served.service.close().await;
    }
    tracing::info!("stopped");
    Ok(())
}

async fn make_demo_data(options: DemoData) -> Result<(), Failure> {
    let config = settings(&options.common, &options.common.flags())?;
    for served in build(&options.common, &config).await? {
        let demo = served.service.seed().await?;
        match &options.out {
            Some(path) => write_private(&file_of(path, &served), render(&demo, format_of(path)))?,
            None => print!("{}", render(&demo, options.format)),
        }
        served.service.close().await;
    }
    Ok(())
}

async fn migrate(options: Common) -> Result<(), Failure> {
    let config = settings(&options, &options.flags())?;
    // Opening a database migrates it.
    for served in build(&options, &config).await? {
        served.service.close().await;
        println!("{} is up to date", config.database_url(served.entry.name)?);
    }
    Ok(())
}

fn pdf_reader() -> PdfReader {
    match std::env::current_exe() {
        Ok(program) => PdfReader::Child { program, arguments: vec![PDF_CHILD.to_owned()] },
        Err(error) => {
            tracing::warn!(%error, "cannot find this program's file; PDFs are read in this process");
            PdfReader::Thread
        }
    }
}

impl Common {
    /// What is to be served, in the order of the registry, each once.
    fn entries(&self) -> impl Iterator<Item = &'static Entry> {
        registry::ENTRIES.iter().filter(|entry| self.contract.iter().any(|name| name == entry.name))
    }

    fn flags(&self) -> Flags {
        let mut log = BTreeMap::new();
        if let Some(format) = self.log_format.and_then(|format| format.to_possible_value()) {
            log.insert("format", format.get_name().to_owned());
        }
        if let Some(filter) = &self.log {
            log.insert("filter", filter.clone());
        }
        Flags { data_dir: self.data_dir.clone(), database: self.database.clone(), log, ..Flags::default() }
    }
}

/// Reads the settings and starts the log that they ask for.
fn settings(common: &Common, flags: &Flags) -> Result<Config, Failure> {
    let config = Config::load(common.config.as_deref(), flags)?;
    let filter = EnvFilter::try_new(&config.log.filter)
        .map_err(|error| format!("log.filter {:?} is not usable: {error}", config.log.filter))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(config)
}

fn parse_limit(text: &str) -> Result<(String, u64), String> {
    let (class, requests) = text.split_once('=').ok_or("must be CLASS=REQUESTS, such as agent-query=600")?;
    Ok((class.to_owned(), requests.parse().map_err(|_| format!("{requests:?} is not a number of requests"))?))
}

fn format_of(path: &Path) -> DemoFormat {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json" | "JSON") => DemoFormat::Json,
        Some("env") => DemoFormat::Env,
        // `.env` has no extension: all of it is the name.
        _ if path.file_name().is_some_and(|name| name == ".env") => DemoFormat::Env,
        _ => DemoFormat::Toml,
    }
}

fn render(demo: &Demonstration, format: DemoFormat) -> &str {
    match format {
        DemoFormat::Toml => &demo.toml,
        DemoFormat::Json => &demo.json,
        DemoFormat::Env => &demo.env,
    }
}

/// Writes a file that only its owner can read: there are passwords in it.
fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
    written.map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
