//! The sweep file.

use crate::diag::{Count, Decode, Diagnostics, FilePath, List, Name, Node, Whole};
use crate::{choice, record};

/// Any TOML value, as it stands.
pub struct AnyValue;

impl Decode for AnyValue {
    type Out = Node;
    fn decode(node: &Node, _: &mut Diagnostics) -> Option<Node> {
        Some(node.clone())
    }
    fn describe() -> serde_json::Value {
        serde_json::json!({})
    }
}

choice! {
    /// How the values of the axes are combined.
    pub enum Design {
        /// Every value of every axis with every other; the last axis varies fastest.
        Grid = "grid",
        /// All axes step together.
        List = "list",
        /// Every axis is drawn by itself.
        Random = "random",
        /// Every axis is cut into as many parts as there are samples, and each part is drawn once.
        LatinHypercube = "latin-hypercube",
    }
}

choice! {
    /// Spacing between the ends of an axis.
    pub enum Scale {
        /// Equal differences.
        Linear = "linear",
        /// Equal ratios.
        Log = "log",
    }
}

record! {
    /// What is varied: one key or several keys together, over values or over a range.
    pub struct AxisInput {
        /// Dotted path of the key, such as `training.parallel.tensor` or `topology.fabric.oversubscription`.
        pub key: Option<Name>,
        /// Several keys that change together.
        pub keys: Option<List<Name>>,
        /// Values; with `keys` each is an array with a value for every key.
        pub values: Option<List<AnyValue>>,
        /// First end of a range: a number, or a quantity with its unit. Whole numbers at both ends give whole numbers.
        pub from: Option<AnyValue>,
        /// Other end of the range, in the same unit.
        pub to: Option<AnyValue>,
        /// Values over the range, ends included (grid and list).
        pub count: Option<Count>,
        /// Spacing over the range; absent: linear.
        pub scale: Option<Scale>,
    }
}

record! {
    /// A sweep: a base scenario and the values that are put into it.
    pub struct SweepInput {
        /// Format version.
        pub format: Count = 1,
        /// Title for people.
        pub title: Name,
        /// The scenario file that is varied, relative to this file.
        pub base: FilePath,
        /// How the axes are combined.
        pub design: Design = Design::Grid,
        /// Scenarios to draw (random and latin-hypercube).
        pub samples: Option<Count>,
        /// Seed of the draws (random and latin-hypercube); absent: 1.
        pub seed: Option<Whole>,
        /// What is varied.
        pub axis: List<AxisInput>,
        /// Keys of the outcome (as in `run --json`) that become columns, such as `training.step_time_s`.
        pub columns: List<Name>,
    }
}
