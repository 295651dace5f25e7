//! Sweeps: the same bytes from any number of shards and threads and over kills; bad scenarios as rows; foreign folders refused.

use super::{orrery, placeless, root};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const SWEEP: &str = r#"title = "t"
base = "BASE/scenarios/training/gpt-22b-a100-8.toml"
columns = ["training.step_time_s", "training.fits", "cost.usd_total"]
[[axis]]
key = "training.microbatch"
values = [1, 2, 3, 4]
[[axis]]
key = "training.model.layers"
from = 4
to = 53
count = 50
[[axis]]
key = "training.recompute"
values = ["none", "selective", "full"]
"#;

fn write(folder: &Path, text: &str) -> String {
    let path = folder.join("sweep.toml");
    std::fs::write(&path, text.replace("BASE", root().to_str().unwrap())).unwrap();
    path.to_str().unwrap().to_owned()
}

fn run(args: &[&str], threads: &str) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orrery"));
    command.args(args).env("RAYON_NUM_THREADS", threads).env("NO_COLOR", "1").output().unwrap()
}

fn sound(args: &[&str], threads: &str) {
    let out = run(args, threads);
    assert_eq!(out.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

fn results(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("results.csv")).unwrap()
}

#[test]
fn shards_threads_and_kills_give_the_same_bytes() {
    let work = tempfile::tempdir().unwrap();
    let sweep = write(work.path(), SWEEP);
    let folder = |name: &str| work.path().join(name);
    let path = |name: &str| folder(name).to_str().unwrap().to_owned();
    sound(&["sweep", "run", &sweep, "--out", &path("whole")], "1");
    let want = results(&folder("whole"));
    assert_eq!(want.lines().count(), 601);
    assert!(want.lines().nth(1).unwrap().starts_with("0,1,4,none,0."));
    // A batch of four does not divide by three: a row with its code, not the end of the sweep.
    assert_eq!(want.lines().filter(|l| l.contains(",E0404,")).count(), 150);
    for shards in ["2", "7"] {
        let name = format!("in-{shards}");
        sound(&["sweep", "plan", &sweep, "--shards", shards, "--out", &path(&name)], "2");
        for k in 0..shards.parse::<u32>().unwrap() {
            let early = run(&["sweep", "collect", &path(&name)], "2");
            assert_eq!(early.status.code(), Some(1), "shards are missing yet");
            let mut command = Command::new(env!("CARGO_BIN_EXE_orrery"));
            command.args(["sweep", "run", &sweep, "--out", &path(&name), "--resume"]).env("HQ_TASK_ID", k.to_string());
            assert!(command.stderr(Stdio::null()).status().unwrap().success());
        }
        sound(&["sweep", "collect", &path(&name)], "2");
        assert!(results(&folder(&name)) == want, "{shards} shards give other bytes");
    }
    kill_and_resume(work.path(), &sweep, &want);
}

/// How often a sweep is killed: one run until it is through, or as often as `ORRERY_KILLS` says, over several runs.
fn kill_and_resume(work: &Path, sweep: &str, want: &str) {
    let asked: u32 = std::env::var("ORRERY_KILLS").ok().and_then(|k| k.parse().ok()).unwrap_or(1);
    let (mut kills, mut round) = (0, 0);
    while kills < asked {
        kills += killed_run(work, sweep, want, round);
        round += 1;
        assert!(round < 200, "only {kills} kills of {asked} came in time");
    }
}

/// Kills a sweep at changing moments until it is through; its bytes have to be those of an uninterrupted run.
fn killed_run(work: &Path, sweep: &str, want: &str, round: u64) -> u32 {
    let folder = |name: &str| work.join(name);
    let name = format!("killed-{round}");
    let path = folder(&name).to_str().unwrap().to_owned();
    let mut kills = 0;
    for i in 0u64.. {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orrery"));
        command.args(["sweep", "run", sweep, "--out", &path, "--resume"]).env("RAYON_NUM_THREADS", "2");
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(8 + 7 * ((i + round) % 5) + round % 7));
        let done = child.try_wait().unwrap().is_some();
        let _ = child.kill();
        let _ = child.wait();
        if done || folder(&name).join("results.csv").exists() || i > 200 {
            break;
        }
        kills += 1;
        if i == 0
            && let Ok(text) = std::fs::read(folder(&name).join("results.journal"))
        {
            // A line that was only half written when the power went.
            std::fs::write(folder(&name).join("results.journal"), &text[..text.len().saturating_sub(5)]).unwrap();
        }
    }
    assert!(kills >= 1 || round > 0, "nothing was killed");
    sound(&["sweep", "run", sweep, "--out", &path, "--resume"], "3");
    assert!(results(&folder(&name)) == want, "{kills} kills change the bytes");
    assert!(!folder(&name).join("results.journal").exists());
    kills
}

/// A program that is killed after it wrote the results and before it removed the journal leaves both.
#[test]
fn a_journal_beside_its_results_is_removed() {
    let work = tempfile::tempdir().unwrap();
    let sweep = write(work.path(), &SWEEP.replace("count = 50", "count = 2"));
    let out = work.path().join("out");
    sound(&["sweep", "run", &sweep, "--out", out.to_str().unwrap()], "2");
    let want = results(&out);
    std::fs::write(out.join("results.journal"), "left").unwrap();
    sound(&["sweep", "run", &sweep, "--out", out.to_str().unwrap(), "--resume"], "2");
    assert!(results(&out) == want && !out.join("results.journal").exists());
}

#[test]
fn folders_of_something_else_are_refused() {
    let work = tempfile::tempdir().unwrap();
    let small = SWEEP.replace("count = 50", "count = 2");
    let sweep = write(work.path(), &small);
    let out = work.path().join("out").to_str().unwrap().to_owned();
    sound(&["sweep", "run", &sweep, "--out", &out], "2");
    let said = |args: &[&str]| {
        let output = run(args, "2");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said(&["sweep", "run", &sweep, "--out", &out]).contains("E0503"), "results are never overwritten");
    sound(&["sweep", "run", &sweep, "--out", &out, "--resume"], "2");
    assert!(said(&["sweep", "run", &sweep, "--out", &out, "--resume", "--shard", "0/3"]).contains("plans 1 shards, not 3"));
    assert!(said(&["sweep", "run", &sweep, "--out", &out, "--shard", "3/3"]).contains("--shard needs K/N"));
    write(work.path(), &small.replace("[1, 2, 3, 4]", "[1, 2]"));
    assert!(said(&["sweep", "run", &sweep, "--out", &out, "--resume"]).contains("of another sweep"));
    assert!(said(&["sweep", "collect", work.path().to_str().unwrap()]).contains("no manifest"));
    assert!(said(&["sweep", "plan", &sweep, "--shards", "999", "--out", &out]).contains("--shards needs"));
}

#[test]
fn faults_of_sweeps_point_into_the_file() {
    let work = tempfile::tempdir().unwrap();
    let said = |from: &str, to: &str| {
        assert!(SWEEP.contains(from));
        let sweep = write(work.path(), &SWEEP.replacen(from, to, 1));
        let output = orrery(&["check", &sweep]);
        assert_eq!(output.status.code(), Some(2), "{to} was taken");
        placeless(&String::from_utf8(output.stderr).unwrap(), work.path())
    };
    let mut all = String::new();
    for (from, to) in [
        ("training.fits", "training.fit"),
        ("training.fits", "training"),
        ("training.fits", "simulation.wall_s"),
        ("values = [1, 2, 3, 4]", "values = [3]"),
        ("values = [1, 2, 3, 4]", "values = []"),
        ("key = \"training.microbatch\"", "key = \"training.microbach\""),
        ("key = \"training.microbatch\"", "keys = [\"training.microbatch\", \"nodes\"]"),
        ("count = 50", "scale = \"log\""),
        ("count = 50", "count = 10_000_000"),
        ("to = 53", "to = \"53 GB\""),
        ("to = 53", "to = nan"),
        ("title = \"t\"", "title = \"t\"\nsamples = 5"),
        ("title = \"t\"", "title = \"t\"\ndesign = \"random\""),
        ("title = \"t\"", "title = \"t\"\ndesign = \"list\""),
        ("training.recompute", "training.microbatch"),
    ] {
        all.push_str(&format!("==== {to}\n{}", said(from, to)));
    }
    insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => "errors"}, { insta::assert_snapshot!("sweep", all) });
}

#[test]
fn job_files_name_every_shard() {
    let work = tempfile::tempdir().unwrap();
    let sweep = write(work.path(), SWEEP);
    let out = work.path().join("out");
    sound(&["sweep", "plan", &sweep, "--shards", "7", "--out", out.to_str().unwrap()], "2");
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    assert!(read("slurm.sh").contains("#SBATCH --array=0-6\n") && read("slurm.sh").contains("--resume\n"));
    assert!(read("hyperqueue.sh").contains("--array 0-6 ") && read("kubernetes.yaml").contains("completions: 7\n"));
    for script in ["slurm.sh", "hyperqueue.sh"] {
        let checked = Command::new("bash").arg("-n").arg(out.join(script)).status();
        assert!(checked.is_ok_and(|s| s.success()), "{script} is no shell script");
    }
}

/// The file beside the CSV holds as many rows, is the same from any number of shards, and begins and ends as Parquet does.
#[cfg(feature = "parquet")]
#[test]
fn results_come_back_from_parquet() {
    let work = tempfile::tempdir().unwrap();
    let sweep = write(work.path(), SWEEP);
    let path = |name: &str| work.path().join(name).to_str().unwrap().to_owned();
    sound(&["sweep", "run", &sweep, "--out", &path("whole")], "2");
    sound(&["sweep", "collect", &path("whole")], "2");
    sound(&["sweep", "plan", &sweep, "--shards", "3", "--out", &path("parts")], "2");
    for k in 0..3 {
        sound(&["sweep", "run", &sweep, "--out", &path("parts"), "--resume", "--shard", &format!("{k}/3")], "2");
    }
    sound(&["sweep", "collect", &path("parts")], "2");
    let bytes = |name: &str| std::fs::read(work.path().join(name).join("results.parquet")).unwrap();
    let whole = bytes("whole");
    assert!(whole.starts_with(b"PAR1") && whole.ends_with(b"PAR1"));
    assert_eq!(whole, bytes("parts"));
}
