//! Many clients on a server that is running, writers among readers; then every acknowledged write is looked for.
//!
//! `cargo run --release -p trueline-tests --example load -- PROFILE --write CREATE=READ --read OPERATION [--clients N]
//! [--seconds S] [--writes PERCENT] [--process PID]`; `cargo xtask bench load` starts the server too. Bodies are the document's
//! examples. Exits 1 if a write was lost or an answer was a 5xx.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;
use trueline_conformance::collection::Collections;
use trueline_conformance::exchange::{Request, Response};
use trueline_conformance::profile::Profile;
use trueline_conformance::target::{Connection, HttpOptions, HttpTarget, Target};
use trueline_spec::Contract;
use trueline_spec::contract::{Operation, ParameterPlace};

type Error = Box<dyn std::error::Error + Send + Sync>;

struct Options {
    profile: String,
    writes: Vec<(String, String)>,
    reads: Vec<String>,
    clients: usize,
    seconds: u64,
    percent: u64,
    process: Option<u32>,
}

/// What is sent, made ready.
struct Mix {
    target: HttpTarget,
    tokens: Vec<HeaderValue>,
    writes: Vec<Write>,
    reads: Vec<String>,
    percent: u64,
}

struct Write {
    path: String,
    body: Bytes,
    /// JSON Pointer to the id in the answer.
    id: String,
    /// The path that reads it; `{}` stands for the id.
    read: String,
}

/// What one client has seen.
#[derive(Default)]
struct Seen {
    /// Microseconds of every answer: readings, writes.
    latencies: [Vec<u32>; 2],
    statuses: BTreeMap<u16, u64>,
    /// Path and caller of everything that the server said it had.
    acknowledged: Vec<(String, usize)>,
    failures: Vec<String>,
}

fn options() -> Result<Options, Error> {
    let mut arguments = std::env::args().skip(1);
    let mut options = Options {
        profile: arguments.next().ok_or("which profile?")?,
        writes: Vec::new(),
        reads: Vec::new(),
        clients: 200,
        seconds: 60,
        percent: 30,
        process: None,
    };
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--write" => {
                let (create, read) = value.split_once('=').ok_or("--write CREATE=READ")?;
                options.writes.push((create.to_owned(), read.to_owned()));
            }
            "--read" => options.reads.push(value),
            "--clients" => options.clients = value.parse()?,
            "--seconds" => options.seconds = value.parse()?,
            "--writes" => options.percent = value.parse()?,
            "--process" => options.process = Some(value.parse()?),
            _ => return Err(format!("there is no flag {flag}").into()),
        }
    }
    if options.writes.is_empty() || options.reads.is_empty() {
        Err("name writes and reads".into())
    } else {
        Ok(options)
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Error> {
    let options = options()?;
    let mix = Arc::new(ready(&options).await?);
    let before = options.process.and_then(memory);
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let clients: Vec<_> = (0..options.clients)
        .map(|client| {
            let mix = Arc::clone(&mix);
            tokio::spawn(async move { mix.go(client, until).await })
        })
        .collect();
    let mut samples = Vec::new();
    for quarter in 1..=4 {
        let due = until - Duration::from_secs(options.seconds) * (4 - quarter) / 4;
        tokio::time::sleep_until(due.into()).await;
        samples.extend(options.process.and_then(memory));
    }
    let mut seen = Seen::default();
    for client in clients {
        let one = client.await?;
        for (all, own) in seen.latencies.iter_mut().zip(one.latencies) {
            all.extend(own);
        }
        for (status, count) in one.statuses {
            *seen.statuses.entry(status).or_default() += count;
        }
        seen.acknowledged.extend(one.acknowledged);
        seen.failures.extend(one.failures);
    }
    let mut lost = 0;
    for (path, caller) in &seen.acknowledged {
        let answer = mix.send(Method::GET, path, Bytes::new(), *caller).await?;
        lost += u64::from(answer.status != 200);
    }
    let total: usize = seen.latencies.iter().map(Vec::len).sum();
    println!("| {} clients for {} s | readings | writes |\n|---|---|---|", options.clients, options.seconds);
    let rate = |latencies: &Vec<u32>| format!("{:.0}", latencies.len() as f64 / options.seconds as f64);
    println!("| requests/s | {} | {} |", rate(&seen.latencies[0]), rate(&seen.latencies[1]));
    for latencies in &mut seen.latencies {
        latencies.sort_unstable();
    }
    for (name, part) in [("median", 0.5), ("p99", 0.99), ("slowest", 1.0)] {
        let at = |latencies: &Vec<u32>| {
            let index = ((latencies.len() as f64 * part) as usize).min(latencies.len().saturating_sub(1));
            latencies.get(index).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
        };
        println!("| {name} | {:.1} ms | {:.1} ms |", at(&seen.latencies[0]), at(&seen.latencies[1]));
    }
    let statuses: Vec<String> = seen.statuses.iter().map(|(status, count)| format!("{count} × {status}")).collect();
    println!(
        "\n{total} answers: {}. {} writes acknowledged, {lost} lost. {} requests without an answer.",
        statuses.join(", "),
        seen.acknowledged.len(),
        seen.failures.len()
    );
    if let Some(first) = seen.failures.first() {
        println!("The first: {first}");
    }
    if let Some(before) = before {
        let samples: Vec<String> = samples.iter().map(|kib| format!("{} MiB", kib / 1024)).collect();
        println!("Memory of the server: {} MiB before, {} at each quarter.", before / 1024, samples.join(", "));
    }
    let broken = seen.statuses.keys().any(|status| *status >= 500) || lost > 0 || !seen.failures.is_empty();
    Ok(if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn ready(options: &Options) -> Result<Mix, Error> {
    let profile = Profile::load(Path::new(&options.profile))?;
    let name = profile.contract.as_deref().ok_or("the profile names no contract")?;
    let contract = Contract::builtin(name)?;
    let target = HttpTarget::new(HttpOptions {
        base_url: profile.base_url.clone().ok_or("the profile names no deployment")?,
        timeout: Duration::from_secs(30),
        addresses: Vec::new(),
        connection: Connection::default(),
    })?;
    let find = |id: &str| contract.operation(id).ok_or_else(|| format!("the contract has no operation `{id}`"));
    let mut mix = Mix { target, tokens: Vec::new(), writes: Vec::new(), reads: Vec::new(), percent: options.percent };
    let collections = Collections::of(&contract);
    for (create, read) in &options.writes {
        let (made, read) = (find(create)?, find(read)?);
        let id =
            collections.iter().find(|one| one.create.is_some_and(|index| contract.operations[index].id == made.id));
        let id =
            id.and_then(|one| one.id.strip_prefix("$response.body#").map(str::to_owned)).unwrap_or("/id".to_owned());
        mix.writes.push(Write { path: made.path.to_string(), body: example(made)?, id, read: template(read) });
    }
    mix.reads = options.reads.iter().map(|id| Ok(template(find(id)?))).collect::<Result<_, Error>>()?;
    let principals = profile.principals.values().filter(|one| one.reserved_for.is_none());
    for login in principals.filter_map(|one| one.login.as_ref()) {
        let operation = find(&login.operation)?;
        let form =
            operation.body.as_ref().is_some_and(|body| body.media.iter().all(|one| !one.media_type.contains("json")));
        let body = if form { Bytes::from(as_form(&login.body)) } else { Bytes::from(login.body.to_string()) };
        let kind = if form { "application/x-www-form-urlencoded" } else { "application/json" };
        let request = mix.request(Method::POST, &operation.path.to_string(), body, kind);
        let answer = mix.target.send(request).await?;
        let token = json(&answer).pointer(&login.token).and_then(Value::as_str).map(str::to_owned);
        let token = token.ok_or_else(|| format!("{} answered {}", login.operation, answer.status))?;
        mix.tokens.push(HeaderValue::from_str(&format!("Bearer {token}"))?);
    }
    if mix.tokens.is_empty() { Err("nobody of the profile logs in".into()) } else { Ok(mix) }
}

/// The document's own example of a body.
fn example(operation: &Operation) -> Result<Bytes, Error> {
    let media = operation.body.iter().flat_map(|body| &body.media).find(|one| one.media_type == "application/json");
    let example = media.and_then(|media| media.examples.first());
    let example = example.ok_or_else(|| format!("{} has no example of a JSON body", operation.id))?;
    Ok(example.value.to_string().into())
}

/// The path with `{}` for its only parameter, and the examples of the parameters that must be there.
fn template(operation: &Operation) -> String {
    let mut path = operation.path.to_string();
    for parameter in operation.path_parameters() {
        path = path.replace(&format!("{{{parameter}}}"), "{}");
    }
    let required = operation.parameters.iter().filter(|one| one.place == ParameterPlace::Query && one.required);
    let pairs: HashMap<&str, String> = required
        .filter_map(|one| {
            let value = &one.examples.first()?.value;
            Some((one.name.as_str(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
        })
        .collect();
    for (index, (name, value)) in pairs.iter().enumerate() {
        path.push_str(&format!("{}{name}={}", if index == 0 { '?' } else { '&' }, value.replace(' ', "+")));
    }
    path
}

fn as_form(body: &Value) -> String {
    let escape = |text: &str| -> String {
        text.bytes()
            .map(
                |byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") },
            )
            .collect()
    };
    let members = body.as_object().into_iter().flatten();
    let pairs: Vec<String> =
        members.map(|(name, value)| format!("{name}={}", escape(value.as_str().unwrap_or_default()))).collect();
    pairs.join("&")
}

fn json(answer: &Response) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_default()
}

impl Mix {
    fn request(&self, method: Method, path: &str, body: Bytes, kind: &'static str) -> Request {
        let headers: Vec<(HeaderName, HeaderValue)> = vec![(CONTENT_TYPE, HeaderValue::from_static(kind))];
        Request { method, path: path.to_owned(), headers, body, from: None }
    }

    async fn send(&self, method: Method, path: &str, body: Bytes, caller: usize) -> Result<Response, Error> {
        let mut request = self.request(method, path, body, "application/json");
        request.headers.push((AUTHORIZATION, self.tokens[caller].clone()));
        Ok(self.target.send(request).await?)
    }

    async fn go(&self, client: usize, until: Instant) -> Seen {
        let mut seen = Seen::default();
        let caller = client % self.tokens.len();
        let mut mine: Option<String> = None;
        let mut turn = client;
        // Spread evenly over the hundred, another order for each client.
        let mut dice = (client as u64 * 37) % 100;
        while Instant::now() < until {
            dice = (dice + 61) % 100;
            turn += 1;
            let writes = dice < self.percent || mine.is_none();
            let started = Instant::now();
            let outcome = if writes {
                let write = &self.writes[turn % self.writes.len()];
                let sent = self.send(Method::POST, &write.path, write.body.clone(), caller).await;
                sent.inspect(|answer| {
                    let body = json(answer);
                    let id = body.pointer(&write.id).filter(|_| (200..300).contains(&answer.status));
                    let id = id.map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned));
                    if let Some(id) = id {
                        seen.acknowledged.push((write.read.replace("{}", &id), caller));
                        mine = Some(write.read.replace("{}", &id));
                    }
                })
            } else {
                let read = &self.reads[turn % self.reads.len()];
                let own = mine.as_deref().filter(|_| read.contains("{}"));
                self.send(Method::GET, own.unwrap_or(read), Bytes::new(), caller).await
            };
            match outcome {
                Ok(answer) => {
                    let micros = u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX);
                    seen.latencies[usize::from(writes)].push(micros);
                    *seen.statuses.entry(answer.status).or_default() += 1;
                }
                Err(error) => seen.failures.push(error.to_string()),
            }
        }
        seen
    }
}

/// Resident memory of a process, in KiB.
fn memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
