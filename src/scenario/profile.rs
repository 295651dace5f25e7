//! The profiles of a scenario: read over the shipped ones, and refused where they would do nothing.

use super::input::ScenarioInput;
use super::load::Job;
use crate::diag::{Diagnostic, Diagnostics, Node, SourceId, Span, codes};
use crate::fabric::Fabric;
use crate::hardware::Dtype;
use crate::kernels::{DeviceModel, Profiles};
use crate::measured::Measured;
use std::sync::Arc;

/// The profiles that a scenario names, over the shipped ones.
pub(super) struct Own {
    /// All profiles, those of the scenario first.
    pub(super) profiles: Profiles,
    /// For each file its place, how many kernel profiles it has, and what else was measured in it; in the order of the scenario.
    files: Vec<(Span, usize, Measured)>,
}

impl Own {
    /// What was measured beside kernels.
    pub(super) const fn measured(&self) -> &Arc<Measured> {
        self.profiles.measured()
    }
    /// Whether any value comes from a stand-in.
    pub(super) fn is_synthetic(&self) -> bool {
        self.profiles.is_synthetic()
    }
}

/// Reads the profiles that a scenario names; `None` when one is faulty or may not enter, which `diags` then holds.
pub(super) fn read(input: &ScenarioInput, diags: &mut Diagnostics) -> Option<Own> {
    let before = diags.error_count();
    let mut out = Own { profiles: Profiles::embedded().clone(), files: Vec::new() };
    // Later files first, so that earlier ones come to lie over them.
    for path in input.profile.value.iter().rev() {
        let file = diags.folder_of(path.span.source).join(&path.value);
        let Some(source) = diags.read_file(&file, Some(path.span)) else { continue };
        let with = diags.including(path.span, |diags| out.profiles.with(source, diags));
        if let Some(with) = with {
            let own = with.measured().before(out.profiles.measured());
            out.files.push((path.span, with.iter().count() - out.profiles.iter().count(), own));
            out.profiles = with;
        }
    }
    out.files.reverse();
    if *input.allow_synthetic && input.profile.value.is_empty() {
        diags.push(
            Diagnostic::error(codes::CONFLICT, "`allow_synthetic` does nothing without a profile")
                .at(input.allow_synthetic.span, "does nothing")
                .hint("leave it out; the shipped profiles hold no synthetic value"),
        );
    }
    if out.is_synthetic() && !*input.allow_synthetic {
        diags.push(
            Diagnostic::error(codes::SYNTHETIC, "this profile holds values that a stand-in made and no machine measured")
                .at(input.profile.span, "synthetic")
                .hint("measure, or set allow_synthetic = true; every report then says so at its head"),
        );
    }
    (diags.error_count() == before).then_some(out)
}

/// Reports the files of which nothing serves the scenario; false after a report.
pub(super) fn all_serve(own: &Own, job: &Job, fabric: &Fabric, diags: &mut Diagnostics) -> bool {
    let before = diags.error_count();
    let mut at = 0;
    for (span, count, measured) in &own.files {
        if !serves(&own.profiles, at..at + count, job, fabric) && !cluster_uses(measured, fabric) {
            diags.push(
                Diagnostic::error(codes::CONFLICT, "nothing in this profile serves the scenario").at(*span, "does nothing").hint(
                    "a profile serves accelerators of the generations that it names with entries of the formats that the job uses, and a cluster with its parts, links and tiers",
                ),
            );
        }
        at += count;
    }
    diags.error_count() == before
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
            // Its jobs have been simulated with it.
            Job::Fleet(_) => return true,
            _ => return false,
        };
        profiles.iter().enumerate().any(|(i, p)| places.contains(&i) && used.iter().any(|u| std::ptr::eq(&raw const **u, p)))
    })
}

/// Whether any measured entry serves the cluster.
fn cluster_uses(measured: &Measured, fabric: &Fabric) -> bool {
    if measured.is_empty() {
        return false;
    }
    let mut fabric = fabric.clone();
    fabric.set_measured(&Arc::new(measured.clone()));
    !fabric.served().is_empty()
}

/// Verifies a profile file by itself.
pub fn check_profile(source: SourceId, diags: &mut Diagnostics) {
    Profiles::embedded().with(source, diags);
}

/// Whether a file is a profile: it has measured entries and no cluster.
#[must_use]
pub fn is_profile(node: &Node) -> bool {
    let crate::diag::Value::Table(table) = &node.value else { return false };
    let is_list = |name: &&str| table.entries.get(*name).is_some_and(|e| matches!(e.node.value, crate::diag::Value::Array(_)));
    let list = ["profile", "collective", "link", "memory", "storage", "quarantined"].iter().any(is_list);
    list && ["topology", "fabric", "node"].iter().all(|k| !table.entries.contains_key(*k))
}
