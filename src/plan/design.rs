//! From the index of a scenario to the values of every axis, by rule: nothing is kept for each scenario but, for a Latin
//! hypercube, four bytes an axis.

use super::input::{AxisInput, Design, Scale, SweepInput};
use crate::diag::{At, Diagnostic, Diagnostics, Node, Span, Value, codes};
use crate::engine::Streams;
use crate::scenario::Change;
use rand_pcg::rand_core::Rng;

/// Most scenarios of a sweep: eight bytes are kept for each, and a million seconds are a week.
const MOST: u64 = 10_000_000;

/// The values that an axis may take.
#[derive(Debug, Clone)]
enum Points {
    /// One value for each key.
    Values(Vec<Vec<Node>>),
    /// Numbers between two ends.
    Range(Range),
}

/// Numbers between two ends.
#[derive(Debug, Clone)]
struct Range {
    from: f64,
    to: f64,
    unit: String,
    whole: bool,
    log: bool,
    /// Values over the range (grid and list); 0 where they are drawn.
    count: u64,
    span: Span,
}

/// An axis: its keys and values.
#[derive(Debug, Clone)]
struct Axis {
    keys: Vec<At<String>>,
    points: Points,
}

/// The rule from an index to values.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    axes: Vec<Axis>,
    design: Design,
    total: u64,
    streams: Streams,
    /// Latin hypercube: the part of every scenario, by axis.
    parts: Vec<Vec<u32>>,
}

impl Range {
    fn at(&self, u: f64) -> Node {
        let value = if self.log {
            libm::exp(libm::log(self.from) + u * (libm::log(self.to) - libm::log(self.from)))
        } else {
            self.from + u * (self.to - self.from)
        };
        // The ends as they were given, not as rounding leaves them.
        let value = if u == 0.0 {
            self.from
        } else if u == 1.0 {
            self.to
        } else {
            value
        };
        let value = if self.whole {
            Value::Int(libm::round(value) as i64)
        } else if self.unit.is_empty() {
            Value::Float(value)
        } else {
            Value::Str(format!("{value} {}", self.unit))
        };
        Node { span: self.span, value }
    }
}

impl Points {
    fn len(&self) -> u64 {
        match self {
            Self::Values(values) => values.len() as u64,
            Self::Range(range) => range.count,
        }
    }
    /// Value number `k`.
    fn nth(&self, k: u64) -> Vec<Node> {
        match self {
            Self::Values(values) => values[k as usize].clone(),
            Self::Range(range) => vec![range.at(if range.count > 1 { k as f64 / (range.count - 1) as f64 } else { 0.0 })],
        }
    }
    /// The value at `u` of the way, 0 to 1; a whole range gives every number the same share.
    fn along(&self, u: f64) -> Vec<Node> {
        match self {
            Self::Values(values) => values[((u * values.len() as f64) as usize).min(values.len() - 1)].clone(),
            Self::Range(range) if range.whole && !range.log => {
                let (low, high) = (range.from.min(range.to), range.from.max(range.to));
                let value = low + libm::floor(u * (high - low + 1.0)).min(high - low);
                vec![Node { span: range.span, value: Value::Int(value as i64) }]
            }
            Self::Range(range) => vec![range.at(u)],
        }
    }
}

impl Rule {
    /// Reads the axes of a sweep.
    pub(super) fn new(input: &SweepInput, diags: &mut Diagnostics) -> Option<Self> {
        let drawn = matches!(*input.design, Design::Random | Design::LatinHypercube);
        let before = diags.error_count();
        let axes: Vec<Axis> = input.axis.iter().filter_map(|a| axis(&a.value, a.span, drawn, *input.design, diags)).collect();
        if input.axis.is_empty() {
            diags.push(Diagnostic::error(codes::MISSING_KEY, "a sweep needs an axis").at(input.axis.span, "none").hint("add [[axis]]"));
        }
        unique(&axes, diags);
        let total = total(input, &axes, drawn, diags);
        if diags.error_count() > before {
            return None;
        }
        let total = total?;
        let streams = Streams::new(input.seed.unwrap_or(1));
        let parts = if *input.design == Design::LatinHypercube {
            (0..axes.len()).map(|j| shuffled(total as u32, &streams, j)).collect()
        } else {
            Vec::new()
        };
        Some(Self { axes, design: *input.design, total, streams, parts })
    }

    /// Scenarios.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// All keys in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.axes.iter().flat_map(|a| a.keys.iter().map(|k| k.value.as_str()))
    }

    /// All values that an axis over values of `key` has.
    pub(super) fn values_of(&self, key: &str) -> Vec<&Node> {
        let mut out = Vec::new();
        for axis in &self.axes {
            if let (Some(i), Points::Values(values)) = (axis.keys.iter().position(|k| k.value == key), &axis.points) {
                out.extend(values.iter().map(|v| &v[i]));
            }
        }
        out
    }

    /// The changes of scenario `index`.
    pub(super) fn changes(&self, index: u64) -> Vec<Change> {
        let mut out = Vec::new();
        let mut below = self.total;
        for (j, axis) in self.axes.iter().enumerate() {
            let values = match self.design {
                Design::Grid => {
                    below /= axis.points.len();
                    axis.points.nth(index / below % axis.points.len())
                }
                Design::List => axis.points.nth(index),
                Design::Random => axis.points.along(self.draw("random", j, index)),
                Design::LatinHypercube => {
                    let part = f64::from(self.parts[j][index as usize]);
                    axis.points.along((part + self.draw("hypercube", j, index)) / self.total as f64)
                }
            };
            let put = |(key, value): (&At<String>, Node)| Change { key: key.value.clone(), place: key.span, value };
            out.extend(axis.keys.iter().zip(values).map(put));
        }
        out
    }

    /// A number from 0 to 1, the same for an axis and a scenario whoever asks.
    fn draw(&self, what: &str, axis: usize, index: u64) -> f64 {
        unit(self.streams.stream(&format!("sweep {what} {axis} {index}")).next_u64())
    }
}

/// The upper 53 bits as a number below 1.
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

fn shuffled(total: u32, streams: &Streams, axis: usize) -> Vec<u32> {
    let mut stream = streams.stream(&format!("sweep parts {axis}"));
    let mut out: Vec<u32> = (0..total).collect();
    for i in (1..out.len()).rev() {
        let j = (unit(stream.next_u64()) * (i + 1) as f64) as usize;
        out.swap(i, j.min(i));
    }
    out
}

fn total(input: &SweepInput, axes: &[Axis], drawn: bool, diags: &mut Diagnostics) -> Option<u64> {
    let idle = [("samples", input.samples.is_some(), input.samples.span), ("seed", input.seed.is_some(), input.seed.span)];
    for (name, given, span) in idle {
        if given && !drawn {
            let message = format!("`{name}` does nothing with design = \"{}\"", *input.design);
            diags.push(Diagnostic::error(codes::CONFLICT, message).at(span, "does nothing").at(input.design.span, "design"));
        }
    }
    let total = match *input.design {
        Design::Random | Design::LatinHypercube => {
            if input.samples.is_none() {
                let message = format!("design = \"{}\" needs `samples`", *input.design);
                diags.push(Diagnostic::error(codes::MISSING_KEY, message).at(input.design.span, "this design").hint("add samples = 1000"));
            }
            *input.samples
        }
        Design::Grid => axes.iter().try_fold(1u64, |product, a| product.checked_mul(a.points.len())),
        Design::List => {
            let first = axes.first().map(|a| a.points.len());
            if let Some(other) = axes.iter().find(|a| Some(a.points.len()) != first) {
                let message = format!("axes of a list step together, but have {} and {} values", first.unwrap_or(0), other.points.len());
                diags.push(Diagnostic::error(codes::CONFLICT, message).at(other.keys[0].span, "another number of values"));
            }
            first
        }
    };
    if total.is_none_or(|t| t > MOST) && diags.error_count() == 0 {
        let count = total.map_or_else(|| "far more".to_owned(), |t| t.to_string());
        diags.push(
            Diagnostic::error(codes::OUT_OF_RANGE, format!("the sweep has {count} scenarios"))
                .at(input.design.span, "of all axes together")
                .hint(format!("at most {MOST}; draw some with design = \"latin-hypercube\" and samples")),
        );
    }
    total
}

fn unique(axes: &[Axis], diags: &mut Diagnostics) {
    let all: Vec<&At<String>> = axes.iter().flat_map(|a| &a.keys).collect();
    for (i, key) in all.iter().enumerate() {
        if let Some(first) = all[..i].iter().find(|k| k.value == key.value) {
            diags.push(
                Diagnostic::error(codes::DUPLICATE_NAME, format!("two axes vary `{}`", key.value))
                    .at(key.span, "again")
                    .at(first.span, "first"),
            );
        }
    }
}

fn axis(input: &AxisInput, span: Span, drawn: bool, design: Design, diags: &mut Diagnostics) -> Option<Axis> {
    let place = Span { end: span.start, ..span };
    let keys = match (&input.key.value, &input.keys.value) {
        (Some(key), None) => vec![At { value: key.clone(), span: input.key.span }],
        (None, Some(keys)) if !keys.is_empty() => keys.clone(),
        (Some(_), Some(_)) => {
            diags.push(
                Diagnostic::error(codes::CONFLICT, "an axis has `key` or `keys`, not both")
                    .at(input.key.span, "one")
                    .at(input.keys.span, "another"),
            );
            return None;
        }
        _ => {
            diags.push(Diagnostic::error(codes::MISSING_KEY, "an axis needs `key`").at(place, "this axis").hint("add key = \"nodes\""));
            return None;
        }
    };
    let range = [
        ("from", input.from.is_some(), input.from.span),
        ("to", input.to.is_some(), input.to.span),
        ("count", input.count.is_some(), input.count.span),
        ("scale", input.scale.is_some(), input.scale.span),
    ];
    if let Some(values) = &input.values.value {
        if let Some((name, _, at)) = range.into_iter().find(|r| r.1) {
            let message = format!("`{name}` does nothing beside `values`");
            diags.push(Diagnostic::error(codes::CONFLICT, message).at(at, "does nothing").at(input.values.span, "values"));
            return None;
        }
        return Some(Axis { points: Points::Values(tuples(values, input, &keys, diags)?), keys });
    }
    let (Some(from), Some(to)) = (&input.from.value, &input.to.value) else {
        let message = "an axis needs `values`, or `from` and `to`";
        diags.push(Diagnostic::error(codes::MISSING_KEY, message).at(keys[0].span, "this axis").hint("add values = [1, 2, 4]"));
        return None;
    };
    if input.keys.is_some() {
        let message = "several keys need `values`: a range has one number";
        diags.push(Diagnostic::error(codes::CONFLICT, message).at(input.keys.span, "several keys").at(input.from.span, "a range"));
        return None;
    }
    let range = span_between(input, from, to, drawn, design, diags)?;
    Some(Axis { points: Points::Range(range), keys })
}

/// One value for each key.
fn tuples(values: &[At<Node>], input: &AxisInput, keys: &[At<String>], diags: &mut Diagnostics) -> Option<Vec<Vec<Node>>> {
    if values.is_empty() {
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "an axis without values").at(input.values.span, "is empty"));
        return None;
    }
    if input.key.is_some() {
        return Some(values.iter().map(|v| vec![v.value.clone()]).collect());
    }
    let tuple = |v: &At<Node>| match &v.value.value {
        Value::Array(items) if items.len() == keys.len() => Ok(items.clone()),
        other => Err((v.span, other.kind())),
    };
    match values.iter().map(tuple).collect() {
        Ok(tuples) => Some(tuples),
        Err((span, kind)) => {
            let message = format!("each value of {} keys is an array of {}, found {kind}", keys.len(), keys.len());
            diags.push(Diagnostic::error(codes::WRONG_TYPE, message).at(span, "expected an array of that length"));
            None
        }
    }
}

/// A number with its unit; whether it is whole.
fn number(node: &Node, diags: &mut Diagnostics) -> Option<(f64, String, bool)> {
    let parsed = match &node.value {
        Value::Int(i) => Some((*i as f64, String::new(), true)),
        Value::Float(f) => Some((*f, String::new(), false)),
        Value::Str(text) => {
            let text = text.trim();
            let mut end = text.find(|c: char| !(c.is_ascii_digit() || "+-.eE".contains(c))).unwrap_or(text.len());
            while end > 0 && text[..end].parse::<f64>().is_err() {
                end -= 1;
            }
            text[..end].parse().ok().map(|value| (value, text[end..].trim().to_owned(), false))
        }
        _ => None,
    };
    match parsed {
        Some((value, unit, whole)) if value.is_finite() && value.abs() < 1e18 => Some((value, unit, whole)),
        _ => {
            let message = "the end of a range is a finite number, or a quantity such as \"100 Gbps\"";
            diags.push(Diagnostic::error(codes::WRONG_TYPE, message).at(node.span, "no number"));
            None
        }
    }
}

fn span_between(input: &AxisInput, from: &Node, to: &Node, drawn: bool, design: Design, diags: &mut Diagnostics) -> Option<Range> {
    let (a, b) = (number(from, diags), number(to, diags));
    let ((from_value, unit, from_whole), (to_value, to_unit, to_whole)) = (a?, b?);
    if unit != to_unit {
        let message = format!("a range from `{unit}` to `{to_unit}`: both ends need the same unit");
        diags.push(Diagnostic::error(codes::BAD_QUANTITY, message).at(to.span, "another unit").at(from.span, "first end"));
        return None;
    }
    let log = input.scale.value == Some(Scale::Log);
    if log && (from_value <= 0.0 || to_value <= 0.0) {
        let message = "a logarithmic range needs both ends above 0";
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(from.span, "from").at(input.scale.span, "scale"));
        return None;
    }
    let count = match (*input.count, drawn) {
        (Some(count), false) => count,
        (None, true) => 0,
        (Some(_), true) => {
            let message = format!("`count` does nothing with design = \"{design}\": values are drawn");
            diags.push(Diagnostic::error(codes::CONFLICT, message).at(input.count.span, "does nothing"));
            return None;
        }
        (None, false) => {
            let message = "a range needs `count`: how many values it has";
            diags.push(Diagnostic::error(codes::MISSING_KEY, message).at(from.span, "this range").hint("add count = 5"));
            return None;
        }
    };
    Some(Range { from: from_value, to: to_value, unit, whole: from_whole && to_whole, log, count, span: from.span })
}
