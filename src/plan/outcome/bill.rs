//! What the answer of a plan buys: the bill of a cluster, rent against purchase, what a change of one thing does to the money.

use schemars::JsonSchema;
use serde::Serialize;

/// What a cluster consists of.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Bill {
    /// Nodes.
    pub nodes: u64,
    /// Accelerators.
    pub accelerators: u64,
    /// Network cards.
    pub nics: u64,
    /// Switches by level: leaf, spine, core.
    pub switches: [u64; 3],
    /// Network cables.
    pub cables: u64,
    /// Drives in nodes.
    pub drives: u64,
    /// Scale-up domains.
    pub scale_up_domains: u64,
    /// Racks.
    pub racks: u64,
    /// Power of a rack that this assumes.
    pub rack_power_w: f64,
    /// Power under load without cooling.
    pub power_w: f64,
    /// The same with cooling.
    pub site_power_w: f64,
    /// Storage tiers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub storage: Vec<StorageLine>,
    /// Purchase price of what has one.
    pub purchase_usd: f64,
    /// Its parts.
    pub purchase_parts_usd: Vec<(String, f64)>,
    /// Parts without a price.
    pub unpriced: Vec<String>,
}

/// A storage tier of a bill.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StorageLine {
    /// Name.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// Servers; drives of a node.
    pub servers: u64,
    /// Size; absent: without end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<f64>,
    /// What it reads.
    pub read_bytes_per_s: f64,
    /// What it writes.
    pub write_bytes_per_s: f64,
}

/// When buying the cluster of the best beats renting it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct BreakEven {
    /// Price of the cluster.
    pub purchase_usd: f64,
    /// Electricity of an hour of work.
    pub electricity_usd_per_hour: f64,
    /// Rent of an hour.
    pub rent_usd_per_hour: f64,
    /// Hours of work after which buying is cheaper; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hours: Option<f64>,
    /// The same in words.
    pub text: String,
}

/// A change of one thing and what it does to the money of the best.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Swing {
    /// What changes.
    pub what: String,
    /// The lower value in words.
    pub low: String,
    /// The higher value in words.
    pub high: String,
    /// Money at the lower value.
    pub low_usd: f64,
    /// Money at the higher value.
    pub high_usd: f64,
}
