//! Which keys of an outcome become columns: checked against the schema of `run --json` before anything runs.

use crate::diag::{At, Diagnostic, Diagnostics, codes, nearest};
use crate::metrics::Outcome;
use serde_json::Value as Json;

/// Paths into the JSON of an outcome.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    paths: Vec<String>,
}

impl Columns {
    /// Checks that every path is a key with one value that does not differ between two runs.
    pub(super) fn new(names: &[At<String>], place: crate::diag::Span, diags: &mut Diagnostics) -> Option<Self> {
        let schema = serde_json::to_value(schemars::schema_for!(Outcome)).unwrap_or(Json::Null);
        let before = diags.error_count();
        if names.is_empty() {
            let missing = Diagnostic::error(codes::OUT_OF_RANGE, "a sweep without columns keeps nothing of its outcomes");
            diags.push(missing.at(place, "is empty").hint("add \"training.step_time_s\""));
        }
        for (i, name) in names.iter().enumerate() {
            if let Some(first) = names[..i].iter().find(|n| n.value == name.value) {
                let twice = Diagnostic::error(codes::DUPLICATE_NAME, format!("two columns are called `{}`", name.value));
                diags.push(twice.at(name.span, "again").at(first.span, "first"));
            }
            match walk(&schema, &name.value) {
                Ok(()) if name.value == "simulation.wall_s" => {
                    let message = "`simulation.wall_s` differs from run to run, but a sweep gives the same bytes each time";
                    diags.push(Diagnostic::error(codes::CONFLICT, message).at(name.span, "not here"));
                }
                Ok(()) => {}
                Err(fault) => {
                    let hint = match nearest(&fault.part, fault.known.iter().map(String::as_str)) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None if fault.known.is_empty() => "a column is one number, word or truth value".to_owned(),
                        None => format!("the keys here are {}", fault.known.join(", ")),
                    };
                    diags
                        .push(Diagnostic::error(codes::UNKNOWN_KEY, fault.message).at(name.span, "no such value in an outcome").hint(hint));
                }
            }
        }
        (diags.error_count() == before).then(|| Self { paths: names.iter().map(|n| n.value.clone()).collect() })
    }

    /// The paths.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }

    /// The cells of an outcome; a key that the outcome has not gives an empty cell.
    pub(super) fn cells(&self, outcome: &Outcome) -> Vec<String> {
        let value = serde_json::to_value(outcome).unwrap_or(Json::Null);
        let cell = |path: &String| {
            let found = path.split('.').try_fold(&value, |at, part| match at {
                Json::Array(items) => part.parse::<usize>().ok().and_then(|i| items.get(i)),
                other => other.get(part),
            });
            match found {
                Some(Json::String(text)) => text.clone(),
                Some(Json::Null) | None => String::new(),
                Some(other) => other.to_string(),
            }
        };
        self.paths.iter().map(cell).collect()
    }
}

struct Fault {
    part: String,
    message: String,
    known: Vec<String>,
}

/// Follows a path through a JSON Schema to a plain value.
fn walk(root: &Json, path: &str) -> Result<(), Fault> {
    let mut at = resolve(root, root);
    for part in path.split('.') {
        if let Some(items) = at.get("items").filter(|_| part.parse::<usize>().is_ok()) {
            at = resolve(root, items);
            continue;
        }
        let properties = at.get("properties").and_then(Json::as_object);
        let Some(next) = properties.and_then(|p| p.get(part)) else {
            let known = properties.map(|p| p.keys().cloned().collect()).unwrap_or_default();
            return Err(Fault { part: part.into(), message: format!("an outcome has no `{path}`: `{part}` is not a key there"), known });
        };
        at = resolve(root, next);
    }
    if at.get("properties").is_some() || at.get("items").is_some() || at.get("prefixItems").is_some() {
        let known: Vec<String> = at.get("properties").and_then(Json::as_object).map(|p| p.keys().cloned().collect()).unwrap_or_default();
        return Err(Fault { part: String::new(), message: format!("`{path}` is a table or a list of values, not one value"), known });
    }
    Ok(())
}

/// Follows references and options.
fn resolve<'a>(root: &'a Json, mut at: &'a Json) -> &'a Json {
    for _ in 0..8 {
        if let Some(name) = at.get("$ref").and_then(Json::as_str) {
            at = root.pointer(name.trim_start_matches('#')).unwrap_or(at);
        } else if let Some(some) =
            at.get("anyOf").and_then(Json::as_array).and_then(|a| a.iter().find(|s| s.get("type") != Some(&Json::from("null"))))
        {
            at = some;
        } else {
            break;
        }
    }
    at
}
