//! `orrery check`: parse and verify files of any kind.

use super::Status;
use super::args::CheckArgs;
use super::stream::Stream;
use crate::diag::{Diagnostics, Node, Value};
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

/// A topology has `fabric` and no `topology`.
fn is_topology(root: &Node) -> bool {
    let Value::Table(table) = &root.value else { return false };
    let has = |key: &str| table.entries.contains_key(key);
    !has("topology") && (has("fabric") || has("node"))
}

/// A topology or a profile by its keys; everything else is read as a scenario.
fn check(file: &Path, diags: &mut Diagnostics) {
    let mut quiet = Diagnostics::new();
    let root = quiet.read_file(file, None).and_then(|source| Node::parse(source, &mut quiet));
    if root.as_ref().is_some_and(is_topology) {
        load_topology(file, &[], diags);
    } else if root.as_ref().is_some_and(is_profile) {
        if let Some(source) = diags.read_file(file, None) {
            check_profile(source, diags);
        }
    } else {
        load(file, &[], None, diags);
    }
}
