//! A sweep that was read and checked: the row of every scenario.

use super::columns::Columns;
use super::design::Rule;
use super::input::SweepInput;
use super::store::Manifest;
use crate::diag::{Decode, Diagnostic, Diagnostics, Node, Severity, Value, codes};
use crate::scenario::{Base, Failure, execute};
use std::path::Path;

/// Greatest estimated work of one scenario of a sweep, seconds.
const MAX_WORK: f64 = 600.0;

/// One line of the result: a scenario with its values, what came out, or why nothing did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Cells in the order of the header.
    pub cells: Vec<String>,
    /// Whether there is an outcome.
    pub sound: bool,
}

/// A sweep that was read and checked.
pub struct Sweep {
    /// Title for people.
    pub title: String,
    base: Base,
    rule: Rule,
    columns: Columns,
    hash: String,
}

/// Reads a sweep file; `None` when anything is wrong, or when every scenario of it is.
pub fn load_sweep(path: &Path, diags: &mut Diagnostics) -> Option<Sweep> {
    let source = diags.read_file(path, None)?;
    let node = Node::parse(source, diags)?;
    let input = SweepInput::decode(&node, diags)?;
    if *input.format != 1 {
        diags.push(
            Diagnostic::error(codes::UNKNOWN_FORMAT, format!("format {} is newer than this program", *input.format))
                .at(input.format.span, "unknown format")
                .hint("this program reads format 1"),
        );
        return None;
    }
    let rule = Rule::new(&input, diags);
    let columns = Columns::new(&input.columns, input.columns.span, diags);
    let (rule, columns) = (rule?, columns?);
    let inline = rule.keys().any(|k| k.starts_with("topology."));
    let base = Base::read(&input.base, input.base.span, inline, diags)?;
    let hash = hash(&base, &rule, diags);
    let sweep = Sweep { title: input.title.value, base, rule, columns, hash };
    sweep.probe(diags)?;
    Some(sweep)
}

/// The hash of all that a result depends on: program, sweep, base, topologies.
fn hash(base: &Base, rule: &Rule, diags: &Diagnostics) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &[u8]| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text);
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    diags.sources().iter().for_each(|s| add(s.text.as_bytes()));
    for key in ["topology", "profile"] {
        for node in base.value(key).into_iter().chain(rule.values_of(key)) {
            let names = if let Value::Array(list) = &node.value { list.as_slice() } else { std::slice::from_ref(node) };
            for name in names {
                if let Value::Str(file) = &name.value {
                    add(&std::fs::read(diags.folder_of(name.span.source).join(file)).unwrap_or_default());
                }
            }
        }
    }
    hasher.finalize().to_hex()[..32].to_owned()
}

impl Sweep {
    /// Scenarios.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.rule.total()
    }

    /// Names of the columns of a row.
    #[must_use]
    pub fn header(&self) -> Vec<String> {
        let own = ["scenario"].into_iter().chain(self.rule.keys()).chain(self.columns.names());
        own.chain(["error", "message"]).map(str::to_owned).collect()
    }

    /// What the folder of the results says about itself.
    #[must_use]
    pub fn manifest(&self, shards: u64) -> Manifest {
        Manifest {
            format: 1,
            orrery: env!("CARGO_PKG_VERSION").into(),
            title: self.title.clone(),
            sweep: self.hash.clone(),
            scenarios: self.total(),
            shards,
            header: self.header(),
        }
    }

    /// Looks for one scenario that can run; where there is none, the faults of the first are the answer.
    fn probe(&self, diags: &mut Diagnostics) -> Option<()> {
        let mut first = None;
        for index in 0..self.total() {
            let (scenario, faults) = self.base.with(&self.rule.changes(index));
            if scenario.is_some() {
                return Some(());
            }
            first.get_or_insert(faults);
        }
        *diags = first?;
        None
    }

    /// Runs a scenario. Bad input gives a row with the code and the first message.
    #[must_use]
    pub fn row(&self, index: u64) -> Row {
        let changes = self.rule.changes(index);
        let mut cells = vec![index.to_string()];
        cells.extend(changes.iter().map(|c| shown(&c.value)));
        let (scenario, diags) = self.base.with(&changes);
        let outcome = match scenario {
            Some(scenario) => execute(&scenario, MAX_WORK, &|| 0.0).map_err(failed),
            None => Err(refused(&diags)),
        };
        let sound = outcome.is_ok();
        match outcome {
            Ok(outcome) => {
                cells.extend(self.columns.cells(&outcome));
                cells.extend([String::new(), String::new()]);
            }
            Err((code, message)) => {
                cells.extend(self.columns.names().map(|_| String::new()));
                cells.extend([code, message]);
            }
        }
        for cell in &mut cells {
            if cell.contains(char::is_control) {
                *cell = cell.replace(char::is_control, " ");
            }
        }
        Row { cells, sound }
    }
}

fn failed(failure: Failure) -> (String, String) {
    let code = match failure {
        Failure::TooMuchWork { .. } | Failure::TooManyRuns { .. } => codes::TOO_MUCH_WORK,
        _ => codes::DEADLOCK,
    };
    (code.0.into(), failure.to_string())
}

/// All codes, and the first message.
fn refused(diags: &Diagnostics) -> (String, String) {
    let errors: Vec<&Diagnostic> = diags.sorted().into_iter().filter(|d| d.severity == Severity::Error).collect();
    let mut codes: Vec<&str> = errors.iter().map(|d| d.code.0).collect();
    codes.dedup();
    (codes.join(" "), errors.first().map_or_else(String::new, |d| d.message.clone()))
}

/// A value as a cell.
fn shown(node: &Node) -> String {
    match &node.value {
        Value::Str(text) => text.clone(),
        Value::Int(i) => i.to_string(),
        Value::Float(f) => f.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", ")),
        Value::Table(table) => {
            let one = |(key, entry): (&String, &crate::diag::Entry)| format!("{key} = {}", shown(&entry.node));
            format!("{{{}}}", table.entries.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        Value::Datetime | Value::Null => "none".into(),
    }
}
