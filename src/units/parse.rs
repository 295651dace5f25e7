//! The grammar of quantities in text: number, optional space, optional prefix, unit.
//!
//! `k M G T P E` are powers of 1000 and `Ki Mi Gi Ti Pi Ei` of 1024; `b` is bit, `B` byte. A bare number is refused
//! for every dimension but a ratio, except `0`; the error offers the unit that was probably meant.

use super::{DAY, Dimension, HOUR, KWH};
use std::fmt;

/// What is wrong with the text of a quantity, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)
    }
}
impl std::error::Error for UnitError {}

const DECIMAL: [(&str, f64); 7] = [("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12), ("P", 1e15), ("E", 1e18)];
const BINARY: [(&str, f64); 6] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Pi", 1_125_899_906_842_624.0),
    ("Ei", 1_152_921_504_606_846_976.0),
];
const TIMES: [(&str, f64); 10] = [
    ("ps", 1e-12),
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("min", 60.0),
    ("h", HOUR),
    ("d", DAY),
    ("days", DAY),
];

/// Examples of each dimension, for hints.
pub(super) fn example(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Bytes => "\"80 GiB\" or \"4 MB\"",
        Dimension::BytesPerSecond => "\"400 Gbps\" or \"50 GB/s\"",
        Dimension::Seconds => "\"5 us\", \"30 min\" or \"365 d\"",
        Dimension::Flops => "\"3.14e23 FLOP\" or \"2 PFLOP\"",
        Dimension::FlopsPerSecond => "\"312 TFLOPS\" or \"1 PFLOP/s\"",
        Dimension::Watts => "\"700 W\" or \"10 MW\"",
        Dimension::Joules => "\"5 kWh\" or \"1 MJ\"",
        Dimension::Usd => "\"30 kUSD\" or \"1.5 MUSD\"",
        Dimension::UsdPerSecond => "\"2.95 USD/h\"",
        Dimension::UsdPerJoule => "\"0.12 USD/kWh\"",
        Dimension::KilogramsPerJoule => "\"0.4 kg/kWh\" or \"400 g/kWh\"",
        Dimension::Ratio => "\"85 %\" or 0.85",
    }
}

/// Reads a quantity of one dimension; the value is in the SI base.
pub(super) fn parse(text: &str, dimension: Dimension) -> Result<f64, UnitError> {
    let text = text.trim();
    let (number, unit) = split(text);
    let fail = |message: String| UnitError { message, hint: format!("write a number and a unit, such as {}", example(dimension)) };
    let value: f64 = number.parse().map_err(|_| fail(format!("`{text}` does not start with a number")))?;
    if !value.is_finite() {
        return Err(fail(format!("`{text}` is not a finite number")));
    }
    if unit.is_empty() {
        if value == 0.0 || dimension == Dimension::Ratio {
            return Ok(value);
        }
        return Err(fail(format!("`{text}` has no unit")));
    }
    let factor = factor(unit, dimension).ok_or_else(|| fail(format!("`{unit}` is not a unit of {}", noun(dimension))))?;
    let value = value * factor;
    if value.is_finite() { Ok(value) } else { Err(fail(format!("`{text}` is too large"))) }
}

/// Reads a count such as `300 G` or `1.5M`: a number with an optional decimal prefix.
///
/// # Errors
/// When the text is no number, has an unknown suffix, is negative or is no whole number.
pub fn parse_count(text: &str) -> Result<u64, UnitError> {
    let (number, suffix) = split(text.trim());
    let fail =
        |message: String| UnitError { message, hint: "write a whole number, such as 1536, \"1.5 M\" or \"300 G\" (300 billion)".into() };
    let value: f64 = number.parse().map_err(|_| fail(format!("`{text}` does not start with a number")))?;
    let prefix = prefix(suffix).ok_or_else(|| fail(format!("`{suffix}` is not one of k, M, G, T, P, Ki, Mi, Gi, Ti")))?;
    // The product of a decimal fraction and a power of ten may miss the whole number by a rounding.
    let value = value * prefix;
    let whole = value.round();
    if !value.is_finite() || value < 0.0 || (value - whole).abs() > 1e-9 * value.abs() {
        return Err(fail(format!("`{text}` is not a whole number")));
    }
    if whole >= 9.007_199_254_740_992e15 {
        return Err(fail(format!("`{text}` is too large")));
    }
    Ok(whole as u64)
}

fn noun(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Bytes => "data size",
        Dimension::BytesPerSecond => "data rate",
        Dimension::Seconds => "time",
        Dimension::Flops => "arithmetic work",
        Dimension::FlopsPerSecond => "arithmetic rate",
        Dimension::Watts => "power",
        Dimension::Joules => "energy",
        Dimension::Usd => "money",
        Dimension::UsdPerSecond => "money per time",
        Dimension::UsdPerJoule => "money per energy",
        Dimension::KilogramsPerJoule => "carbon per energy",
        Dimension::Ratio => "ratio",
    }
}

/// Splits a text into its number and its unit.
fn split(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let mut end = 0;
    while end < bytes.len() {
        let c = bytes[end];
        let exponent = matches!(c, b'e' | b'E')
            && end > 0
            && bytes
                .get(end + 1)
                .is_some_and(|n| n.is_ascii_digit() || (matches!(n, b'+' | b'-') && bytes.get(end + 2).is_some_and(u8::is_ascii_digit)));
        let sign = matches!(c, b'+' | b'-') && (end == 0 || matches!(bytes[end - 1], b'e' | b'E'));
        if !(c.is_ascii_digit() || c == b'.' || exponent || sign) {
            break;
        }
        end += 1;
    }
    (&text[..end], text[end..].trim_start())
}

fn prefix(text: &str) -> Option<f64> {
    DECIMAL.iter().chain(&BINARY).find(|(name, _)| *name == text).map(|(_, factor)| *factor)
}

fn prefixed(unit: &str, names: &[&str]) -> Option<f64> {
    names.iter().find_map(|name| prefix(unit.strip_suffix(name)?))
}

fn factor(unit: &str, dimension: Dimension) -> Option<f64> {
    let time = |name: &str| TIMES.iter().find(|(n, _)| *n == name).map(|(_, f)| *f);
    match dimension {
        Dimension::Bytes => prefixed(unit, &["B"]).or_else(|| Some(prefixed(unit, &["b"])? / 8.0)),
        Dimension::BytesPerSecond => prefixed(unit, &["B/s"]).or_else(|| Some(prefixed(unit, &["bps", "b/s", "bit/s"])? / 8.0)),
        Dimension::Seconds => time(unit),
        Dimension::Flops => prefixed(unit, &["FLOP"]),
        Dimension::FlopsPerSecond => prefixed(unit, &["FLOP/s", "FLOPS", "OPS"]),
        Dimension::Watts => prefixed(unit, &["W"]),
        Dimension::Joules => prefixed(unit, &["J"]).or_else(|| Some(prefixed(unit, &["Wh"])? * HOUR)),
        Dimension::Usd => prefixed(unit, &["USD", "$"]),
        Dimension::UsdPerSecond => {
            let (money, per) = unit.split_once('/')?;
            Some(prefixed(money, &["USD", "$"])? / time(per)?)
        }
        Dimension::UsdPerJoule => {
            let (money, per) = unit.split_once('/')?;
            Some(prefixed(money, &["USD", "$"])? / prefixed(per, &["Wh"])? / HOUR)
        }
        Dimension::KilogramsPerJoule => match unit {
            "kg/kWh" => Some(1.0 / KWH),
            "g/kWh" => Some(1e-3 / KWH),
            _ => None,
        },
        Dimension::Ratio => (unit == "%").then_some(0.01),
    }
}
