//! How sure a step time is: the residuals of the profile entries that served it, carried through to the step.
//!
//! First order, in relative terms: every operator class of the critical rank moves the step by its share of it. What all
//! kernels of a class share (clocks, a move by data-sheet ratio) does not average out; the residuals of single shapes do, over
//! the shapes of a layer. Classes are taken as independent. Versions of a software stack add a spread of their own.

use super::outcome::BreakdownSeconds;
use crate::kernels::Provenance;
use crate::training::{Attention, Config, Step};

/// Distinct products of a layer: four linear layers, each forward and twice backward.
const PRODUCTS: f64 = 12.0;

/// Relative standard deviation of host-bound passes: ten percent of the launch floor of 218 rows of one node is not explained.
const HOST: f64 = 0.10;

/// The same of collectives inside a scale-up domain and between nodes: the 90th percentile of the absolute error of the tables
/// of collectives, 9.6 % and 24 %, over 1.645.
const COLLECTIVES: (f64, f64) = (0.06, 0.15);

/// Relative standard deviation between versions of one software stack: repeats of a configuration over Megatron-Bridge
/// containers differ by 6 % in the median, which is 0.6745 × √2 standard deviations of one.
const SOFTWARE: f64 = 0.063;

/// The 90th percentile of a normal distribution in standard deviations.
const P90: f64 = 1.2816;

/// The 10th and 90th percentile of the step time of a rank class whose time goes as in `parts`.
pub(super) fn interval(config: &Config, step: &Step, class: usize, parts: &BreakdownSeconds) -> (f64, f64) {
    let time = step.time_s();
    if time <= 0.0 {
        return (time, time);
    }
    let device = &step.devices[step.part_of(class)];
    let entries = device.training_provenance(config.precision.linear(), *config.stack.attention);
    let passes = &step.passes[step.part_of(class)];
    let (f, b) = (&passes.layer_forward, &passes.layer_backward);
    let flash = config.attention == Attention::Flash;
    let kernels = [
        (f.matrix + b.matrix, of(&entries, "matrix products", PRODUCTS)),
        // Unfused attention moves its scores through memory.
        (f.attention + b.attention, of(&entries, if flash { "flash attention" } else { "element-wise kernels" }, 1.0)),
        (f.elementwise + b.elementwise, of(&entries, "element-wise kernels", 1.0)),
    ];
    let all: f64 = kernels.iter().map(|k| k.0).sum::<f64>().max(f64::MIN_POSITIVE);
    // Passes that the host paces take its spread, whatever the kernels do.
    let bound = f.host.max(b.host * f.compute() / b.compute().max(f64::MIN_POSITIVE)) > f.compute();
    let compute = if bound { HOST } else { root(&kernels.map(|(seconds, spread)| seconds / all * spread)) };
    // Other stages are waited for as long as they compute.
    let shares = [
        (parts.compute + parts.bubble, compute),
        (parts.optimizer, of(&entries, "element-wise kernels", 1.0)),
        (parts.tensor_comm + parts.context_comm, COLLECTIVES.0),
        (parts.data_comm + parts.pipeline_comm + parts.expert_comm, COLLECTIVES.1),
    ];
    let spread = root(&[root(&shares.map(|(seconds, spread)| seconds / time * spread)), SOFTWARE]);
    (time * libm::exp(-P90 * spread), time * libm::exp(P90 * spread))
}

fn root(parts: &[f64]) -> f64 {
    parts.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Relative standard deviation of a class over so many shapes.
fn of(entries: &[Provenance], operator: &str, shapes: f64) -> f64 {
    let Some(entry) = entries.iter().find(|e| e.operator == operator) else { return 0.0 };
    root(&[entry.shared, entry.single / shapes.sqrt()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_residuals_average_out_and_shared_ones_do_not() {
        let entry = |shared, single| Provenance { operator: "x".into(), entry: String::new(), source: String::new(), shared, single };
        assert!((of(&[entry(0.0, 0.12)], "x", 16.0) - 0.03).abs() < 1e-12);
        assert!((of(&[entry(0.05, 0.0)], "x", 16.0) - 0.05).abs() < 1e-12);
        assert!((of(&[entry(0.3, 0.4)], "x", 1.0) - 0.5).abs() < 1e-12);
        assert_eq!(of(&[], "x", 1.0), 0.0);
    }
}
