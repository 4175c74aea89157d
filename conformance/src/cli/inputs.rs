//! From flags and files to a profile, a contract and a plan that fit each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use trueline_conformance::case::PHASES;
use trueline_conformance::plan::{Filter, Plan, PlanOptions};
use trueline_conformance::profile::{Profile, nearest};
use trueline_conformance::report::{ContractSource, Invocation};
use trueline_conformance::subject::Subject;
use trueline_conformance::target::{self, HttpOptions, HttpTarget, Target};
use trueline_spec::document::{Sources, as_url};
use trueline_spec::{Contract, contracts};

use super::args::{Address, Inputs, Selection};
use super::error::CliError;

/// Milliseconds for one exchange where nobody says otherwise: as long as most proxies wait.
const DEFAULT_TIMEOUT_MS: u64 = 30_000;

/// A contract, and a profile that fits it.
pub(crate) struct Loaded {
    pub(crate) contract: Arc<Contract>,
    pub(crate) source: ContractSource,
    pub(crate) overlays: Vec<PathBuf>,
    pub(crate) profile: Profile,
    pub(crate) profile_path: Option<PathBuf>,
    pub(crate) auth: Option<PathBuf>,
}

/// Reads profile and contract. Flags win over the profile.
pub(crate) fn load(inputs: &Inputs) -> Result<Loaded, CliError> {
    let mut profile = match &inputs.profile {
        Some(path) => Profile::load(path)?,
        None => Profile::default(),
    };
    // Overlays of the flags stand for those of the profile, as the document does.
    let overlays = match inputs.overlays.is_empty() && inputs.spec.is_none() && inputs.contract.is_none() {
        true => profile.overlays.iter().map(|path| beside(inputs.profile.as_deref(), path)).collect(),
        false => inputs.overlays.clone(),
    };
    let source = match (&inputs.spec, &inputs.contract) {
        (Some(path), _) => Some(ContractSource::Path(path.clone())),
        (None, Some(name)) => Some(ContractSource::BuiltIn(name.clone())),
        // An overlay can say itself what it extends.
        (None, None) if profile.contract.is_none() && !overlays.is_empty() => None,
        (None, None) => Some(named_by_profile(&profile, inputs.profile.as_deref())?),
    };
    let sources = Sources { document: None, overlays: &overlays, fetch: Some(&target::fetch) };
    let contract = match &source {
        Some(ContractSource::BuiltIn(name)) if overlays.is_empty() => Contract::builtin(name),
        Some(ContractSource::BuiltIn(name)) => {
            let help = "name the document with --spec, or with the path in `contract`";
            return Err(CliError::usage_with(format!("the built-in contract `{name}` takes no overlays"), help));
        }
        Some(ContractSource::Path(path)) => Contract::gather(Sources { document: Some(path), ..sources }),
        None => Contract::gather(sources),
    };
    let source_name = match (&source, overlays.first()) {
        (Some(source), _) => format!("`{source}`"),
        (None, first) => format!("of `{}`", first.map(|path| path.display().to_string()).unwrap_or_default()),
    };
    let contract = contract.map_err(|problems| CliError::Contract { source_name, problems: Box::new(problems) })?;
    let users = match (&inputs.auth, &profile.auth) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(path)) => Some(beside(inputs.profile.as_deref(), path)),
        (None, None) => None,
    };
    if let Some(path) = users {
        profile.add_users(&path, &contract)?;
    }
    profile.check(&contract)?;
    let source = source.unwrap_or_else(|| {
        let entry = contract.document.files.first().map(|file| file.path.clone());
        ContractSource::Path(entry.unwrap_or_default())
    });
    Ok(Loaded {
        contract: Arc::new(contract),
        source,
        overlays,
        profile,
        profile_path: inputs.profile.clone(),
        auth: inputs.auth.clone(),
    })
}

/// A path that a profile names, which starts where the profile stands; a URL stays what it is.
fn beside(profile: Option<&Path>, path: &Path) -> PathBuf {
    match profile.and_then(Path::parent) {
        Some(folder) if as_url(path).is_none() => folder.join(path),
        _ => path.to_owned(),
    }
}

/// The contract that a profile names: a built-in one, a URL, or a path that starts where the profile stands.
fn named_by_profile(profile: &Profile, path: Option<&Path>) -> Result<ContractSource, CliError> {
    let builtin: Vec<&str> = contracts::names().collect();
    let Some(named) = &profile.contract else {
        let help = format!(
            "give --spec PATH (a file, a folder or a URL), --contract NAME ({}), or `contract` in the profile",
            builtin.join(", ")
        );
        return Err(CliError::usage_with("no contract was named", help));
    };
    if builtin.contains(&named.as_str()) {
        return Ok(ContractSource::BuiltIn(named.clone()));
    }
    let beside = beside(path, Path::new(named));
    if as_url(&beside).is_some() || beside.exists() {
        return Ok(ContractSource::Path(beside));
    }
    let what = format!("the profile's contract `{named}` is neither built in nor a file ({})", beside.display());
    let hint = nearest(named, &builtin).map_or_else(
        || format!("built-in contracts are {}", builtin.join(", ")),
        |hint| format!("did you mean `{hint}`?"),
    );
    Err(CliError::usage_with(what, hint))
}

impl Loaded {
    /// What the flags select, held to the contract.
    pub(crate) fn plan_options(&self, selection: &Selection) -> Result<PlanOptions, CliError> {
        let known: Vec<&str> = self.contract.operations.iter().map(|operation| operation.id.as_str()).collect();
        for id in &selection.operations {
            if !known.contains(&id.as_str()) {
                let help = match nearest(id, &known) {
                    Some(hint) => format!("did you mean `{hint}`?"),
                    None => format!("its {} operations are {}", known.len(), known.join(", ")),
                };
                let what = format!("the contract `{}` has no operation `{id}`", self.contract.name);
                return Err(CliError::usage_with(what, help));
            }
        }
        let defaults = PlanOptions::default();
        // In the order in which they run, whatever the order of the flag.
        let wanted = |phase: &_| selection.phases.is_empty() || selection.phases.contains(phase);
        Ok(PlanOptions {
            seed: selection.seed,
            phases: PHASES.into_iter().filter(|phase| wanted(phase)).collect(),
            operations: selection.operations.clone(),
            include: self.filters(&selection.include, "--include")?,
            exclude: {
                let mut exclude = self.filters(&selection.exclude, "--exclude")?;
                exclude.extend(self.filters(&self.profile.exclude, "the profile's `exclude`")?);
                exclude
            },
            safety: selection.safety,
            random_cases: selection.random_cases.unwrap_or(defaults.random_cases),
            case: selection.case.clone(),
            virtual_clock: false,
            shard: selection.shard,
            wire: self.target(&Address::default()).map_or(true, |target| target.has_wire()),
            patience_s: selection.patience.or(self.profile.budget.patience_s).unwrap_or(0),
        })
    }

    fn filters(&self, texts: &[String], place: &str) -> Result<Vec<Filter>, CliError> {
        let read = |text: &String| Filter::parse(text, &self.contract);
        texts.iter().map(read).collect::<Result<_, _>>().map_err(|why| CliError::usage(format!("{place}: {why}")))
    }

    /// The plan, which has at least one case.
    pub(crate) fn plan(&self, subject: &Subject, options: PlanOptions) -> Result<Plan, CliError> {
        let plan = Plan::new(subject, &self.profile, options.clone());
        if !plan.is_empty() {
            return Ok(plan);
        }
        if let Some(id) = &options.case {
            let all = Plan::new(subject, &self.profile, PlanOptions { case: None, ..options.clone() });
            let ids: Vec<&str> = all.entries.iter().filter_map(planned_id).collect();
            let help = match nearest(id, &ids) {
                Some(hint) => format!("did you mean `{hint}`?"),
                None => "`trueline plan --cases` with the same flags lists all of them".to_owned(),
            };
            return Err(CliError::usage_with(format!("the plan has no case `{id}`"), help));
        }
        if let Some(shard) = options.shard {
            let why = format!("shard {shard} has no case: there are more shards than parts of the plan");
            return Err(CliError::NothingToTest { why });
        }
        let mut reasons: Vec<&str> = plan.left_out.iter().map(|(_, reason)| reason.as_str()).collect();
        reasons.sort_unstable();
        reasons.dedup();
        let why = match reasons.first() {
            Some(reason) => format!("{reason} ({} operations left out)", plan.left_out.len()),
            None => "contract, phases and operations leave no case".to_owned(),
        };
        Err(CliError::NothingToTest { why })
    }

    /// The deployment; no connection is made yet.
    pub(crate) fn target(&self, address: &Address) -> Result<HttpTarget, CliError> {
        let options = HttpOptions {
            base_url: self.base_url(address.url.as_deref())?,
            timeout: Duration::from_millis(self.timeout_ms(address)),
            addresses: self.profile.addresses.clone(),
            connection: match self.profile_path.as_deref().and_then(Path::parent) {
                Some(folder) => self.profile.connection.clone().beside(folder),
                None => self.profile.connection.clone(),
            },
        };
        HttpTarget::new(options).map_err(CliError::usage)
    }

    /// What a replay has to know of this run.
    pub(crate) fn invocation(&self, address: &Address, selection: &Selection) -> Result<Invocation, CliError> {
        Ok(Invocation {
            contract: self.source.clone(),
            overlays: self.overlays.clone(),
            profile: self.profile_path.clone(),
            auth: self.auth.clone(),
            base_url: self.base_url(address.url.as_deref())?,
            timeout_ms: self.timeout_ms(address),
            selection: flags(selection),
        })
    }

    fn timeout_ms(&self, address: &Address) -> u64 {
        address.timeout_ms.or(self.profile.budget.timeout_ms).unwrap_or(DEFAULT_TIMEOUT_MS)
    }

    /// The document's own servers are not taken: they are production, and nobody asked for that.
    pub(super) fn base_url(&self, flag: Option<&str>) -> Result<String, CliError> {
        let Some(url) = flag.or(self.profile.base_url.as_deref()) else {
            let servers = &self.contract.servers;
            let known = match servers.is_empty() {
                true => String::new(),
                false => format!("; the contract names {}", servers.join(", ")),
            };
            return Err(CliError::usage_with(
                "no deployment was named",
                format!("give --url URL or `base-url` in the profile{known}"),
            ));
        };
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
        if authority.contains('@') {
            // The URL stands in reports and curl lines; the message does not repeat it for the same reason.
            return Err(CliError::usage_with(
                "the base URL holds a user name or password, which would stand in every report",
                "leave it out of the URL and make it a principal of the profile",
            ));
        }
        Ok(url.to_owned())
    }
}

/// The flags that lead to a selection; those that stand at their defaults are left out.
fn flags(selection: &Selection) -> Vec<String> {
    let Selection { seed: _, phases, operations, random_cases, case, shard, patience, include, exclude, safety } =
        selection;
    let mut flags = Vec::new();
    let mut add = |flag: &str, value: String| flags.extend([flag.to_owned(), value]);
    if !phases.is_empty() {
        add("--phases", phases.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    }
    for operation in operations {
        add("--operation", operation.clone());
    }
    for filter in include {
        add("--include", filter.clone());
    }
    for filter in exclude {
        add("--exclude", filter.clone());
    }
    if let Some(safety) = safety {
        add("--safety", safety.to_string());
    }
    if let Some(cases) = random_cases {
        add("--random-cases", cases.to_string());
    }
    if let Some(case) = case {
        add("--case", case.clone());
    }
    if let Some(shard) = shard {
        add("--shard", shard.to_string());
    }
    if let Some(patience) = patience {
        add("--patience", patience.to_string());
    }
    flags
}

fn planned_id(entry: &trueline_conformance::plan::Entry) -> Option<&str> {
    match entry {
        trueline_conformance::plan::Entry::Case(case) => Some(&case.id),
        trueline_conformance::plan::Entry::Random { .. } => None,
    }
}
