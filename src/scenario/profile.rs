//! The kernel profiles of a scenario: read over the shipped ones, and refused where they would do nothing.

use super::load::Job;
use crate::diag::{At, Diagnostic, Diagnostics, Node, SourceId, codes};
use crate::fabric::Fabric;
use crate::hardware::Dtype;
use crate::kernels::{DeviceModel, Profiles};

/// Reads the profiles that a scenario names; `None` when one is faulty or serves nothing, which `diags` then holds.
pub(super) fn read(paths: &At<Vec<At<String>>>, job: Option<&Job>, fabric: &Fabric, diags: &mut Diagnostics) -> Option<Profiles> {
    let before = diags.error_count();
    let mut profiles = Profiles::embedded().clone();
    let mut own = Vec::new();
    // Later files first, so that earlier ones come to lie over them.
    for path in paths.value.iter().rev() {
        let file = diags.folder_of(path.span.source).join(&path.value);
        let Some(source) = diags.read_file(&file, Some(path.span)) else { continue };
        let with = diags.including(path.span, |diags| profiles.with(source, diags));
        if let Some(with) = with {
            own.push((path.span, with.iter().count() - profiles.iter().count()));
            profiles = with;
        }
    }
    if diags.error_count() > before {
        return None;
    }
    let Some(job) = job else { return Some(profiles) };
    let mut at = 0;
    for (span, count) in own.into_iter().rev() {
        if !serves(&profiles, at..at + count, job, fabric) {
            diags.push(
                Diagnostic::error(codes::CONFLICT, "nothing in this profile serves the scenario")
                    .at(span, "does nothing")
                    .hint("a profile serves accelerators of the generations that it names, with entries of the formats that the job uses"),
            );
        }
        at += count;
    }
    (diags.error_count() == before).then_some(profiles)
}

/// Whether any of the profiles at these places gives a constant that the job uses.
fn serves(profiles: &Profiles, places: std::ops::Range<usize>, job: &Job, fabric: &Fabric) -> bool {
    fabric.parts().any(|part| {
        let used = match job {
            Job::Training { config, .. } => {
                DeviceModel::with(profiles, part, None).training_profiles(&[config.precision.linear(), config.precision.wide()])
            }
            Job::Serving(job) => {
                let formats = job.deployment.formats;
                let device = DeviceModel::with(profiles, part, Some(&job.stack.library));
                device.serving_profiles(&[formats.linear, formats.attention, Dtype::Bf16], formats.kv)
            }
            _ => return false,
        };
        profiles.iter().enumerate().any(|(i, p)| places.contains(&i) && used.iter().any(|u| std::ptr::eq(&raw const **u, p)))
    })
}

/// Verifies a profile file by itself.
pub fn check_profile(source: SourceId, diags: &mut Diagnostics) {
    Profiles::embedded().with(source, diags);
}

/// Whether a file is a profile: it has profiles and no cluster.
#[must_use]
pub fn is_profile(node: &Node) -> bool {
    let crate::diag::Value::Table(table) = &node.value else { return false };
    let list = table.entries.get("profile").is_some_and(|e| matches!(e.node.value, crate::diag::Value::Array(_)));
    list && !table.entries.contains_key("topology") && !table.entries.contains_key("fabric")
}
