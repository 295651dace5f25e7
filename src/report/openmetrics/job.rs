//! Time series of one job: a training step, a whole run, a serving deployment.

use super::{POINTS, head, label, sample};
use crate::metrics::{Detail, Outcome, RunSegment, ServingDetail, SliceKind, TrainingOutcome};

/// Bytes of a MiB, the unit of the exporter's frame buffer.
const MI: f64 = 1_048_576.0;

/// A family of metrics: type, help, lines.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    lines: String,
}

/// Families in the order in which they came up; all samples of one stand together.
#[derive(Default)]
struct Families {
    list: Vec<Family>,
}

impl Families {
    fn of(&mut self, name: &'static str, kind: &'static str, help: &'static str) -> &mut String {
        let at = self.list.iter().position(|f| f.name == name).unwrap_or_else(|| {
            self.list.push(Family { name, kind, help, lines: String::new() });
            self.list.len() - 1
        });
        &mut self.list[at].lines
    }
    fn gauge(&mut self, name: &'static str, help: &'static str, labels: &str, value: f64, at: f64) {
        sample(self.of(name, "gauge", help), name, labels, value, at);
    }
    /// Counters: the samples carry the suffix, the family does not.
    fn counter(&mut self, name: &'static str, help: &'static str, labels: &str, value: f64, at: f64) {
        let full = format!("{name}_total");
        sample(self.of(name, "counter", help), &full, labels, value, at);
    }
    fn write(self, out: &mut String) {
        for f in self.list {
            head(out, f.name, f.kind, f.help);
            out.push_str(&f.lines);
        }
    }
}

/// The time series of a job; returns whether there are any.
pub(super) fn write(outcome: &Outcome, out: &mut String) -> bool {
    let mut all = Families::default();
    if let Some(training) = &outcome.training {
        step(&outcome.detail, training, &mut all);
        run(outcome, training, &mut all);
    }
    if let Some(detail) = &outcome.detail.serving {
        serving(detail, &mut all);
    }
    let any = !all.list.is_empty();
    all.write(out);
    any
}

const SM: (&str, &str) = ("DCGM_FI_PROF_SM_ACTIVE", "Share of the time in which kernels compute.");
const USED: (&str, &str) = ("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB).");
const FREE: (&str, &str) = ("DCGM_FI_DEV_FB_FREE", "Framebuffer memory free (in MiB).");
const PHASE: (&str, &str) = ("kube_pod_status_phase", "Pods by phase.");

/// One step on every class of equal ranks: compute and any kernels by interval, memory at its peak, bytes over the busiest NIC.
fn step(detail: &Detail, training: &TrainingOutcome, all: &mut Families) {
    let end = training.step_time_s;
    if detail.timeline.is_empty() || end <= 0.0 {
        return;
    }
    let (width, slices) = (end / POINTS as f64, detail.timeline.slices());
    for (p, process) in detail.processes.iter().enumerate() {
        let labels = format!("gpu=\"{p}\",Hostname=\"{}\",scope=\"step\"", label(process));
        let mine = || slices.iter().filter(|s| s.process as usize == p);
        let computes = |k: SliceKind| matches!(k, SliceKind::Forward | SliceKind::Backward | SliceKind::Optimizer | SliceKind::Compute);
        let (compute, any) = (shares(mine().filter(|s| computes(s.kind)).map(span), width), shares(mine().map(span), width));
        for (i, (sm, busy)) in compute.iter().zip(&any).enumerate() {
            let at = (i + 1) as f64 * width;
            all.gauge(SM.0, SM.1, &labels, *sm, at);
            all.gauge("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).", &labels, (100.0 * busy).round(), at);
        }
        if let Some(stage) = detail.stages.get(p % detail.stages.len().max(1)) {
            for at in [0.0, end] {
                all.gauge(USED.0, USED.1, &labels, (stage.memory.peak / MI).round(), at);
                all.gauge(FREE.0, FREE.1, &labels, ((stage.memory.capacity - stage.memory.peak) / MI).round().max(0.0), at);
            }
        }
    }
    for link in detail.links.iter().filter(|l| l.name.starts_with("NIC ")) {
        for (value, at) in [(0.0, 0.0), (link.bytes, end)] {
            let help = "Bytes over the most loaded NIC.";
            all.counter("node_network_transmit_bytes", help, "device=\"most loaded NIC\",scope=\"step\"", value.round(), at);
        }
    }
}

fn span(s: &crate::metrics::Slice) -> (f64, f64) {
    (s.start_s, s.start_s + s.duration_s)
}

/// The share of every interval that the union of some spans covers.
fn shares(spans: impl Iterator<Item = (f64, f64)>, width: f64) -> Vec<f64> {
    let mut list: Vec<(f64, f64)> = spans.collect();
    list.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut out = vec![0.0; POINTS];
    let mut until = 0.0f64;
    for (from, to) in list {
        let from = from.max(until);
        until = until.max(to);
        let mut at = from;
        while at < to {
            let bin = ((at / width) as usize).min(POINTS - 1);
            let next = if bin + 1 == POINTS { to } else { to.min((bin + 1) as f64 * width) };
            out[bin] += (next - at) / width;
            if next <= at {
                break;
            }
            at = next;
        }
    }
    out.iter().map(|v| v.min(1.0)).collect()
}

/// Months of a run: what the time goes into by interval, steps that are done, compute of the accelerators.
fn run(outcome: &Outcome, training: &TrainingOutcome, all: &mut Families) {
    let segments = &outcome.detail.run_segments;
    let end = segments.iter().map(|s| s.end_s).fold(0.0, f64::max);
    if end <= 0.0 {
        return;
    }
    let width = end / POINTS as f64;
    let of = |wanted: &dyn Fn(&RunSegment) -> bool| shares(segments.iter().filter(|s| wanted(s)).map(|s| (s.start_s, s.end_s)), width);
    let trains = of(&|s| s.loss.is_none());
    let step = training.breakdown_s;
    let compute = (step.compute + step.optimizer) / training.step_time_s;
    let per_second = 1.0 / training.step_time_s;
    let mut steps = 0.0;
    for (i, share) in trains.iter().enumerate() {
        let at = (i + 1) as f64 * width;
        steps += share * width * per_second;
        let labels = |phase: &str| format!("namespace=\"orrery\",phase=\"{phase}\",scope=\"run\"");
        all.gauge(PHASE.0, PHASE.1, &labels("Running"), *share, at);
        all.gauge(PHASE.0, PHASE.1, &labels("Pending"), 1.0 - share, at);
        all.gauge(SM.0, SM.1, "gpu=\"mean\",Hostname=\"run\",scope=\"run\"", share * compute, at);
        all.counter("orrery_run_steps", "Optimizer steps that are done.", "scope=\"run\"", steps, at);
    }
    let mut losses: Vec<&str> = segments.iter().filter_map(|s| s.loss).collect();
    losses.sort_unstable();
    losses.dedup();
    for loss in losses {
        for (i, share) in of(&|s| s.loss == Some(loss)).iter().enumerate() {
            let labels = format!("loss=\"{}\",scope=\"run\"", label(loss));
            all.gauge("orrery_run_loss_ratio", "Share of the time that is lost.", &labels, *share, (i + 1) as f64 * width);
        }
    }
}

/// Requests, cache and tokens of all engines by slice.
fn serving(detail: &ServingDetail, all: &mut Families) {
    let width = detail.series.width;
    let labels = "namespace=\"orrery\",deployment=\"engines\"";
    let gpu = "gpu=\"mean\",Hostname=\"engines\"";
    let (mut output, mut input) = (0.0, 0.0);
    for (i, s) in detail.series.slices.iter().enumerate() {
        let at = (i + 1) as f64 * width;
        let replicas = detail.replicas as f64;
        all.gauge("vllm:num_requests_running", "Requests that run.", labels, s.running / width, at);
        all.gauge("vllm:num_requests_waiting", "Requests that wait.", labels, s.waiting / width, at);
        all.gauge("vllm:kv_cache_usage_perc", "Share of the cache blocks in use.", labels, s.cache / width / replicas, at);
        all.gauge("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).", gpu, 100.0 * s.busy / width / replicas, at);
        (output, input) = (output + s.output, input + s.input);
        all.counter("vllm:generation_tokens", "Tokens that were generated.", labels, output, at);
        all.counter("vllm:prompt_tokens", "Prompt tokens that were run.", labels, input, at);
        if detail.fleet.is_some() {
            all.gauge("kube_deployment_status_replicas_available", "Engines that are ready.", labels, s.ready / width, at);
        }
    }
    let m = &detail.memory;
    let used = m.weights + m.workspace + m.cache;
    for at in [0.0, detail.series.slices.len() as f64 * width] {
        all.gauge(USED.0, USED.1, gpu, (used / MI).round(), at);
        all.gauge(FREE.0, FREE.1, gpu, ((m.capacity - used) / MI).round().max(0.0), at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_spans_count_once() {
        let got = shares([(0.0, 1.0), (0.5, 1.5), (3.0, 4.0)].into_iter(), 4.0 / POINTS as f64);
        let sum: f64 = got.iter().sum::<f64>() * 4.0 / POINTS as f64;
        assert!((sum - 2.5).abs() < 1e-9 && got[0] == 1.0 && got[POINTS / 2] == 0.0, "{sum}");
    }
}
