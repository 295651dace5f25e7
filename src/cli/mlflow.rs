//! `--mlflow URL`: parameters, metrics and the report to an MLflow tracking server by its REST interface (2.0), over plain HTTP.
//!
//! It is called when the results are on disk and on standard output, so that a server that is away costs none of them.

use super::Status;
use super::stream::Stream;
use crate::diag::codes;
use serde_json::{Value as Json, json};
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// How long the server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Metrics and parameters of one batch at most, and characters of a parameter (limits of the interface).
const BATCH: usize = 500;
const PARAMS: usize = 100;
const LONGEST: usize = 500;

/// One run to be logged.
pub(super) struct Run {
    /// Its name.
    pub(super) name: String,
    /// What `--json` prints of it: numbers become metrics, texts parameters.
    pub(super) json: Json,
    /// Metrics with steps: key, step, value.
    pub(super) series: Vec<(String, u64, f64)>,
    /// Files with their names.
    pub(super) files: Vec<(&'static str, String)>,
}

/// Logs runs under one experiment; a fault is told with what is safe.
pub(super) fn log(url: &str, experiment: &str, runs: &[Run], out: &mut Stream) -> Status {
    let sent = Server::at(url).and_then(|server| {
        let id = server.experiment(experiment)?;
        runs.iter().try_for_each(|run| server.run(&id, run))
    });
    match sent {
        Ok(()) => Status::Done,
        Err(why) => {
            let message = format!("cannot log to MLflow at `{url}`: {why}; the results themselves are written");
            out.refuse_file(Path::new(url), codes::CANNOT_SEND, message, "start the server (`mlflow server`), or leave --mlflow out")
        }
    }
}

struct Server {
    host: String,
    port: u16,
    base: String,
}

impl Server {
    fn at(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or("the address has to begin with http:// (TLS ends at a proxy)")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| format!("`{port}` is no port"))?),
            None => (host, 80),
        };
        if host.is_empty() || url.chars().any(|c| c.is_control() || c == ' ') {
            return Err("the address names no host".to_owned());
        }
        Ok(Self { host: host.to_owned(), port, base: format!("/{}", path.trim_end_matches('/')).trim_end_matches('/').to_owned() })
    }

    fn experiment(&self, name: &str) -> Result<String, String> {
        let list =
            self.call("POST", "experiments/search", &json!({"max_results": 1, "filter": format!("name = '{}'", name.replace('\'', ""))}))?;
        if let Some(id) = list.pointer("/experiments/0/experiment_id").and_then(Json::as_str) {
            return Ok(id.to_owned());
        }
        let made = self.call("POST", "experiments/create", &json!({"name": name.replace('\'', "")}))?;
        made["experiment_id"].as_str().map(str::to_owned).ok_or_else(|| format!("it made no experiment: {made}"))
    }

    fn run(&self, experiment: &str, run: &Run) -> Result<(), String> {
        let start = now();
        let tags = json!([{"key": "mlflow.source.name", "value": "orrery"}, {"key": "mlflow.runName", "value": run.name}]);
        let made = self.call(
            "POST",
            "runs/create",
            &json!({"experiment_id": experiment, "start_time": start, "run_name": run.name, "tags": tags}),
        )?;
        let id = made.pointer("/run/info/run_id").and_then(Json::as_str).ok_or_else(|| format!("it made no run: {made}"))?.to_owned();
        let (mut metrics, mut params) = (Vec::new(), Vec::new());
        flatten(&run.json, String::new(), &mut metrics, &mut params);
        let once = metrics.into_iter().map(|(key, value)| (key, 0, value));
        let metric = |(key, step, value): (String, u64, f64)| json!({"key": key, "value": value, "timestamp": start, "step": step});
        let metrics: Vec<Json> = once.chain(run.series.iter().map(|(key, step, value)| (clean(key), *step, *value))).map(metric).collect();
        let params: Vec<Json> = params.into_iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        for part in metrics.chunks(BATCH) {
            self.call("POST", "runs/log-batch", &json!({"run_id": id, "metrics": part}))?;
        }
        for part in params.chunks(PARAMS) {
            self.call("POST", "runs/log-batch", &json!({"run_id": id, "params": part}))?;
        }
        for (name, text) in &run.files {
            let kind = if name.ends_with(".html") { "text/html" } else { "text/plain" };
            let path = format!("/api/2.0/mlflow-artifacts/artifacts/{experiment}/{id}/artifacts/{name}");
            self.send("PUT", &path, kind, text.as_bytes())?;
        }
        self.call("POST", "runs/update", &json!({"run_id": id, "status": "FINISHED", "end_time": now()}))?;
        Ok(())
    }

    fn call(&self, method: &str, what: &str, body: &Json) -> Result<Json, String> {
        let text = self.send(method, &format!("/api/2.0/mlflow/{what}"), "application/json", body.to_string().as_bytes())?;
        serde_json::from_str(&text).map_err(|e| format!("its answer to {what} is no JSON: {e}"))
    }

    /// One request on a connection of its own; the body of the answer.
    fn send(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> Result<String, String> {
        let told = |e: std::io::Error| crate::diag::reason(&e);
        let address = (self.host.as_str(), self.port).to_socket_addrs().map_err(told)?.next().ok_or("the host has no address")?;
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(told)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(told)?;
        let head = format!(
            "{method} {}{path} HTTP/1.1\r\nHost: {}:{}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
            self.base,
            self.host,
            self.port,
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).map_err(told)?;
        let mut answer = Vec::new();
        stream.take(64 << 20).read_to_end(&mut answer).map_err(told)?;
        parse(&answer, path)
    }
}

/// Status and body of an answer.
fn parse(answer: &[u8], path: &str) -> Result<String, String> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("it gave no answer in HTTP")?;
    let status = head.split_whitespace().nth(1).and_then(|s| s.parse::<u16>().ok()).ok_or("it gave no status")?;
    let chunked = head.lines().any(|l| {
        let l = l.to_ascii_lowercase();
        l.starts_with("transfer-encoding:") && l.contains("chunked")
    });
    let body = if chunked { unchunk(body) } else { body.to_owned() };
    if (200..300).contains(&status) {
        return Ok(body);
    }
    let short: String = body.chars().take(200).collect();
    Err(format!("it answers {status} to {path}: {}", short.trim()))
}

fn unchunk(body: &str) -> String {
    let (mut out, mut rest) = (String::new(), body);
    while let Some((size, more)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.split(';').next().unwrap_or("").trim(), 16) else { break };
        let Some(part) = more.get(..size).filter(|_| size > 0) else { break };
        out.push_str(part);
        rest = more.get(size + 2..).unwrap_or("");
    }
    out
}

/// Milliseconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// A key of letters, digits and what else the interface takes.
fn clean(key: &str) -> String {
    key.chars().map(|c| if c.is_alphanumeric() || "_-. ".contains(c) { c } else { '_' }).collect()
}

/// Numbers become metrics, texts parameters, with the path as their key; lists of objects go by the names of these.
fn flatten(value: &Json, path: String, metrics: &mut Vec<(String, f64)>, params: &mut Vec<(String, String)>) {
    let key = |more: &str| {
        let clean = clean(more);
        if path.is_empty() { clean } else { format!("{path}/{clean}") }
    };
    match value {
        Json::Number(number) => metrics.extend(number.as_f64().map(|v| (path, v))),
        Json::Bool(b) => metrics.push((path, f64::from(u8::from(*b)))),
        Json::String(text) => params.push((path, text.chars().take(LONGEST).collect())),
        Json::Object(map) => map.iter().for_each(|(k, v)| flatten(v, key(k), metrics, params)),
        Json::Array(list) => {
            for (i, item) in list.iter().enumerate().take(50) {
                let name = item.get("name").and_then(Json::as_str).map_or_else(|| i.to_string(), str::to_owned);
                flatten(item, key(&name), metrics, params);
            }
        }
        Json::Null => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_by_path() {
        let (mut metrics, mut params) = (Vec::new(), Vec::new());
        let json = json!({"kind": "fleet", "fleet": {"jobs": 3, "policies": [{"name": "EASY, a", "queue_s": {"mean": 1.5}}]}});
        flatten(&json, String::new(), &mut metrics, &mut params);
        assert_eq!(metrics, [("fleet/jobs".to_owned(), 3.0), ("fleet/policies/EASY_ a/queue_s/mean".to_owned(), 1.5)]);
        assert_eq!(params[0], ("kind".to_owned(), "fleet".to_owned()));
    }

    #[test]
    fn addresses_and_answers() {
        let server = Server::at("http://127.0.0.1:5000/base/").unwrap();
        assert_eq!((server.host.as_str(), server.port, server.base.as_str()), ("127.0.0.1", 5000, "/base"));
        assert!(Server::at("https://x").is_err() && Server::at("http://").is_err() && Server::at("http://h:port").is_err());
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "/").unwrap(), "abc");
        assert!(parse(b"HTTP/1.1 404 Not Found\r\n\r\nno", "/x").unwrap_err().contains("404 to /x"));
    }
}
