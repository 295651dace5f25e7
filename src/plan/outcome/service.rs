//! What the answer of a plan serves: the service that is asked for, what a deployment reaches, purchases while demand grows.

use crate::metrics::Percentiles;
use schemars::JsonSchema;
use serde::Serialize;

/// What a deployment comes to at the rate with headroom, while as many nodes are down as may be.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Served {
    /// Nodes that work.
    pub working_nodes: u64,
    /// Engines on them.
    pub engines: u64,
    /// Of these, engines that run prompts alone and hand them on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_engines: Option<u64>,
    /// Accelerators of an engine.
    pub accelerators_per_engine: u64,
    /// Requests per second that were sent.
    pub requests_per_s: f64,
    /// Time to first token.
    pub ttft_s: Percentiles,
    /// Time per output token after the first.
    pub tpot_s: Percentiles,
    /// Time to the last token.
    pub e2e_s: Percentiles,
    /// Output tokens per second.
    pub output_tokens_per_s: f64,
    /// Share of the time in which engines run.
    pub busy_share: f64,
    /// Greatest share of the cache in use.
    pub kv_peak_share: f64,
    /// Money by the hour, of all nodes.
    pub usd_per_hour: f64,
    /// The same over output tokens.
    pub usd_per_million_output_tokens: f64,
    /// What is taken away, of spot capacity; latencies and money are those with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spot: Option<SpotLoss>,
}

/// Spot capacity that is taken away and replaced.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct SpotLoss {
    /// Nodes that are there on average; only these are paid.
    pub mean_nodes: f64,
    /// Nodes that are taken away in a day.
    pub nodes_taken_per_day: f64,
    /// Share of the requests that start again elsewhere, because their node is taken away.
    pub requests_hit_share: f64,
    /// Most nodes away at a time that latencies count.
    pub most_away: u64,
}

/// What has to be served.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Service {
    /// Requests per second in the first month.
    pub requests_per_s: f64,
    /// Requests per second that have to be held: in the last month, with headroom.
    pub load_requests_per_s: f64,
    /// Headroom.
    pub headroom: f64,
    /// Nodes that may be down.
    pub spare_nodes: u64,
    /// Months that money and energy are of.
    pub months: u64,
    /// Latencies that are asked for, and what the best reaches.
    pub slo: Vec<SloRow>,
    /// The best on an ordinary day: all nodes, the rate without headroom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordinary: Option<Served>,
    /// Greatest rate that all nodes of the best hold; absent where the base's requests are too few to find one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sustained_requests_per_s: Option<f64>,
}

/// A latency that is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct SloRow {
    /// `ttft`, `tpot` or `e2e`.
    pub metric: String,
    /// 50, 90 or 99.
    pub percentile: f64,
    /// What is allowed.
    pub limit_s: f64,
    /// What the best reaches, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached_s: Option<f64>,
}

/// Purchases while demand grows.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Purchases {
    /// One after the other.
    pub phases: Vec<Phase>,
    /// Money in phases.
    pub phased_usd: f64,
    /// Money with everything from the first month on.
    pub at_once_usd: f64,
}

/// A purchase.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Phase {
    /// First month.
    pub month: u64,
    /// Month before which the next begins.
    pub until_month: u64,
    /// Requests per second at its end, without headroom.
    pub requests_per_s: f64,
    /// Nodes that work from then on.
    pub nodes: u64,
    /// Nodes that are added.
    pub added: u64,
    /// Money until the next.
    pub usd: f64,
}
