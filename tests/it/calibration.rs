//! Logs to records to a profile to a report: every format, what breaks it, how well it fits, what of it serves.

use super::{files, orrery, root};
use orrery::calibrate::{FitOptions, Imported, fit, import};
use orrery::diag::{Diagnostics, Style, render};
use proptest::prelude::*;
use rayon::prelude::*;
use std::path::Path;

/// Formats without a mark at their end: cut at the end of a line they are shorter logs.
const ENDLESS: [&str; 12] = [
    "superbench gpu-copy",
    "superbench gpu-stream",
    "triad table",
    "CUTLASS profiler",
    "NCCL tuner table",
    "NCCL tuning log",
    "table",
    "step latencies",
    "superbench summary",
    "GPCNeT",
    "sockperf",
    "no measurements (telemetry, topology or an aborted run)",
];

fn logs() -> Vec<(String, String)> {
    let all = files("tests/logs", "");
    let read = |p: &std::path::PathBuf| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(p).unwrap());
    all.iter().filter(|p| !p.ends_with("NOTICE.md")).map(read).collect()
}

fn read(name: &str, text: &str) -> Result<Imported, String> {
    let mut diags = Diagnostics::new();
    let source = diags.add_source(name, text);
    import(source, None, &mut diags).ok_or_else(|| render(&diags, Style::Plain))
}

#[test]
fn every_log_is_read() {
    let mut out = String::new();
    for (name, text) in logs() {
        let imported = read(&name, &text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let first = imported.list.first().map_or_else(String::new, |m| {
            format!("{} = {:.4e} {}", serde_json::to_string(&m.what).unwrap(), m.value, serde_json::to_string(&m.unit).unwrap())
        });
        out.push_str(&format!("{name}: {}, {} values; {first}\n", imported.format, imported.list.len()));
    }
    insta::assert_snapshot!(out);
}

/// The largest start of a text of at most so many bytes that ends between characters.
fn start(text: &str, mut at: usize) -> &str {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    &text[..at]
}

/// A file that was cut off gives all, or an error; formats without an end give less only when cut between lines.
fn cut_off(name: &str, text: &str, whole: &Imported, share: f64) {
    let cut = start(text, (share * text.len() as f64) as usize);
    let values = |i: &Imported| i.list.iter().map(|m| (m.what.clone(), m.value)).collect::<Vec<_>>();
    if let Ok(part) = read(name, cut) {
        let (part_values, whole_values) = (values(&part), values(whole));
        if ENDLESS.contains(&whole.format) || ENDLESS.contains(&part.format) {
            let between_lines = cut.ends_with('\n') || text[cut.len()..].starts_with(['\n', '\r']);
            // Half a line holds no value (a heading), or its true one (what is cut is another column).
            let half_a_line = || {
                let before = cut.rfind('\n').and_then(|at| read(name, &cut[..=at]).ok()).map(|i| values(&i)).unwrap_or_default();
                before == part_values || (whole_values.starts_with(&part_values) && part_values.len() > before.len())
            };
            let nothing_lost = part_values == whole_values || between_lines || part.list.is_empty();
            assert!(nothing_lost || half_a_line(), "{name} cut at {}", cut.len());
        } else {
            assert_eq!(part_values, whole_values, "{name} cut at {}", cut.len());
        }
    }
}

/// Lines in another order, and single bytes changed: an answer or an error with a place, never a panic.
fn shuffled_and_damaged(name: &str, text: &str, seed: u64, byte: u8) {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut state = seed | 1;
    let mut draw = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n.max(1)
    };
    for i in (1..lines.len()).rev() {
        lines.swap(i, draw(i + 1));
    }
    if let Err(message) = read(name, &lines.concat()) {
        assert!(message.contains("E0604"), "{name}: {message}");
    }
    let mut damaged = text.to_owned().into_bytes();
    for _ in 0..3 {
        let at = draw(damaged.len());
        if damaged[at].is_ascii() {
            damaged[at] = byte;
        }
    }
    if let Ok(text) = String::from_utf8(damaged) {
        let _ = read(name, &text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2 * ProptestConfig::default().cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn truncated_logs_keep_nothing_silently(which in any::<prop::sample::Index>(), share in 0.0..1.0f64) {
        let all = logs();
        let (name, text) = &all[which.index(all.len())];
        cut_off(name, text, &read(name, text).unwrap(), share);
    }

    #[test]
    fn shuffled_and_damaged_logs_never_panic(which in any::<prop::sample::Index>(), seed in any::<u64>(), byte in 32u8..127) {
        let all = logs();
        let (name, text) = &all[which.index(all.len())];
        shuffled_and_damaged(name, text, seed, byte);
    }
}

/// Every log for itself, cut off, shuffled and damaged as often as time allows: 0.02 s each, or `ORRERY_FUZZ_SECONDS`; with those of
/// the folder `ORRERY_SAMPLES`, which all have to be read as well.
#[test]
#[allow(clippy::print_stdout, reason = "the nightly run shows the figures")]
fn every_log_is_cut_shuffled_and_damaged() {
    let seconds: f64 = std::env::var("ORRERY_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(0.02);
    let mut all = logs();
    if let Ok(folder) = std::env::var("ORRERY_SAMPLES") {
        let paths = files(&folder, "");
        let named = |p: &std::path::PathBuf| (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(p).unwrap());
        all.extend(paths.iter().filter(|p| p.extension().is_none_or(|e| e != "md")).map(named));
        all.sort();
        all.dedup();
    }
    let rounds = |(log, (name, text)): (usize, &(String, String))| {
        let whole = read(name, text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (begin, mut done) = (std::time::Instant::now(), 0u64);
        while done == 0 || begin.elapsed().as_secs_f64() < seconds {
            done += 1;
            let drawn = ((log as u64) << 40 | done).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            cut_off(name, text, &whole, (drawn >> 11) as f64 / (1u64 << 53) as f64);
            shuffled_and_damaged(name, text, drawn, 32 + (drawn % 95) as u8);
        }
        done
    };
    let all_rounds: u64 = all.par_iter().enumerate().map(rounds).sum();
    println!("{} logs, {all_rounds} rounds", all.len());
}

fn fit_of(paths: &[&Path]) -> orrery::calibrate::Calibration {
    let mut diags = Diagnostics::new();
    let sources: Vec<_> = paths.iter().map(|p| diags.read_file(p, None).unwrap()).collect();
    fit(&sources, FitOptions::default(), &mut diags).unwrap_or_else(|| panic!("{}", render(&diags, Style::Plain)))
}

/// The logs of eight A100: what a curve of up to three lines reaches. Reduce-scatter's worst size is 16 MiB, where the library switches.
#[test]
fn eight_a100_fit() {
    let paths = files("tests/logs", ".log");
    let paths: Vec<&Path> = paths.iter().filter(|p| p.to_string_lossy().contains("nccl_")).map(|p| &**p).collect();
    let calibration = fit_of(&paths);
    assert_eq!(calibration.fits.collective.len(), 6);
    for f in &calibration.fits.collective {
        let fit = &f.fit;
        assert!(fit.inside <= 0.015 && fit.left_out[2] <= 0.163, "{:?}: {} {:?}", f.keys, fit.inside, fit.left_out);
    }
    assert!(calibration.fits.quarantined.is_empty());
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn done(args: &[&str]) -> String {
    let out = orrery(args);
    assert_eq!(out.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

fn said(args: &[&str], code: i32) -> String {
    let out = orrery(args);
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(code), "{args:?}: {text}");
    text
}

/// Two halves of the rows of A100 and H100, dealt at random: shapes and sizes of the other half under a profile of the one, and under the
/// shipped profiles beside it.
fn halves(table: &str, folder: &Path) -> [String; 2] {
    let text = std::fs::read_to_string(root().join("tests/validation").join(table)).unwrap();
    let mut out = [String::new(), String::new()];
    for (i, line) in text.lines().enumerate() {
        let half = blake3_bit(line);
        match i {
            0 => out.iter_mut().for_each(|h| h.push_str(&format!("{line}\n"))),
            _ if line.contains(",a100-sxm-80gb,") || line.contains(",h100-sxm,") => out[half].push_str(&format!("{line}\n")),
            _ => {}
        }
    }
    let names = ["fitted", "held"].map(|n| folder.join(format!("{n}-{table}")).to_string_lossy().into_owned());
    names.iter().zip(out).for_each(|(n, t)| std::fs::write(n, t).unwrap());
    names
}

/// A fair coin by content.
fn blake3_bit(line: &str) -> usize {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    line.bytes().for_each(|b| hash = (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (hash >> 40) as usize & 1
}

fn median_error(args: &[&str]) -> f64 {
    let json: serde_json::Value = serde_json::from_str(&done(args)).unwrap();
    json["summary"]["median_abs_error"].as_f64().unwrap()
}

/// Median errors of the other half: under a profile of the one, and under the shipped profiles.
#[allow(clippy::print_stdout, reason = "the nightly run shows the figures")]
fn holdout(kind: &str, bound: f64, sheet: f64, held: &str, fit: &[&str]) -> f64 {
    let folder = folder();
    let profile = folder.path().join("own.toml").to_string_lossy().into_owned();
    done(&[fit, &["--out", &profile][..]].concat());
    let shipped = median_error(&["validate", kind, held, "--json"]);
    let own = median_error(&["validate", kind, held, "--json", "--profile", &profile]);
    println!("{kind}: {own:.4} under a profile of the other half, {shipped:.4} under the shipped ones, {sheet:.4} under the data sheet");
    assert!(own <= bound && own < 0.5 * sheet, "{kind}: {own}, {bound} wanted; {sheet} under the data sheet");
    own
}

/// Bytes over a rank's links at the rate of the data sheet: the median error of that.
fn links_of_the_data_sheet(held: &str) -> f64 {
    let text = std::fs::read_to_string(held).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let at = |name: &str| columns.iter().position(|c| c == name).unwrap();
    let mut errors: Vec<f64> = Vec::new();
    for row in reader.records().map(Result::unwrap) {
        let number = |name: &str| row[at(name)].parse::<f64>().unwrap();
        let rate = if row[at("accelerator")].starts_with("a100") { 300e9 } else { 450e9 };
        let share = (number("accelerators") - 1.0) / number("accelerators");
        let wire = if &row[at("collective")] == "all_reduce" { 2.0 * share } else { share };
        errors.push((1e6 * wire * number("bytes") / rate / number("time_us") - 1.0).abs());
    }
    errors.sort_by(f64::total_cmp);
    errors[errors.len() / 2]
}

/// A profile of one's own goes before the shipped ones where steps are predicted: matrix products at half the rate, between the same and
/// twice the time.
#[test]
fn a_profile_serves_rows_of_training() {
    let folder = folder();
    let table = std::fs::read_to_string(root().join("tests/validation/training.csv")).unwrap();
    let rows: Vec<&str> = table.lines().enumerate().filter(|(i, l)| *i == 0 || l.contains("korthikanti22")).map(|(_, l)| l).collect();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    std::fs::write(path("rows.csv"), rows.join("\n") + "\n").unwrap();
    let half =
        "format = 1\n[[profile]]\naccelerator = \"a100-sxm-80gb\"\ngeneration = \"ampere\"\nsource = \"test\"\nsustained_16 = 0.465\n";
    std::fs::write(path("half.toml"), half).unwrap();
    let times = |more: &[&str]| -> Vec<f64> {
        let (table, args) = (path("rows.csv"), ["validate", "training"]);
        let json: serde_json::Value = serde_json::from_str(&done(&[&args[..], &[&table, "--json"], more].concat())).unwrap();
        json["rows"].as_array().unwrap().iter().map(|r| r["predicted"].as_f64().unwrap()).collect()
    };
    let (shipped, slowed) = (times(&[]), times(&["--profile", &path("half.toml")]));
    assert_eq!(shipped.len(), rows.len() - 1);
    for (a, b) in shipped.iter().zip(&slowed) {
        assert!((1.3..2.0).contains(&(b / a)), "{a} s becomes {b} s");
    }
}

#[test]
fn half_of_the_collectives_predicts_the_other_half() {
    let folder = folder();
    let [fitted, held] = halves("collective.csv", folder.path());
    holdout("collective", 0.05, links_of_the_data_sheet(&held), &held, &["calibrate", "fit", &fitted]);
}

/// A profile that says what the data sheet says: the whole peak, the whole bandwidth, no start-up.
fn data_sheet() -> String {
    let mut out = String::from("format = 1\n");
    for (part, generation) in [("a100-sxm-80gb", "ampere"), ("h100-sxm", "hopper")] {
        out.push_str(&format!("[[profile]]\naccelerator = \"{part}\"\ngeneration = \"{generation}\"\nsource = \"data sheet\"\n"));
        for format in ["bf16", "fp8", "fp8-block"] {
            out.push_str(&format!(
                "[[profile.gemm]]\ndtype = \"{format}\"\nlibrary = \"data-sheet\"\nquality = {{ points = 0, median = 0, p90 = 0, bias = 0 }}\n\
                 em = 1\nq = 100\nw = 0\nt0 = 1e-6\nec = 1\nkl = 0\n"
            ));
        }
    }
    out
}

/// All formats and libraries of both parts, with and without the products of the one half beside their constants.
#[test]
fn half_of_the_matrix_products_predicts_the_other_half() {
    let folder = folder();
    let [fitted, held] = halves("gemm.csv", folder.path());
    let sheet = folder.path().join("sheet.toml").to_string_lossy().into_owned();
    std::fs::write(&sheet, data_sheet()).unwrap();
    let sheet = median_error(&["validate", "gemm", &held, "--json", "--profile", &sheet]);
    let near = holdout("gemm", 0.06, sheet, &held, &["calibrate", "fit", &fitted]);
    let law = holdout("gemm", 0.065, sheet, &held, &["calibrate", "fit", &fitted, "--law-only"]);
    assert!(near < law - 0.004, "{near} with measured products, {law} without");
}

/// A product that was measured is at its time, engines and steps alike, and reports say what served.
#[test]
fn measured_products_are_at_their_times() {
    let folder = folder();
    let [fitted, _] = halves("gemm.csv", folder.path());
    let kept: String = std::fs::read_to_string(&fitted)
        .unwrap()
        .lines()
        .enumerate()
        .filter(|(i, l)| *i == 0 || l.contains("vllm-0.24.0,h100-sxm") && l.contains(",bf16,"))
        .map(|(_, l)| format!("{l}\n"))
        .collect();
    std::fs::write(&fitted, kept).unwrap();
    let profile = folder.path().join("own.toml").to_string_lossy().into_owned();
    done(&["calibrate", "fit", &fitted, "--out", &profile]);
    let own = median_error(&["validate", "gemm", &fitted, "--json", "--profile", &profile]);
    assert!(own < 1e-3, "{own}");
    let set = format!("profile={profile:?}");
    for scenario in ["scenarios/training/llama-3.1-8b-config-h100-8.toml", "scenarios/serving/llama-70b-chat-h100.toml"] {
        let text = done(&["run", scenario, "--set", &set, "--explain"]);
        assert!(text.contains("with the 16 nearest of ") && text.contains("left out one at a time"), "{scenario}: {text}");
    }
    // What is no product is said with its place, every fault at once.
    let text = std::fs::read_to_string(&profile).unwrap();
    let bad = text.replacen("reach = ", "reach = 1000 # ", 1).replacen(
        "products = [\n",
        "products = [[1, 2, 3], [4, 4, 4, 1], [4, 4, 4, 1],\n",
        1,
    );
    std::fs::write(&profile, bad).unwrap();
    let text = said(&["check", &profile], 2);
    assert!(text.contains("a measured product is three sizes and a time"), "{text}");
    let text = std::fs::read_to_string(&profile).unwrap().replacen("[1, 2, 3], ", "", 1);
    std::fs::write(&profile, text).unwrap();
    let text = said(&["check", &profile], 2);
    assert!(text.contains("the product 4 × 4 × 4 is there twice") && text.contains("`reach` = 1000 is out of range"), "{text}");
}

/// The shipped profile of eight A100 is what the fit gives from the shipped logs; the scenario that names it is at the measured times.
#[test]
fn the_scenario_under_a_profile_of_logs() {
    let folder = folder();
    let at = |n: &str| folder.path().join(n).to_string_lossy().into_owned();
    let logs = files("tests/logs", ".log");
    let mut args = vec!["calibrate", "fit"];
    let logs: Vec<&str> = logs.iter().filter_map(|p| p.to_str()).filter(|p| p.contains("nccl_")).collect();
    args.extend(&logs);
    let (out, scenario) = (at("p.toml"), "scenarios/collective/a100-nccl-calibrated.toml");
    args.extend(["--out", &out]);
    done(&args);
    let shipped = root().join("reports/calibration/a100-nccl-logs.toml");
    assert_eq!(
        std::fs::read_to_string(&out).unwrap(),
        std::fs::read_to_string(shipped).unwrap(),
        "fit it again: reports/calibration/README.md"
    );
    let json: serde_json::Value = serde_json::from_str(&done(&["run", scenario, "--json"])).unwrap();
    let rows = json["collective"].as_array().unwrap();
    for (bytes, microseconds) in [(1024.0, 36.07), (1_048_576.0, 74.78), (268_435_456.0, 2112.2)] {
        let row = rows.iter().find(|r| r["bytes"].as_f64() == Some(bytes)).unwrap();
        let error = row["time_s"].as_f64().unwrap() / (1e-6 * microseconds) - 1.0;
        assert!(error.abs() < 0.06, "{bytes}: {error}");
    }
    let text = done(&["run", scenario, "--explain"]);
    assert!(text.contains("all_reduce over 8 ranks") && text.contains("nccl_allreduce.log"), "{text}");
    // The page: residuals of every curve, nothing from outside.
    done(&["calibrate", "show", &out, "--out", &at("page")]);
    let page = std::fs::read_to_string(at("page/calibration.html")).unwrap();
    assert!(page.matches("<svg").count() == 12 && page.contains("error, %"));
    assert!(!page.contains("src=") && !page.replace("http://www.w3.org", "").contains("http"));
}

#[test]
fn synthetic_values_enter_only_on_request_and_show() {
    let scenario = "scenarios/collective/a100-nccl-calibrated.toml";
    let set = "profile=\"tests/it/bad/synthetic-profile.toml\"";
    assert!(said(&["run", scenario, "--set", set], 2).contains("E0605"));
    let text = done(&["run", scenario, "--set", set, "--allow-synthetic"]);
    assert!(text.starts_with("*** SYNTHETIC"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&done(&["run", scenario, "--set", set, "--allow-synthetic", "--json"])).unwrap();
    assert_eq!(json["orrery"]["synthetic"], true);
    let plain: serde_json::Value = serde_json::from_str(&done(&["run", scenario, "--json"])).unwrap();
    assert!(plain["orrery"].get("synthetic").is_none());
    let folder = folder();
    done(&["run", scenario, "--set", set, "--allow-synthetic", "--out", folder.path().to_str().unwrap()]);
    assert!(std::fs::read_to_string(folder.path().join("report.html")).unwrap().contains("SYNTHETIC"));
    assert!(said(&["run", "--allow-synthetic"], 2).contains("does nothing without a profile"));
}

/// Rates that no such part has are kept out and named, and an entry that they would have made does not serve.
#[test]
fn implausible_figures_are_quarantined() {
    let folder = folder();
    let at = |n: &str| folder.path().join(n).to_string_lossy().into_owned();
    let mut text = String::from("id,source,accelerator,accelerators,nodes,library,algorithm,collective,bytes,time_us,launch\n");
    for (i, bytes) in [1e5, 1e6, 1e7, 1e8, 1e9].into_iter().enumerate() {
        text.push_str(&format!("{i},x,h100-sxm,8,1,nccl,auto,all_gather,{bytes},{},graph\n", 20.0 + bytes / 2e6));
        text.push_str(&format!("b{i},x,h100-sxm,8,1,nccl,auto,broadcast,{bytes},{},graph\n", 20.0 + bytes / 3e5));
    }
    std::fs::write(at("x.csv"), text).unwrap();
    let text = done(&["calibrate", "fit", &at("x.csv"), "--out", &at("x.toml")]);
    assert!(text.contains("quarantined: collective all_gather"), "{text}");
    let profile = std::fs::read_to_string(at("x.toml")).unwrap();
    assert_eq!((profile.matches("[[collective]]").count(), profile.matches("[[quarantined]]").count()), (1, 1));
    assert!(done(&["calibrate", "show", &at("x.toml")]).contains("quarantined"));
    done(&["check", &at("x.toml")]);
}

/// Measured storage serves the tier of a run's checkpoints; measured host links serve copies.
#[test]
fn storage_and_links_serve_what_they_name() {
    let folder = folder();
    let at = |n: &str| folder.path().join(n).to_string_lossy().into_owned();
    let fio: Vec<String> = files("tests/logs", ".json")
        .iter()
        .filter(|p| p.to_string_lossy().contains("fio-"))
        .map(|p| p.to_string_lossy().into_owned())
        .collect();
    let mut args = vec!["calibrate", "fit"];
    args.extend(fio.iter().map(String::as_str));
    let out = at("disk.toml");
    args.extend(["--tier", "nvme", "--out", &out]);
    let text = done(&args);
    assert!(text.contains("storage nvme read"), "{text}");
    let topology = "[[node]]\nname = \"n\"\naccelerator = \"a100-sxm-80gb\"\naccelerators = 8\nscale_up = \"nvswitch\"\nhost = \"dgx-a100\"\nnic = \"cx6-hdr200\"\nnics = 8\n\
                    drive = \"nvme-gen4-3.84tb\"\ndrives = 4\n[fabric]\nkind = \"none\"\nnodes = 1\n[[storage]]\nkind = \"local-drives\"\nname = \"nvme\"\n";
    let mut fabric = super::fabric(topology);
    let before = fabric.tiers().next().unwrap().clone();
    let mut diags = Diagnostics::new();
    let source = diags.read_file(Path::new(&out), None).unwrap();
    let profiles = orrery::kernels::Profiles::embedded().with(source, &mut diags).unwrap();
    fabric.set_measured(profiles.measured());
    let after = fabric.tiers().next().unwrap();
    // The virtual disk of the logs: some 60 us, 134,000 requests and 1.6 GB/s at the most, far below four drives of a server.
    assert!(after.read.iops < before.read.iops && after.read.bandwidth < before.read.bandwidth, "{after:?}");
    assert!((20e-6..90e-6).contains(&after.latency) && (1e5..4e5).contains(&after.read.iops), "{after:?}");
    assert_eq!(fabric.served().len(), 1);
    assert!(fabric.served()[0].what.contains("read of tier nvme") && fabric.served()[0].source.contains("fio"), "{:?}", fabric.served());
}

#[cfg(target_os = "linux")]
#[test]
fn the_host_is_probed_for_real() {
    let folder = folder();
    let at = |n: &str| folder.path().join(n).to_string_lossy().into_owned();
    let file = at("probe.jsonl");
    let text = done(&["calibrate", "probe", "--budget", "5 s", "--out", &file]);
    assert!(text.contains("no CUDA part"), "{text}");
    // Nothing but the records is left behind.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(said(&["calibrate", "probe", "--budget", "3 s", "--out", &file], 2).contains("--resume"));
    let lines = || std::fs::read_to_string(&file).unwrap().lines().count();
    let before = lines();
    done(&["calibrate", "probe", "--budget", "2 s", "--resume", "--out", &file]);
    assert!(before > 1 && lines() >= before);
    let imported = read("probe.jsonl", &std::fs::read_to_string(&file).unwrap()).unwrap();
    assert!(imported.list.iter().all(|m| m.origin == "host" && m.value > 0.0 && m.time.ends_with('Z')));
    let ids: std::collections::BTreeSet<&String> = imported.list.iter().map(|m| &m.source).collect();
    assert_eq!(ids.len(), imported.list.len(), "a task was measured twice");
    if orrery::probe::Cuda::open().is_err() {
        assert!(said(&["calibrate", "probe", "--cuda", "--out", &at("c.jsonl")], 2).contains("CUDA devices cannot be measured"));
    }
    assert!(said(&["calibrate", "probe", "--out", &at("d.jsonl"), "--scratch", &at("none")], 2).contains("E0606"));
}

/// Devices that were measured: profiles are what the fit gives, and whole steps of compiled models, which no fit saw, are met.
#[test]
fn profiles_of_measured_devices_meet_whole_steps() {
    let folder = folder();
    for device in ["h100-sxm", "h200-sxm"] {
        let (own, out) = (format!("reports/calibration/{device}"), folder.path().join("p.toml").to_string_lossy().into_owned());
        let mut records = files(&own, ".jsonl.gz");
        records.sort();
        let mut args = vec!["calibrate", "fit"];
        args.extend(records.iter().filter_map(|p| p.to_str()));
        args.extend(["--out", &out]);
        done(&args);
        let read = |p: &std::path::Path| std::fs::read_to_string(p).unwrap();
        assert_eq!(read(std::path::Path::new(&out)), read(&root().join(&own).join("profile.toml")), "reports/calibration/regenerate");
        let (profile, steps) = (format!("{own}/profile.toml"), format!("{own}/steps/steps.csv"));
        let json: serde_json::Value = serde_json::from_str(&done(&["calibrate", "check", &profile, "--steps", &steps, "--json"])).unwrap();
        let rows = json["steps"].as_array().unwrap();
        for row in rows.iter().filter(|r| r["id"].as_str().is_some_and(|n| n.ends_with("-compiled") || n == "vit-l-16")) {
            let error = row["predicted_s"].as_f64().unwrap() / row["measured_s"].as_f64().unwrap() - 1.0;
            assert!(error.abs() < 0.06, "{device} {row}: {error}");
        }
        assert!(rows.len() == 12, "{rows:?}");
    }
}

/// Constants alone, where there are none to be had.
#[test]
fn a_choice_that_does_nothing_is_refused() {
    let folder = folder();
    let out = folder.path().join("p.toml").to_string_lossy().into_owned();
    let output = orrery(&["calibrate", "fit", "tests/logs/nccl_allreduce.log", "--law-only", "--out", &out]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("does nothing here") && !Path::new(&out).exists(), "{output:?}");
}

/// A trace of a real step, packed as profilers write it.
#[test]
fn a_packed_trace_is_read() {
    let folder = folder();
    let out = folder.path().join("t.jsonl").to_string_lossy().into_owned();
    let text = done(&["calibrate", "import", "reports/calibration/h100-sxm/trace.json.gz", "--out", &out]);
    assert!(text.contains("PyTorch profiler"), "{text}");
    let whole = std::fs::read(root().join("reports/calibration/h100-sxm/trace.json.gz")).unwrap();
    let cut = folder.path().join("cut.json.gz");
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    let output = orrery(&["calibrate", "import", &cut.to_string_lossy(), "--out", &out]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read"), "{output:?}");
}

/// Steps of a job whose network is slower than the profile says: communication is named.
#[test]
fn steps_tell_the_component() {
    let folder = folder();
    let at = |n: &str| folder.path().join(n).to_string_lossy().into_owned();
    let (a, b) = ("scenarios/training/gpt3-175b-a100-1024.toml", "reports/calibration/a100-nccl-logs.toml");
    let predicted = |set: &[&str]| -> serde_json::Value {
        let mut args = vec!["run", a, "--json", "--set", "profile=\"reports/calibration/a100-nccl-logs.toml\""];
        set.iter().for_each(|s| args.extend(["--set", s]));
        serde_json::from_str(&done(&args)).unwrap()
    };
    let t = &predicted(&[])["training"];
    let (step, compute) = (t["step_time_s"].as_f64().unwrap(), t["breakdown_s"]["compute"].as_f64().unwrap());
    let scenario = root().join(a).to_string_lossy().into_owned();
    std::fs::write(at("steps.csv"), format!("id,scenario,step_time_s\none,{scenario},{}\n", step + 0.2 * compute)).unwrap();
    let text = done(&["calibrate", "check", b, "--steps", &at("steps.csv")]);
    assert!(text.contains("compute              times 1.20"), "{text}");
    std::fs::write(
        at("known.csv"),
        format!("id,scenario,step_time_s,compute_s\none,{scenario},{},{}\n", step + 0.2 * compute, 1.2 * compute),
    )
    .unwrap();
    let json: serde_json::Value = serde_json::from_str(&done(&["calibrate", "check", b, "--steps", &at("known.csv"), "--json"])).unwrap();
    assert_eq!((&json["components"][0]["component"], &json["components"][0]["measured_directly"]), (&"compute".into(), &true.into()));
    std::fs::write(at("bad.csv"), "id,scenario,step_time_s\none,nowhere.toml,1\n").unwrap();
    assert!(said(&["calibrate", "check", b, "--steps", &at("bad.csv")], 2).contains("cannot be read"));
}

#[test]
fn job_files_are_shell_and_name_all_tools() {
    let folder = folder();
    for scheduler in ["slurm", "kubernetes"] {
        let out = folder.path().join(scheduler);
        done(&["calibrate", "script", scheduler, "--nodes", "32", "--leaf", "8", "--out", out.to_str().unwrap()]);
        for script in std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().path()) {
            let text = std::fs::read_to_string(&script).unwrap();
            if text.starts_with("#!/usr/bin/env bash") {
                let checked = std::process::Command::new("bash").arg("-n").arg(&script).output().unwrap();
                assert!(checked.status.success(), "{}: {}", script.display(), String::from_utf8_lossy(&checked.stderr));
            }
        }
        let node = std::fs::read_to_string(out.join("measure-node.sh")).unwrap();
        assert!(["all_reduce_perf", "nvbandwidth", "fio", "orrery calibrate probe"].iter().all(|t| node.contains(t)));
    }
    assert!(said(&["calibrate", "script", "slurm", "--nodes", "0", "--out", "x"], 2).contains("--nodes"));
}

/// A node's script runs for real with what is here, and its folder is read whole; nodes that differ are named.
#[test]
fn a_folder_of_nodes_is_imported_and_compared() {
    let folder = folder();
    let log = std::fs::read_to_string(root().join("tests/logs/nccl_allreduce.log")).unwrap();
    let slow = log.replace("32070", "48000").replace("133.92", "89.48").replace("32052", "48000").replace("134.00", "89.48");
    for (i, text) in [&log, &log, &slow, &log, &log].into_iter().enumerate() {
        let node = folder.path().join(format!("logs/node{i}"));
        std::fs::create_dir_all(&node).unwrap();
        std::fs::write(node.join("all_reduce.log"), text.replace("localhost", &format!("node{i}"))).unwrap();
        std::fs::write(node.join("SKIPPED"), "nvbandwidth\n").unwrap();
    }
    let out = folder.path().join("m.jsonl");
    let text = done(&["calibrate", "import", folder.path().join("logs").to_str().unwrap(), "--out", out.to_str().unwrap()]);
    assert!(text.contains("slow node: node2 at 67 %"), "{text}");
    assert!(text.contains("SKIPPED") && text.contains("left out"), "{text}");
    let again = read("m.jsonl", &std::fs::read_to_string(&out).unwrap()).unwrap();
    assert_eq!(again.list.len(), 5 * 64);
}
