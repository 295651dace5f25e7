//! What may come otherwise than a plan for training says, and what it rests on.

use super::load::TrainingPlan;
use super::money::{self, rests, time};
use super::outcome::{Assumption, Choice};
use super::search::Ran;
use crate::metrics::RunOutcome;
use crate::units::{Bytes, Seconds, three};

pub(super) fn risks(plan: &TrainingPlan, best: &Ran, payment: &str, counted: bool) -> Vec<String> {
    let (n, m) = (&best.numbers, &best.numbers.memory_bytes);
    let mut out = vec![format!(
        "Prediction: eight of ten steps of such a kind lie between {} and {}; {} to {}{}.",
        Seconds::new(n.step_time_p10_s),
        Seconds::new(n.step_time_p90_s),
        time(best.score.seconds * n.step_time_p10_s / n.step_time_s),
        time(best.score.seconds * n.step_time_p90_s / n.step_time_s),
        if plan.whole_run { " for the run" } else { "" }
    )];
    out.push(format!(
        "Memory: {} of {} on the fullest accelerator, {} % free{}.",
        Bytes::new(m.peak),
        Bytes::new(m.capacity),
        three(100.0 * (1.0 - m.peak / m.capacity)),
        if m.peak > 0.95 * m.capacity { "; so little may not be enough beside fragmentation" } else { "" }
    ));
    match best.run.as_ref().filter(|r| r.seeds.is_some()) {
        Some(r) => {
            let (early, late) = (r.p5.map_or(r.days, |n| n.days), r.p95.map_or(r.days, |n| n.days));
            out.push(format!(
                "Failures: {} stops in a run are expected; nine of ten runs take {} to {} days.",
                three(r.failures),
                three(early),
                three(late)
            ));
        }
        None if plan.whole_run => out.push(
            "Failures: the base has no [failures], so the run never stops. One interruption per 2,111 GPU-days was published for 16,384 H100; plan for lost time on large clusters.".into(),
        ),
        None => {}
    }
    if payment == "spot" && !counted {
        out.push("Spot capacity may be taken away; no loss for that is counted. Add [spot] to the plan.".into());
    }
    out.extend(money::extrapolated(&best.profile));
    out
}

pub(super) fn assumptions(choice: &Choice, run: Option<&RunOutcome>) -> Vec<Assumption> {
    let mut out = vec![
        rests(
            format!("{} on the fullest accelerator; runtime and allocator slack are flat figures", Bytes::new(choice.memory_peak_bytes)),
            "docs/models/memory.md",
        ),
        rests(
            "step times of dense models are within 5 % (median) and 16 % (nine of ten) of published measurements; layouts closer than 2 % are ties",
            "README, tests/validation",
        ),
    ];
    match run {
        Some(r) if r.seeds.is_some() => out.push(rests(
            format!("failures, checkpoints and restarts as in the base scenario, {} runs under different draws", r.seeds.unwrap_or(1)),
            "docs/models/failures.md, docs/models/checkpoints.md",
        )),
        Some(_) => out.push(rests("checkpoints and storage as in the base scenario; nothing fails", "docs/models/checkpoints.md")),
        None => out.push(rests("the run never stops: no failures, checkpoints or storage", "the base scenario has none")),
    }
    out
}
