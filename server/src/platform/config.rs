//! Settings: flags win over environment variables (`TRUELINE_…`), those over a TOML file, that over the defaults.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Env, Format as _, Serialized, Toml};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use trueline_runtime::contract::Contract;

use super::tokens::{CredentialError, PasswordCost, Secret, random};

/// Shortest signing secret that is taken, in bytes: RFC 7518 section 3.2 asks for 256 bits with HS256.
const MIN_JWT_SECRET_BYTES: usize = 32;

/// A mistake in the settings. The text is for the operator and says where the setting came from.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A setting is unknown or has an unusable value.
    #[error("{0}")]
    Setting(String),
    /// A file that a setting names cannot be used.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// No secret could be made.
    #[error("cannot make a signing secret")]
    Secret(#[source] CredentialError),
}

/// Everything that can be set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Config {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Folder for what the server keeps, when no database is named.
    pub data_dir: PathBuf,
    /// Database URL; `<data-dir>/<contract>.db` when absent.
    pub database: Option<String>,
    /// Peers whose `X-Forwarded-For` is believed, as addresses or networks.
    pub trusted_proxies: Vec<String>,
    /// Seconds that requests in progress are given when the server stops.
    pub shutdown_seconds: u64,
    /// Credentials.
    pub auth: Auth,
    /// Requests a window by rate class, in place of the contract's figures.
    pub limits: BTreeMap<String, u64>,
    /// The language model.
    pub model: Model,
    /// Taking in documents.
    pub ingest: Ingest,
    /// Other services that users can connect, by name.
    pub oauth: BTreeMap<String, OAuth>,
    /// The log.
    pub log: Log,
}

/// How this server is known to an OAuth 2 issuer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct OAuth {
    /// Where browsers are sent for consent; that of the service's usual issuer when absent.
    pub authorization_endpoint: Option<String>,
    /// Where codes are exchanged for tokens; that of the service's usual issuer when absent.
    pub token_endpoint: Option<String>,
    /// The client id.
    pub client_id: Option<String>,
    /// The client secret; public clients have none.
    pub client_secret: Option<Secret>,
    /// Where the issuer sends browsers back to; this server's own address when absent.
    pub redirect_uri: Option<String>,
}

/// Settings of credentials.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Auth {
    /// Secret that tokens are signed with, at least 32 bytes. Made and kept in a file when absent.
    pub jwt_secret: Option<Secret>,
    /// File that holds the secret.
    pub jwt_secret_file: Option<PathBuf>,
    /// Cost of one password hash.
    pub password: PasswordCost,
    /// Address of the identity provider's keys (JWKS), for contracts whose tokens an outside provider issues; without it
    /// a local issuer for development takes its place.
    pub jwks_url: Option<String>,
    /// What `iss` in its tokens must be.
    pub issuer: Option<String>,
    /// What `aud` in its tokens must hold.
    pub audience: Option<String>,
}

/// Settings of the language model.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Model {
    /// Which provider answers.
    pub provider: Provider,
    /// Address of an OpenAI-compatible endpoint, up to and without `/chat/completions`.
    pub base_url: Option<String>,
    /// Its key.
    pub key: Option<Secret>,
    /// File that holds the key.
    pub key_file: Option<PathBuf>,
    /// Model to ask, whatever the caller named.
    pub name: Option<String>,
    /// Seconds for one answer.
    pub timeout_seconds: u64,
}

/// Language model providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provider {
    /// Quotes the sources; deterministic, needs no network.
    Embedded,
    /// An OpenAI-compatible endpoint.
    Openai,
}

/// Settings of taking in documents.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Ingest {
    /// Milliseconds between a change of a source and its processing, so that several uploads are processed together.
    pub settle_ms: u64,
    /// Seconds that one PDF may take to read.
    pub pdf_timeout_seconds: u64,
    /// Hosts (`host` or `host:port`) that `web` and `api` sources may be fetched from.
    pub allowed_hosts: Vec<String>,
}

/// Settings of the log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Log {
    /// Form of a line.
    pub format: LogFormat,
    /// What is logged, in the notation of `tracing`, such as `info` or `warn,trueline_server=debug`.
    pub filter: String,
}

/// Forms of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data_dir: PathBuf::from("trueline-data"),
            database: None,
            trusted_proxies: Vec::new(),
            shutdown_seconds: 30,
            auth: Auth::default(),
            limits: BTreeMap::new(),
            model: Model::default(),
            ingest: Ingest::default(),
            oauth: BTreeMap::new(),
            log: Log::default(),
        }
    }
}

impl Default for Model {
    fn default() -> Self {
        Self {
            provider: Provider::Embedded,
            base_url: None,
            key: None,
            key_file: None,
            name: None,
            timeout_seconds: 60,
        }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Self { settle_ms: 300, pdf_timeout_seconds: 60, allowed_hosts: Vec::new() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

/// Settings given on the command line, with the names that they have in the file.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Flags {
    /// See [`Config::listen`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// See [`Config::data_dir`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// See [`Config::database`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// See [`Config::limits`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, u64>,
    /// See [`Config::log`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub log: BTreeMap<&'static str, String>,
}

impl Config {
    /// Reads the settings from every place.
    ///
    /// # Errors
    /// [`ConfigError::Setting`] for an unknown or unusable setting, with the nearest known name;
    /// [`ConfigError::File`] when `file` cannot be read.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Self, ConfigError> {
        let mut figment = Figment::new();
        if let Some(path) = file {
            let text =
                std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
            // Read here and not by figment, which takes a missing file for an empty one.
            toml::from_str::<toml::Table>(&text).map_err(|error| {
                ConfigError::Setting(format!("{}: {}", path.display(), error.to_string().trim_end()))
            })?;
            figment = figment.merge(Toml::file_exact(path));
        }
        // Other programs of this project read variables with the same beginning, so only ours are taken and a
        // name that is nobody's cannot be told from one of theirs.
        let ours = |key: &figment::value::UncasedStr| {
            let top = key.as_str().split("__").next().unwrap_or_default().to_ascii_lowercase().replace('_', "-");
            TOP_LEVEL.contains(&top.as_str())
        };
        figment = figment
            .merge(
                Env::prefixed("TRUELINE_")
                    .filter(ours)
                    .map(|key| key.as_str().to_ascii_lowercase().replace("__", ".").replace('_', "-").into()),
            )
            .merge(Serialized::defaults(flags));
        let config: Self = figment.extract().map_err(|errors| {
            ConfigError::Setting(errors.into_iter().map(|error| explain(&error)).collect::<Vec<_>>().join("\n"))
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.proxies()?;
        if self.model.provider == Provider::Openai && self.model.base_url.is_none() {
            return Err(ConfigError::Setting("model.base-url is needed with model.provider = \"openai\"".to_owned()));
        }
        if self.auth.jwt_secret.is_some() && self.auth.jwt_secret_file.is_some() {
            return Err(ConfigError::Setting("auth.jwt-secret and auth.jwt-secret-file exclude each other".to_owned()));
        }
        if self.auth.jwks_url.is_none() && (self.auth.issuer.is_some() || self.auth.audience.is_some()) {
            return Err(ConfigError::Setting("auth.issuer and auth.audience go with auth.jwks-url".to_owned()));
        }
        if self.model.key.is_some() && self.model.key_file.is_some() {
            return Err(ConfigError::Setting("model.key and model.key-file exclude each other".to_owned()));
        }
        Ok(())
    }

    /// The trusted proxies as networks.
    ///
    /// # Errors
    /// [`ConfigError::Setting`] when one is neither an address nor a network.
    pub fn proxies(&self) -> Result<Vec<IpNet>, ConfigError> {
        self.trusted_proxies
            .iter()
            .map(|text| {
                text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from)).map_err(|_| {
                    ConfigError::Setting(format!("trusted-proxies: {text:?} is neither an address nor a network"))
                })
            })
            .collect()
    }

    /// The URL of the database of a contract. Makes the data folder when it is needed.
    ///
    /// # Errors
    /// [`ConfigError::File`] when the folder cannot be made.
    pub fn database_url(&self, contract: &str) -> Result<String, ConfigError> {
        match &self.database {
            Some(url) => Ok(url.clone()),
            None => {
                make_folder(&self.data_dir)?;
                Ok(format!("sqlite://{}", self.data_dir.join(format!("{contract}.db")).display()))
            }
        }
    }

    /// The secret that tokens are signed with: as set, else from the file beside the database, which is made at
    /// first use and readable by its owner only. A database in memory gets a secret that lives as long. There is
    /// no built-in secret: whoever knows one could sign tokens for every installation.
    ///
    /// # Errors
    /// [`ConfigError`] when a file cannot be used, the secret is too short, or none can be made.
    pub fn jwt_secret(&self, database_url: &str) -> Result<Secret, ConfigError> {
        let secret = match (&self.auth.jwt_secret, &self.auth.jwt_secret_file) {
            (Some(secret), _) => secret.clone(),
            (None, Some(path)) => read_secret(path)?,
            (None, None) => match database_file(database_url) {
                None => new_secret()?,
                Some(database) => {
                    let path = database.with_extension("jwt-secret");
                    match read_secret(&path) {
                        Err(ConfigError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                            keep_secret(&path)?
                        }
                        other => other?,
                    }
                }
            },
        };
        if secret.reveal().len() < MIN_JWT_SECRET_BYTES {
            return Err(ConfigError::Setting(format!(
                "the signing secret has fewer than {MIN_JWT_SECRET_BYTES} bytes"
            )));
        }
        Ok(secret)
    }

    /// The model provider's key, from wherever it is set.
    ///
    /// # Errors
    /// [`ConfigError::File`] when the key file cannot be read.
    pub fn model_key(&self) -> Result<Option<Secret>, ConfigError> {
        match &self.model.key_file {
            Some(path) => read_secret(path).map(Some),
            None => Ok(self.model.key.clone()),
        }
    }

    /// Time for one answer of the model provider.
    #[must_use]
    pub fn model_timeout(&self) -> Duration {
        Duration::from_secs(self.model.timeout_seconds)
    }
}

const TOP_LEVEL: &[&str] = &[
    "listen",
    "data-dir",
    "database",
    "trusted-proxies",
    "shutdown-seconds",
    "auth",
    "limits",
    "model",
    "ingest",
    "oauth",
    "log",
];

/// Refuses limits for classes that the contract does not have: a mistyped name would otherwise go unnoticed.
///
/// # Errors
/// [`ConfigError::Setting`] names the class and the nearest known one.
pub fn check_limits(limits: &BTreeMap<String, u64>, contract: &Contract) -> Result<(), ConfigError> {
    let classes = || contract.rate_limits.iter().flat_map(|limits| limits.classes).map(|class| class.name);
    match limits.keys().find(|name| !classes().any(|class| class == name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let hint = match nearest(name, classes()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known: {}", classes().collect::<Vec<_>>().join(", ")),
            };
            Err(ConfigError::Setting(format!("limits: unknown rate class `{name}`; {hint}")))
        }
    }
}

/// The file behind a database URL; none for a database in memory or on another machine.
fn database_file(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = path.split('?').next().unwrap_or_default();
    (!path.is_empty() && !path.contains(":memory:") && !url.contains("mode=memory")).then(|| PathBuf::from(path))
}

fn make_folder(path: &Path) -> Result<(), ConfigError> {
    std::fs::create_dir_all(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })
}

fn read_secret(path: &Path) -> Result<Secret, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
    // Editors end files with a line break that nobody means as part of the secret.
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

fn new_secret() -> Result<Secret, ConfigError> {
    let bytes = random::<48>().map_err(ConfigError::Secret)?;
    Ok(Secret::new(base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, bytes)))
}

/// Makes a secret and keeps it. When two programs do so at once, one file stands and both use it.
fn keep_secret(path: &Path) -> Result<Secret, ConfigError> {
    let failed = |source| ConfigError::File { path: path.to_owned(), source };
    let secret = new_secret()?;
    // Written whole under another name and then linked, so that nobody ever reads half of it.
    let draft = path.with_extension(format!("jwt-secret.{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft).map_err(failed)?;
    std::io::Write::write_all(&mut file, secret.reveal().as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft).map_err(failed)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(failed(error)),
        _ => read_secret(path),
    }
}

/// One mistake in words: what, where it was set, and what was probably meant.
fn explain(error: &figment::Error) -> String {
    let place = error.metadata.as_ref().map(|metadata| match &metadata.source {
        Some(figment::Source::File(path)) => path.display().to_string(),
        _ => metadata.name.to_string(),
    });
    let key = error.path.join(".");
    let what = match &error.kind {
        Kind::UnknownField(name, known) => {
            let full = if key.is_empty() || key == *name { name.clone() } else { format!("{key}.{name}") };
            let full = if key.ends_with(name.as_str()) { key.clone() } else { full };
            match nearest(name, known.iter().copied()) {
                Some(near) => format!("unknown setting `{full}`; did you mean `{near}`?"),
                None => format!("unknown setting `{full}`; known here: {}", known.join(", ")),
            }
        }
        other if key.is_empty() => other.to_string(),
        other => format!("setting `{key}`: {other}"),
    };
    match place {
        Some(place) => format!("{place}: {what}"),
        None => what,
    }
}

/// The known name that a mistyped one probably stands for.
#[must_use]
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(name, candidate), candidate))
        // Below this similarity the suggestion is a guess that misleads.
        .filter(|(similarity, _)| *similarity > 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.toml");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let (_folder, path) =
            file("listen = '127.0.0.1:1'\ndata-dir = 'd'\n[limits]\nagent-query = 5\n[auth.password]\npasses = 3\n");
        let flags = Flags { listen: Some(SocketAddr::from(([127, 0, 0, 1], 2))), ..Flags::default() };
        let config = Config::load(Some(&path), &flags).unwrap();
        assert_eq!((config.listen.port(), config.data_dir), (2, PathBuf::from("d")));
        assert_eq!(config.limits.get("agent-query"), Some(&5));
        assert_eq!((config.auth.password.passes, config.auth.password.memory_kib), (3, 19 * 1024));
        assert_eq!(config.model.provider, Provider::Embedded);
    }

    #[test]
    fn mistakes_name_the_place_and_the_nearest_setting() {
        for (text, expected) in [
            ("listne = '127.0.0.1:1'", "did you mean `listen`?"),
            ("[model]\nkye = 'x'", "unknown setting `model.kye`; did you mean `key`?"),
            ("[ingest]\nqqq = 1", "known here: settle-ms, pdf-timeout-seconds, allowed-hosts"),
            ("listen = 5", "setting `listen`"),
            ("listen = ", "server.toml"),
            ("[model]\nprovider = 'openai'", "model.base-url is needed"),
            ("trusted-proxies = ['x']", "neither an address nor a network"),
        ] {
            let (_folder, path) = file(text);
            let error = Config::load(Some(&path), &Flags::default()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(matches!(
            Config::load(Some(Path::new("/nonexistent")), &Flags::default()),
            Err(ConfigError::File { .. })
        ));
    }

    #[test]
    fn a_signing_secret_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/x.db", folder.path().display());
        let config = Config::default();
        let secret = config.jwt_secret(&url).unwrap();
        assert_eq!(secret, config.jwt_secret(&url).unwrap());
        assert_ne!(secret, config.jwt_secret("sqlite::memory:").unwrap());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(folder.path().join("x.jwt-secret")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let short =
            Config { auth: Auth { jwt_secret: Some(Secret::new("short")), ..Auth::default() }, ..Config::default() };
        assert!(short.jwt_secret(&url).is_err());
        assert!(!format!("{short:?}").contains("short\""));
    }
}
