//! `orrery plan`: what to buy, in which layout, at what cost.

use super::args::{MessageFormat, PlanArgs};
use super::stream::Stream;
use super::{Status, mlflow};
use crate::diag::{Diagnostics, codes};
use crate::plan::{decide, load_plan};
use crate::report::{plan_html, plan_json, plan_markdown, plan_text, write_folder};

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
    let shown = out.result(&if args.json { plan_json(&outcome) } else { plan_text(&outcome) });
    if shown != Status::Done {
        return shown;
    }
    if let (Some(url), Ok(json)) = (&args.mlflow, serde_json::from_str(&plan_json(&outcome))) {
        let page = plan_html(&outcome);
        let name = args.file.file_stem().map_or_else(|| "plan".to_owned(), |n| n.to_string_lossy().into_owned());
        let logged = mlflow::log(url, "orrery", &[mlflow::Run { name: &name, json: &json, report: &page }], out);
        if logged != Status::Done {
            return logged;
        }
    }
    if outcome.feasible { shown } else { Status::FallsShort }
}
