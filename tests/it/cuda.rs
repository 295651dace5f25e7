//! The CUDA probe, as it is, against the stand-in of `tests/standin`: records, fit and report of a device whose constants are known, and every
//! way in which a device lets one down.
#![cfg(target_os = "linux")]

use super::root;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The stand-in, built once; a folder of its own, so that no other build is waited for.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("standin");
        let manifest = root().join("tests/standin/Cargo.toml");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--release", "--quiet", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&target);
        let out = cargo.output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        target.join("release/liborrery_standin.so")
    })
}

const NAMES: [&str; 4] = ["libcuda.so.1", "libcublasLt.so.12", "libnccl.so.2", "libnvidia-ml.so.1"];

/// A folder with libraries and results.
struct Host {
    folder: TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self { folder: tempfile::tempdir().unwrap() };
        NAMES.iter().for_each(|n| std::os::unix::fs::symlink(library(), host.at(n)).unwrap());
        host
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.at(name)).unwrap()
    }

    /// A library without one of its symbols, as an old one would be.
    fn without(&self, name: &str, symbol: &str) {
        let mut bytes = std::fs::read(library()).unwrap();
        let wanted = [b"\0", symbol.as_bytes(), b"\0"].concat();
        let places: Vec<usize> = (0..bytes.len() - wanted.len()).filter(|i| bytes[*i..].starts_with(&wanted)).collect();
        assert!(!places.is_empty(), "{symbol}");
        places.iter().for_each(|i| bytes[i + symbol.len()] = b'_');
        std::fs::remove_file(self.at(name)).unwrap();
        std::fs::write(self.at(name), bytes).unwrap();
    }

    fn run(&self, setup: &str, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orrery"));
        command.args(args).current_dir(self.folder.path()).env("NO_COLOR", "1").env("LD_LIBRARY_PATH", self.folder.path());
        command.env("ORRERY_STANDIN", setup).env("ORRERY_STANDIN_TRUTH", self.at("truth")).output().unwrap()
    }

    /// Runs what has to go well; its text.
    fn done(&self, setup: &str, args: &[&str]) -> String {
        let out = self.run(setup, args);
        assert_eq!(out.status.code(), Some(0), "{setup} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    fn probe(&self, setup: &str) -> String {
        self.done(setup, &["calibrate", "probe", "--cuda", "--budget", "40s", "--out", "p.jsonl"])
    }

    fn records(&self) -> Vec<serde_json::Value> {
        self.text("p.jsonl").lines().skip(1).map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    fn fit(&self) -> String {
        self.done("", &["calibrate", "fit", "p.jsonl", "--out", "p.toml"])
    }
}

/// A small device: what is measured fits into a second.
const SMALL: &str = "memory=96";

fn source(one: &serde_json::Value) -> &str {
    one["source"].as_str().unwrap()
}

#[test]
fn a_stand_in_is_measured_and_stays_synthetic() {
    let host = Host::new();
    let text = host.probe(&format!("seed=3,{SMALL}"));
    assert!(text.contains("*** SYNTHETIC") && !text.contains("not measured"), "{text}");
    let records = host.records();
    for kind in [
        "GPU 1 inventory",
        "memory copy",
        "memory triad",
        "memory scale",
        "memory read",
        "latency in",
        "copy host-to-device",
        "copy device-to-host",
        "pageable copy",
        "copies both ways",
        "copy to GPU 1",
        "GPU 1 copy to GPU 0",
        "launches by graph",
        "launch and wait",
        "product bf16",
        "product fp16",
        "product tf32",
        "product fp8",
        "product int8",
        "product beside copies",
        "product beside an all-reduce",
        "all_reduce over 2",
        "all_to_all over 2",
        "reduce_scatter over 2",
        "broadcast over 2",
        "all_gather over 2",
        "probe: reduce over 2",
    ] {
        assert!(records.iter().any(|r| source(r).contains(kind)), "{kind}");
    }
    for one in &records {
        assert_eq!((&one["origin"], one["conditions"]["clock_mhz"].as_str()), (&"synthetic".into(), Some("1980")), "{one}");
        assert!(one["samples"].as_array().is_none_or(|s| s.len() >= 20), "{one}");
    }
    let ratio = records.iter().find(|r| source(r).contains("beside copies")).unwrap()["value"].as_f64().unwrap();
    assert!((1.02..1.25).contains(&ratio), "{ratio}");
    // What says that it was hardware stays what it is.
    let forged = host.text("p.jsonl").replace("\"origin\":\"synthetic\"", "\"origin\":\"hardware\"");
    std::fs::write(host.at("p.jsonl"), forged).unwrap();
    host.fit();
    let profile = host.text("p.toml");
    assert!(profile.contains("origin = \"synthetic\"") && !profile.contains("origin = \"hardware\""));
    let scenario = root().join("scenarios/training/bert-large-h100-8.toml").to_string_lossy().into_owned();
    let set = format!("profile={:?}", host.at("p.toml").to_string_lossy());
    assert_eq!(host.run("", &["run", &scenario, "--set", &set]).status.code(), Some(2));
    assert!(host.done("", &["run", &scenario, "--set", &set, "--allow-synthetic"]).contains("SYNTHETIC"));
    host.done("", &["calibrate", "show", "p.toml", "--out", "page"]);
    assert!(host.text("page/calibration.html").matches("<svg").count() > 10);
}

/// Records that lack what hardware says of itself are imported figures at best.
#[test]
fn records_of_hardware_name_it() {
    let host = Host::new();
    let line = |uuid: &str| {
        (0..6u32)
            .map(|i| {
                let bytes = 1024u64 << (4 * i);
                format!(
                    "{{\"what\":{{\"link\":{{\"path\":\"peer\",\"bytes\":{bytes}.0,\"streamed\":false}}}},\"value\":{},\"unit\":\"s\",\"origin\":\"hardware\",\"tool\":\"t\",\
                     \"source\":\"s\",\"device\":\"NVIDIA H100 80GB HBM3\",\"part\":\"h100-sxm\",\"session\":\"a\",\"conditions\":{{\"driver\":\"CUDA 12.4\",\"pci\":\"0000:01:00.0\"{uuid}}}}}\n",
                    1e-5 + bytes as f64 / 3e11
                )
            })
            .fold(String::from("{\"orrery_measurements\":1}\n"), |all, l| all + &l)
    };
    for (uuid, origin) in [
        (",\"uuid\":\"GPU-1234abcd\"", "hardware"),
        ("", "imported"),
        (",\"uuid\":\"GPU-00000000-0000-0000-0000-000000000000\"", "synthetic"),
    ] {
        std::fs::write(host.at("p.jsonl"), line(uuid)).unwrap();
        host.fit();
        assert!(host.text("p.toml").contains(&format!("origin = \"{origin}\"")), "{uuid}: {}", host.text("p.toml"));
    }
}

#[test]
fn an_interrupted_probe_goes_on() {
    let host = Host::new();
    let args = ["calibrate", "probe", "--cuda", "--budget", "2s", "--out", "p.jsonl"];
    host.done(SMALL, &args);
    assert_eq!(host.run(SMALL, &args).status.code(), Some(2), "it would overwrite what is there");
    // What a run leaves that ended after half of it.
    let whole = host.text("p.jsonl");
    let kept = whole.lines().count() / 2;
    std::fs::write(host.at("p.jsonl"), whole.split_inclusive('\n').take(kept).collect::<String>()).unwrap();
    let before = host.records().len();
    host.done(SMALL, &["calibrate", "probe", "--cuda", "--budget", "40s", "--resume", "--out", "p.jsonl"]);
    assert!(host.text("p.jsonl").starts_with(&whole[..whole.split_inclusive('\n').take(kept).map(str::len).sum()]));
    let mut tasks: Vec<String> = host.records().iter().map(|r| format!("{} {}", source(r), r["what"])).collect();
    let count = tasks.len();
    tasks.sort();
    tasks.dedup();
    assert!(before > 0 && tasks.len() == count && count > before, "{count} after {before}");
}

/// Host and devices together, and what the host says without any.
#[test]
fn the_plain_probe_takes_devices_along() {
    let host = Host::new();
    let text = host.done(SMALL, &["calibrate", "probe", "--budget", "6s", "--out", "p.jsonl"]);
    let origins: Vec<String> = host.records().iter().map(|r| r["origin"].as_str().unwrap().to_owned()).collect();
    assert!(origins.iter().any(|o| o == "host") && origins.iter().any(|o| o == "synthetic"), "{text}");
    NAMES.iter().for_each(|n| std::fs::remove_file(host.at(n)).unwrap());
    if host.run("", &["calibrate", "probe", "--cuda", "--out", "q.jsonl"]).status.code() == Some(2) {
        let text = host.done("", &["calibrate", "probe", "--budget", "2s", "--out", "q.jsonl"]);
        assert!(text.contains("no CUDA part: the library `libcuda.so.1` is missing"), "{text}");
    }
}

fn refused(host: &Host, setup: &str, why: &str) {
    let out = host.run(setup, &["calibrate", "probe", "--cuda", "--out", "q.jsonl"]);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(2) && text.contains(why) && text.contains("E0606"), "{text}");
    assert!(!host.at("q.jsonl").exists());
}

#[test]
fn fault_old_driver_and_missing_symbols() {
    let host = Host::new();
    refused(&host, "fault=old-driver", "the driver is one for CUDA 10.2, and 11.0 is needed");
    host.without("libnccl.so.2", "ncclReduceScatter");
    std::fs::remove_file(host.at("libcublasLt.so.12")).unwrap();
    let text = host.probe(SMALL);
    assert!(text.contains("collectives are not measured: the library `libnccl.so.2` has no `ncclReduceScatter`"), "{text}");
    assert!(text.contains("matrix products are not measured: the library `libcublasLt.so.12` is missing"), "{text}");
    assert!(host.records().len() > 50 && host.records().iter().all(|r| !source(r).contains("product")));
    host.without("libcuda.so.1", "cuStreamEndCapture");
    refused(&host, "", "the library `libcuda.so.1` has no `cuStreamEndCapture`");
}

#[test]
fn fault_out_of_memory() {
    let host = Host::new();
    let text = host.probe(&format!("{SMALL},fault=oom:8000000"));
    assert!(text.contains("out of memory on the device"), "{text}");
    assert!(host.records().len() > 100);
    host.fit();
}

#[test]
fn fault_wrong_results() {
    let host = Host::new();
    let text = host.probe(&format!("{SMALL},fault=wrong"));
    assert!(text.contains("the product gave a wrong result") && text.contains("the stream gave a wrong result"), "{text}");
    let records = host.records();
    assert!(records.iter().all(|r| !source(r).contains(" product ") && !source(r).contains("triad")));
    assert!(records.iter().any(|r| source(r).contains("copy host-to-device")));
}

#[test]
fn fault_no_time() {
    let host = Host::new();
    let text = host.probe(&format!("{SMALL},fault=zero"));
    assert!(text.contains("the device's clock shows no time"), "{text}");
    // What is left was not timed by events.
    let timed = |r: &serde_json::Value| !["inventory", "pageable", "launch and wait"].iter().any(|w| source(r).contains(w));
    assert!(!host.records().iter().any(timed), "{text}");
}

#[test]
fn fault_two_modes() {
    let host = Host::new();
    let text = host.probe(&format!("{SMALL},fault=bimodal"));
    assert!(text.contains("repetitions fall into two groups"), "{text}");
    let records = host.records();
    let marked = records.iter().filter(|r| r["conditions"]["modes"].is_string()).count();
    assert!(4 * marked > 3 * records.len(), "{marked} of {}", records.len());
    let out = host.run("", &["calibrate", "fit", "p.jsonl", "--out", "p.toml"]);
    let all = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(all.contains("both kept, neither fitted"), "{all}");
}

/// A device that gets hot half way: what it measured cool is fitted, the rest is kept.
#[test]
fn fault_throttling() {
    let host = Host::new();
    let text = host.probe(&format!("seed=4,{SMALL},fault=throttle:500"));
    assert!(text.contains("the device held itself back"), "{text}");
    let records = host.records();
    let hot = records.iter().filter(|r| r["conditions"]["slowed"] == "yes").count();
    assert!(hot > 20 && hot + 20 < records.len(), "{hot} of {}", records.len());
    let text = host.fit();
    assert!(text.contains("held itself back (heat, power brake): kept, never fitted"), "{text}");
    let (held, total) = coverage(&host, &mut BTreeMap::new());
    assert!(10 * held >= 8 * total && total > 10, "{held} of {total}");
}

#[test]
fn fault_one_slow_device_of_eight() {
    let host = Host::new();
    let text = host.probe(&format!("{SMALL},devices=8,fault=slow:5"));
    assert!(text.contains("slow gpu: ") && text.contains(" GPU 5 at 77 %"), "{text}");
    assert_eq!(text.matches("slow gpu").count(), 1, "{text}");
    let ranks: Vec<u64> = host.records().iter().filter_map(|r| r["what"]["collective"]["ranks"].as_u64()).collect();
    assert!([2, 4, 8].iter().all(|n| ranks.contains(n)));
}

/// How many of the constants behind the model clock lie inside their intervals, and how many were determined.
fn coverage(host: &Host, missed: &mut BTreeMap<String, usize>) -> (usize, usize) {
    let profile: toml::Table = host.text("p.toml").parse().unwrap();
    let list = |v: &toml::Value, key: &str| v.get(key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let entries = |key: &str| profile.get(key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let is = |v: &toml::Value, key: &str, word: &str| v.get(key).and_then(toml::Value::as_str) == Some(word);
    let gemm: Vec<toml::Value> = entries("profile").iter().flat_map(|p| list(p, "gemm")).collect();
    let (mut held, mut total) = (0, 0);
    for line in host.text("truth").lines() {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let words: Vec<&str> = name.split(' ').collect();
        let interval = match words[..] {
            ["memory", which] => entries("memory").first().and_then(|m| {
                let levels = list(m, "bandwidth");
                if levels.len() < 2 { None } else { if which == "cache" { levels.first() } else { levels.last() }.cloned() }
            }),
            ["gemm", format, constant] => gemm.iter().find(|g| is(g, "dtype", format)).and_then(|g| g.get(constant).cloned()),
            [kind, what, number, constant] => {
                let key = if kind == "link" { "path" } else { "op" };
                let found = entries(kind).into_iter().find(|e| is(e, key, what));
                found.and_then(|e| {
                    // The last line is the last one, whether or not the fit saw another between.
                    let lines = list(&e, "line").len();
                    let i = if kind == "collective" && number == "2" { lines - 1 } else { number.parse::<usize>().unwrap() - 1 };
                    let unknown =
                        |part: &str| list(&e, "undetermined").iter().any(|u| u.as_str() == Some(&format!("{part} of line {}", i + 1)));
                    let part = if constant == "start" { "start-up" } else { constant };
                    if unknown(part) { None } else { list(&e, "line").get(i)?.get(constant).cloned() }
                })
            }
            _ => panic!("{name}"),
        };
        let Some(interval) = interval.as_ref().and_then(toml::Value::as_array) else { continue };
        let number = |i: usize| interval[i].as_float().or_else(|| interval[i].as_integer().map(|v| v as f64)).unwrap();
        total += 1;
        if number(1) <= value && value <= number(2) {
            held += 1;
        } else {
            *missed.entry(name.to_owned()).or_default() += 1;
        }
    }
    (held, total)
}

/// Fifty devices with other constants each: at least nine in ten of what was determined lies inside its interval. `ORRERY_SEEDS` asks
/// for fewer or more.
#[test]
#[allow(clippy::print_stdout, reason = "the nightly run shows the figures")]
fn the_truth_is_inside_the_intervals() {
    let seeds: u64 = std::env::var("ORRERY_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(50);
    let one = |seed: u64| {
        let host = Host::new();
        host.probe(&format!("seed={seed},memory=128"));
        host.fit();
        let mut missed = BTreeMap::new();
        (coverage(&host, &mut missed), missed)
    };
    library();
    let next = std::sync::atomic::AtomicU64::new(1);
    let worker = || {
        let mut out = Vec::new();
        loop {
            let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if seed > seeds {
                return out;
            }
            out.push(one(seed));
        }
    };
    let all: Vec<_> = std::thread::scope(|s| {
        let workers: Vec<_> = (0..2).map(|_| s.spawn(worker)).collect();
        workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    let mut missed: BTreeMap<String, usize> = BTreeMap::new();
    all.iter().flat_map(|a| &a.1).for_each(|(k, n)| *missed.entry(k.clone()).or_default() += n);
    let (held, total) = all.iter().fold((0, 0), |s, ((h, t), _)| (s.0 + h, s.1 + t));
    println!("{held} of {total} inside their intervals over {seeds} seeds; missed: {missed:?}");
    assert!(total as u64 >= 50 * seeds, "{total} were determined");
    assert!(held as f64 >= 0.9 * total as f64, "{held} of {total}; missed: {missed:?}");
}

/// Two sessions, fitted together, with the report beside them.
#[test]
fn the_script_for_a_host_with_devices_runs() {
    let host = Host::new();
    let out = host.at("reports");
    let script = root().join("scripts/calibrate-gpu.sh");
    let mut command = Command::new("bash");
    command.arg(script).arg(&out).env("ORRERY", env!("CARGO_BIN_EXE_orrery")).env("LIBRARIES", host.folder.path());
    command.env("BUDGET", "20s").env("SESSIONS", "2").env("ORRERY_STANDIN", format!("seed=9,{SMALL}"));
    let done = command.output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && text.contains("*** SYNTHETIC"), "{text}{}", String::from_utf8_lossy(&done.stderr));
    let profile = host.text("reports/profile.toml");
    assert!(profile.contains("sessions = 2") && host.text("reports/calibration.html").contains("<svg"));
}
