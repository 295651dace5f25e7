//! A calibrated prediction against measured steps of whole jobs, and which component is most likely off.
//!
//! Components are the parts of the step's breakdown. Under the hypothesis that one component alone is off by a factor, that factor is the
//! one that fits the measured steps best; the component whose hypothesis leaves the least error is named, with how much better it is than
//! the next one. Measured components, where a job's trace gave them, are compared directly.

use crate::diag::{Diagnostic, Diagnostics, SourceId, Span, codes};
use crate::metrics::BreakdownSeconds;
use crate::scenario::{Job, execute, load};
use crate::tables::{Columns, quantile, read};

/// A component of a step.
#[derive(Debug, Clone, Copy)]
pub struct Component {
    /// Key of the breakdown.
    pub name: &'static str,
    get: fn(&BreakdownSeconds) -> f64,
}

/// All components.
const COMPONENTS: [Component; 11] = [
    Component { name: "compute", get: |b| b.compute },
    Component { name: "tensor_comm", get: |b| b.tensor_comm },
    Component { name: "pipeline_comm", get: |b| b.pipeline_comm },
    Component { name: "data_comm", get: |b| b.data_comm },
    Component { name: "expert_comm", get: |b| b.expert_comm },
    Component { name: "context_comm", get: |b| b.context_comm },
    Component { name: "bubble", get: |b| b.bubble },
    Component { name: "data_stall", get: |b| b.data_stall },
    Component { name: "checkpoint_stall", get: |b| b.checkpoint_stall },
    Component { name: "optimizer", get: |b| b.optimizer },
    Component { name: "other", get: |b| b.other },
];

/// A measured step beside its prediction.
#[derive(Debug, Clone, PartialEq)]
pub struct StepCheck {
    /// Id of the row.
    pub id: String,
    /// Measured seconds.
    pub measured: f64,
    /// Predicted seconds.
    pub predicted: f64,
    /// Predicted seconds by component.
    pub parts: Vec<(&'static str, f64)>,
    /// Measured seconds of components, where the row has them.
    pub known: Vec<(&'static str, f64)>,
}

/// A component under the hypothesis that it alone is off.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Component.
    pub name: &'static str,
    /// Factor by which it would have to change.
    pub factor: f64,
    /// Median of the absolute relative error of the steps that would be left.
    pub left: f64,
    /// Whether measured components say so, not only whole steps.
    pub direct: bool,
}

const COLUMNS: Columns = Columns { needed: &["id", "scenario"], measured: &["step_time_s"] };

/// Predicts every row of a table with the columns `id`, `scenario` (a file, relative to the table), `step_time_s`, and any of the components
/// as `compute_s` …, under a profile. `None` when the table or a scenario is faulty, which `diags` then holds.
pub fn check_steps(profile: &str, source: SourceId, allow_synthetic: bool, diags: &mut Diagnostics) -> Option<Vec<StepCheck>> {
    let tables = read(&[source], &COLUMNS, diags)?;
    let before = diags.error_count();
    let folder = diags.folder_of(source);
    let mut out = Vec::new();
    for record in tables.iter().flat_map(crate::tables::Table::records) {
        let path = folder.join(record.text("scenario"));
        let mut set = vec![format!("profile={}", toml_text(profile))];
        if allow_synthetic {
            set.push("allow_synthetic=true".into());
        }
        let whole = Span { source, start: 0, end: 0 };
        let mut refuse = |message: String| diags.push(Diagnostic::error(codes::BAD_TABLE, message).at(whole, "this table"));
        let mut inner = Diagnostics::new();
        let Some(scenario) = load(&path, &set, None, &mut inner) else {
            let text = crate::diag::render(&inner, crate::diag::Style::Plain);
            refuse(format!("row `{}`: its scenario cannot be read\n{text}", record.text("id")));
            continue;
        };
        if !matches!(scenario.job, Job::Training { .. }) {
            refuse(format!("row `{}`: `{}` is no training step", record.text("id"), record.text("scenario")));
            continue;
        }
        match execute(&scenario, 600.0, &|| 0.0) {
            Ok(outcome) => {
                let Some(t) = outcome.training else { continue };
                let known = COMPONENTS
                    .iter()
                    .filter_map(|c| Some((c.name, record.get::<f64>(&format!("{}_s", c.name)).ok().filter(|v| *v >= 0.0)?)));
                out.push(StepCheck {
                    id: record.text("id").to_owned(),
                    measured: record.measured[0],
                    predicted: t.step_time_s,
                    parts: COMPONENTS.iter().map(|c| (c.name, (c.get)(&t.breakdown_s))).collect(),
                    known: known.collect(),
                });
            }
            Err(failure) => refuse(format!("row `{}`: {failure}", record.text("id"))),
        }
    }
    (diags.error_count() == before).then_some(out)
}

/// A text as a TOML value of an override.
fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Component {
    /// Components by how well each alone explains what is off, the likeliest first. Components that are under 2 % of every step are left out.
    #[must_use]
    pub fn judge(steps: &[StepCheck]) -> Vec<Judged> {
        let mut out: Vec<Judged> = Vec::new();
        for component in COMPONENTS {
            let part = |s: &StepCheck| s.parts.iter().find(|p| p.0 == component.name).map_or(0.0, |p| p.1);
            if steps.iter().all(|s| part(s) < 0.02 * s.predicted) {
                continue;
            }
            let known: Vec<f64> =
                steps.iter().filter_map(|s| Some(s.known.iter().find(|k| k.0 == component.name)?.1 / part(s).max(1e-12))).collect();
            let direct = !known.is_empty();
            let factor = if direct { quantile(known, 0.5) } else { best_factor(steps, &part) };
            let left = steps.iter().map(|s| ((s.predicted + (factor - 1.0) * part(s)) / s.measured - 1.0).abs()).collect();
            out.push(Judged { name: component.name, factor, left: quantile(left, 0.5), direct });
        }
        // Of components that explain as much, to a millionth, one that was measured by itself goes first.
        let order = |j: &Judged| ((1e6 * j.left).round(), !j.direct);
        out.sort_by(|a, b| order(a).0.total_cmp(&order(b).0).then(order(a).1.cmp(&order(b).1)));
        out
    }
}

/// The factor of a component that fits the measured steps best, between none of it and ten times.
fn best_factor(steps: &[StepCheck], part: &dyn Fn(&StepCheck) -> f64) -> f64 {
    // Relative least squares in one unknown: measured = predicted + (f - 1) part.
    let (mut a, mut b) = (0.0, 0.0);
    for s in steps {
        let (x, y) = (part(s) / s.measured, (s.measured - s.predicted) / s.measured);
        a += x * x;
        b += x * y;
    }
    if a > 0.0 { (1.0 + b / a).clamp(0.0, 10.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps whose data-parallel communication is twice as slow as predicted: it is named, and nothing else fits as well.
    #[test]
    fn the_component_that_is_off_is_named() {
        let step = |compute: f64, data: f64, optimizer: f64| StepCheck {
            id: "x".into(),
            measured: compute + 2.0 * data + optimizer,
            predicted: compute + data + optimizer,
            parts: vec![("compute", compute), ("data_comm", data), ("optimizer", optimizer)],
            known: Vec::new(),
        };
        let steps = [step(1.0, 0.5, 0.05), step(2.0, 0.3, 0.4), step(0.5, 0.5, 0.3)];
        let judged = Component::judge(&steps);
        assert_eq!(judged[0].name, "data_comm");
        assert!((judged[0].factor - 2.0).abs() < 1e-9 && judged[0].left < 1e-9 && judged[1].left > 0.02, "{judged:?}");
    }
}
