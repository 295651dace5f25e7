//! `orrery check`: parse and verify files of any kind.

use super::Status;
use super::args::CheckArgs;
use super::stream::Stream;
use crate::diag::{Diagnostics, Node, Value};
use crate::plan::{load_plan, load_sweep};
use crate::scenario::{check_profile, is_profile, load, load_topology};
use std::path::Path;

pub(super) fn run(args: &CheckArgs, out: &mut Stream) -> Status {
    let mut status = Status::Done;
    for file in &args.files {
        let mut diags = Diagnostics::new();
        check(file, &mut diags);
        if diags.has_errors() {
            status = out.refuse(&diags, args.message_format);
        } else {
            out.note(&format!("{}: sound", file.display()));
        }
    }
    status
}

/// Verifies a file by what its keys say that it is: a sweep has axes, a plan a goal or candidates, a topology has `fabric` and no `topology`, a
/// profile its own list; everything else is read as a scenario.
fn check(file: &Path, diags: &mut Diagnostics) {
    let mut quiet = Diagnostics::new();
    let root = quiet.read_file(file, None).and_then(|source| Node::parse(source, &mut quiet));
    let has = |key: &str| matches!(&root, Some(Node { value: Value::Table(table), .. }) if table.entries.contains_key(key));
    if has("axis") || (has("base") && has("columns")) {
        load_sweep(file, diags);
    } else if has("goal") || has("candidate") {
        load_plan(file, diags);
    } else if !has("topology") && (has("fabric") || has("node")) {
        load_topology(file, &[], diags);
    } else if root.as_ref().is_some_and(is_profile) {
        if let Some(source) = diags.read_file(file, None) {
            check_profile(source, diags);
        }
    } else {
        load(file, &[], None, diags);
    }
}
