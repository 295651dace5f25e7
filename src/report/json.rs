//! Outcomes as JSON: one object, or an array of several.

use crate::metrics::Outcome;
use serde_json::Value as Json;
use std::fmt;

/// A number that is not finite, or nothing where a number should be: a bug in a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotFinite(
    /// Path of the key.
    pub String,
);

impl fmt::Display for NotFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a finite number", self.0)
    }
}
impl std::error::Error for NotFinite {}

/// Outcomes as a pretty JSON text that ends with a line break.
///
/// # Errors
/// When any value is not finite.
pub fn json(outcomes: &[Outcome]) -> Result<String, NotFinite> {
    let values: Vec<Json> = outcomes.iter().map(|o| serde_json::to_value(o).unwrap_or(Json::Null)).collect();
    for value in &values {
        check(value, String::new())?;
    }
    let whole = match <[Json; 1]>::try_from(values) {
        Ok([one]) => one,
        Err(many) => Json::Array(many),
    };
    Ok(format!("{whole:#}\n"))
}

/// serde_json writes numbers that are not finite as null.
fn check(value: &Json, path: String) -> Result<(), NotFinite> {
    match value {
        Json::Null => Err(NotFinite(path)),
        Json::Array(items) => items.iter().enumerate().try_for_each(|(i, v)| check(v, format!("{path}[{i}]"))),
        Json::Object(map) => map.iter().try_for_each(|(k, v)| check(v, if path.is_empty() { k.clone() } else { format!("{path}.{k}") })),
        _ => Ok(()),
    }
}
