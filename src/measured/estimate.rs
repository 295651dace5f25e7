//! Values with intervals.

use crate::diag::{Decode, Diagnostic, Diagnostics, Node, Plain, Value, codes};
use serde_json::{Value as Json, json};

/// A fitted value with its 90 % interval: `[value, low, high]`, or a plain number that is taken as exact.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Estimate {
    /// A value without an interval.
    #[must_use]
    pub const fn exact(value: f64) -> Self {
        Self { value, low: value, high: value }
    }
}

impl Decode for Estimate {
    type Out = Self;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Self> {
        let Value::Array(items) = &node.value else { return Plain::decode(node, diags).map(Self::exact) };
        let numbers: Vec<Option<f64>> = items.iter().map(|item| Plain::decode(item, diags)).collect();
        let numbers: Vec<f64> = numbers.into_iter().collect::<Option<_>>()?;
        if let [value, low, high] = numbers[..]
            && low <= value
            && value <= high
        {
            return Some(Self { value, low, high });
        }
        diags.push(
            Diagnostic::error(codes::OUT_OF_RANGE, "an estimate is a number, or a value with the ends of its interval")
                .at(node.span, "not [value, low, high]")
                .hint("write 3.3, or [3.3, 3.1, 3.5]"),
        );
        None
    }
    fn describe() -> Json {
        let number = json!({"type": "number", "minimum": 0});
        json!({"oneOf": [number, {"type": "array", "items": number, "minItems": 3, "maxItems": 3}]})
    }
}

/// An [`Estimate`] above 0.
pub struct Above;

impl Decode for Above {
    type Out = Estimate;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<Estimate> {
        let estimate = Estimate::decode(node, diags)?;
        if estimate.value > 0.0 {
            return Some(estimate);
        }
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "the estimate is 0").at(node.span, "has to be above 0"));
        None
    }
    fn describe() -> Json {
        Estimate::describe()
    }
}

/// A signed share.
pub struct Bias;

impl Decode for Bias {
    type Out = f64;
    fn decode(node: &Node, diags: &mut Diagnostics) -> Option<f64> {
        let value = match node.value {
            Value::Float(f) => f,
            Value::Int(i) => i as f64,
            _ => f64::NAN,
        };
        if value.abs() <= 10.0 {
            return Some(value);
        }
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "a bias is a number such as -0.01").at(node.span, "no such number"));
        None
    }
    fn describe() -> Json {
        json!({"type": "number"})
    }
}
