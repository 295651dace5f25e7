//! How quantities are printed: three significant digits in the reader's unit.

use super::{DAY, Dimension, HOUR, KWH};

/// Three significant digits, without a trailing zero fraction for whole numbers below 1000.
#[must_use]
pub fn three(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".into() } else { format!("{value}") };
    }
    let digits = (2 - libm::floor(libm::log10(value.abs())) as i32).clamp(0, 12) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A number with the decimal prefix that keeps one to three digits before the point: `si(3.2e9, "B")` is `3.2 GB`.
#[must_use]
pub fn si(value: f64, unit: &str) -> String {
    let (scale, prefix) = scale(value, &[(1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, "")]);
    // Far above the last prefix a plain exponent is easier to read than a row of digits.
    if (value / scale).abs() >= 1e5 { format!("{value:.3e} {unit}") } else { format!("{} {prefix}{unit}", three(value / scale)) }
}

/// A whole number with its thousands apart.
#[must_use]
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with three digits that count, and its thousands apart.
#[must_use]
pub fn rounded(value: f64) -> String {
    if !(999.5..1e18).contains(&value.abs()) {
        return three(value);
    }
    let unit = libm::pow(10.0, libm::floor(libm::log10(value.abs())) - 2.0);
    let text = grouped((libm::round(value.abs() / unit) * unit) as u64);
    if value < 0.0 { format!("−{text}") } else { text }
}

/// Money for people: whole dollars up to a million with three digits that count, then millions and billions.
#[must_use]
pub fn dollars(value: f64) -> String {
    let size = value.abs();
    if size >= 0.9995e9 {
        format!("{} billion USD", three(value / 1e9))
    } else if size >= 0.9995e6 {
        format!("{} million USD", three(value / 1e6))
    } else if size >= 1e3 {
        let unit = libm::pow(10.0, (libm::floor(libm::log10(size)) - 2.0).max(0.0));
        let whole = libm::round(value / unit) * unit;
        let (thousands, rest) = ((whole / 1e3).trunc(), libm::fabs(whole % 1e3));
        format!("{thousands:.0},{rest:03.0} USD")
    } else {
        format!("{} USD", three(value))
    }
}

fn scale<'a>(value: f64, table: &[(f64, &'a str)]) -> (f64, &'a str) {
    if value == 0.0 {
        return table.iter().copied().find(|(s, _)| *s == 1.0).unwrap_or((1.0, ""));
    }
    // 0.9995 of a unit prints as 1.00, so it belongs to that unit already.
    table.iter().copied().find(|(s, _)| value.abs() >= s * 0.9995).unwrap_or_else(|| *table.last().unwrap_or(&(1.0, "")))
}

/// Prints a value in the SI base of its dimension.
pub(super) fn format(value: f64, dimension: Dimension) -> String {
    match dimension {
        Dimension::Bytes => {
            let gib = 1024.0 * 1024.0 * 1024.0;
            let (s, unit) = scale(
                value,
                &[
                    (gib * gib, "EiB"),
                    (gib * 1_048_576.0, "PiB"),
                    (gib * 1024.0, "TiB"),
                    (gib, "GiB"),
                    (1_048_576.0, "MiB"),
                    (1024.0, "KiB"),
                    (1.0, "B"),
                ],
            );
            format!("{} {unit}", three(value / s))
        }
        Dimension::BytesPerSecond => si(value, "B/s"),
        Dimension::Seconds => {
            let (s, unit) = scale(
                value,
                &[(2.0 * DAY, "d"), (2.0 * HOUR, "h"), (180.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"), (1e-12, "ps")],
            );
            let s = match unit {
                "d" => DAY,
                "h" => HOUR,
                "min" => 60.0,
                _ => s,
            };
            format!("{} {unit}", three(value / s))
        }
        Dimension::Flops => si(value, "FLOP"),
        Dimension::FlopsPerSecond => si(value, "FLOP/s"),
        Dimension::Watts => si(value, "W"),
        Dimension::Joules => si(value / HOUR, "Wh"),
        Dimension::Usd => si(value, "USD"),
        Dimension::UsdPerSecond => format!("{} USD/h", three(value * HOUR)),
        Dimension::UsdPerJoule => format!("{} USD/kWh", three(value * KWH)),
        Dimension::KilogramsPerJoule => format!("{} kg/kWh", three(value * KWH)),
        Dimension::Ratio => format!("{} %", three(value * 100.0)),
    }
}
