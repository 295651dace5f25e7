//! `orrery plan`: what to buy, in which layout, at what cost.

use super::Status;
use super::args::{MessageFormat, PlanArgs};
use super::stream::Stream;
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
    if shown != Status::Done || outcome.feasible { shown } else { Status::FallsShort }
}
