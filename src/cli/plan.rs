//! `orrery plan`: what to buy, in which layout, at what cost.

use super::args::{MessageFormat, PlanArgs};
use super::stream::Stream;
use super::{Status, mlflow};
use crate::diag::{Diagnostics, codes};
use crate::plan::{decide, load_plan};
use crate::report::{manifests, plan_html, plan_json, plan_markdown, plan_text, write_folder};
use crate::scenario::load_text;

pub(super) fn run(args: &PlanArgs, out: &mut Stream) -> Status {
    let mut diags = Diagnostics::new();
    let plan = match load_plan(&args.file, &mut diags) {
        Some(plan) if !diags.has_errors() => plan,
        _ => return out.refuse(&diags, MessageFormat::Human),
    };
    let outcome = decide(&plan);
    if let Some(folder) = &args.out {
        let files = vec![
            ("report.html".to_owned(), plan_html(&outcome)),
            ("report.md".to_owned(), plan_markdown(&outcome)),
            ("plan.json".to_owned(), plan_json(&outcome)),
        ];
        if let Err(error) = write_folder(folder, &files) {
            return out.refuse_file(&error.path, codes::CANNOT_WRITE, error.to_string(), "choose a folder that you may write to");
        }
    }
    if let Some(folder) = args.manifests.as_ref().filter(|_| !outcome.scenario.is_empty()) {
        // The scenario of the answer names its files relative to the plan.
        let name = args.file.with_file_name("answer.toml").display().to_string();
        let mut diags = Diagnostics::new();
        let found = load_text(&name, &outcome.scenario, &[], None, &mut diags).filter(|_| !diags.has_errors());
        let Some(scenario) = found else { return out.refuse(&diags, MessageFormat::Human) };
        let step = outcome.best.as_ref().and_then(|b| b.training.as_ref()).map(|t| t.step_time_s);
        let files = match manifests(&scenario, step) {
            Ok(files) => files,
            Err(why) => return out.refuse_file(&args.file, codes::UNSUPPORTED, why.to_string(), "leave --manifests out"),
        };
        if let Err(error) = write_folder(folder, &files) {
            return out.refuse_file(&error.path, codes::CANNOT_WRITE, error.to_string(), "choose a folder that you may write to");
        }
    }
    let shown = out.result(&if args.json { plan_json(&outcome) } else { plan_text(&outcome) });
    if shown != Status::Done {
        return shown;
    }
    if let (Some(url), Ok(json)) = (&args.mlflow, serde_json::from_str(&plan_json(&outcome))) {
        let page = plan_html(&outcome);
        let name = args.file.file_stem().map_or_else(|| "plan".to_owned(), |n| n.to_string_lossy().into_owned());
        let run = mlflow::Run { name, json, series: Vec::new(), files: vec![("report.html", page)] };
        let logged = mlflow::log(url, "orrery", &[run], out);
        if logged != Status::Done {
            return logged;
        }
    }
    if outcome.feasible { shown } else { Status::FallsShort }
}
