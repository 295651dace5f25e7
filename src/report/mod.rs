//! Outcomes as text, JSON, CSV, HTML and timelines: one file per format. Nothing here computes.

mod calibration;
mod compare;
mod csv;
mod document;
mod fleet;
mod html;
mod json;
mod manifests;
mod openmetrics;
mod plan;
mod plot;
mod regions;
mod run;
mod run_charts;
mod services;
mod serving;
mod text;
mod timeline;
mod validation;
mod write;

pub use calibration::{Points, calibration_html, calibration_text, points_of};
pub use compare::{compare_files, compare_text};
pub use csv::{breakdown_csv, collective_csv, communication_csv, memory_csv, ranks_csv};
pub use fleet::{jobs_csv, policies_csv, use_csv};
pub use html::html;
pub use json::{NotFinite, json};
pub use manifests::{Cannot, manifests};
pub use openmetrics::openmetrics;
pub use plan::{plan_html, plan_json, plan_markdown, plan_text};
pub use run::{intervals_csv, run_csv};
pub use serving::{load_csv, load_metrics, load_svg, requests_csv};
pub use text::{compare, explain, text};
pub use timeline::timeline;
pub use validation::{GroupRow, ScatterPoint, ValidationColumn, validation_html, validation_markdown};
pub use write::{WriteError, write_atomically, write_each, write_folder};

#[cfg(test)]
mod tests;
