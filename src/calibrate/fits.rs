//! What measurements of one thing were fitted to, and where they come from.

use super::curve::{CurveFit, Interval};
use super::storage::StorageFit;
use crate::measured::ValueOrigin;

/// Where the values of a fitted thing come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Seal {
    /// The least trustworthy origin among its measurements.
    pub origin: ValueOrigin,
    /// Tools.
    pub tool: String,
    /// Files.
    pub source: String,
    /// Earliest time.
    pub time: String,
    /// Devices.
    pub device: String,
    /// Sessions.
    pub sessions: usize,
}

/// A fitted curve with its keys.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit<F> {
    /// Keys in the order of the profile.
    pub keys: Vec<(&'static str, String)>,
    /// Where the values come from.
    pub seal: Seal,
    /// What was fitted.
    pub fit: F,
}

/// Bandwidth by level of a memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Levels {
    /// Upper end of the working set, bytes, and bytes per second.
    pub levels: Vec<(f64, Interval)>,
    /// Measurements.
    pub points: usize,
    /// What the data do not determine.
    pub undetermined: Vec<String>,
    /// Working set, measured and fitted bytes per second.
    pub seen: Vec<(f64, f64, f64)>,
}

/// What power and cooling leave of the rates of short products.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sustained {
    /// Key of the profile.
    pub key: &'static str,
    /// Share.
    pub share: f64,
}

/// Measurements that no such part can reach.
#[derive(Debug, Clone, PartialEq)]
pub struct Implausible {
    /// What.
    pub what: String,
    /// Where it comes from.
    pub seal: Seal,
    /// Measured rate over the data sheet's.
    pub share: f64,
    /// Measurements.
    pub points: usize,
}

/// All that measurements beside operators gave.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fits {
    /// Collectives.
    pub collective: Vec<Fit<CurveFit>>,
    /// Copies and messages.
    pub link: Vec<Fit<CurveFit>>,
    /// Memories.
    pub memory: Vec<Fit<Levels>>,
    /// Storage tiers.
    pub storage: Vec<Fit<StorageFit>>,
    /// Rates of lasting work over those of short measurements.
    pub sustained: Vec<Fit<Sustained>>,
    /// Kept out.
    pub quarantined: Vec<Implausible>,
    /// What stays at its prior, and why: reason and measurements.
    pub left: Vec<(String, usize)>,
}
