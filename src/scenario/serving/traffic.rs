//! Checks of the traffic: distributions and traces.

use super::check::{conflict, too_large};
use super::input::{SessionsInput, TraceTrafficInput, TrafficInput};
use super::run::Source;
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes};
use crate::serving::{Arrivals, Dialogue, Length, Pace, Requests, Synthetic, read_trace};

/// The longest prompt or answer, and the most requests, that are taken.
const LONGEST: u64 = 1 << 24;
const MOST_REQUESTS: u64 = 1 << 28;

pub(super) fn traffic(given: &At<TrafficInput>, diags: &mut Diagnostics) -> Option<(Source, Arrivals)> {
    let before = diags.error_count();
    let mut open = |pace: Pace, requests: &At<u64>, input: &At<Length>, output: &At<Length>, common: &At<u64>| {
        too_large("requests", **requests, MOST_REQUESTS, requests.span, diags);
        for (what, length) in [("prompt", input), ("answer", output)] {
            lengths(what, length, diags);
        }
        if **common > input.most() {
            conflict("the common prefix is longer than every prompt", common.span, diags);
        }
        Source::Synthetic(Synthetic { pace, requests: **requests, input: **input, output: **output, common: **common })
    };
    let job = match &given.value {
        TrafficInput::Poisson(t) => {
            let pace = Pace::Gamma { rate: *t.requests_per_s, cv: 1.0 };
            (open(pace, &t.requests, &t.input, &t.output, &t.common_prefix), Arrivals::Open)
        }
        TrafficInput::Gamma(t) => {
            let pace = Pace::Gamma { rate: *t.requests_per_s, cv: *t.cv };
            let source = open(pace, &t.requests, &t.input, &t.output, &t.common_prefix);
            bounds("cv", *t.cv, 0.01, 100.0, t.cv.span, diags);
            (source, Arrivals::Open)
        }
        TrafficInput::Bursty(t) => {
            let pace = Pace::OnOff { rate: *t.requests_per_s, peak: *t.peak, burst: t.burst.get(), share: *t.share };
            let source = open(pace, &t.requests, &t.input, &t.output, &t.common_prefix);
            bounds("share", *t.share, 1e-3, 0.999, t.share.span, diags);
            bounds("peak", *t.peak, 1.0, 1.0 / t.share.max(1e-3), t.peak.span, diags);
            (source, Arrivals::Open)
        }
        TrafficInput::Diurnal(t) => {
            let pace = Pace::Swing { rate: *t.requests_per_s, swing: *t.swing, period: t.period.get() };
            (open(pace, &t.requests, &t.input, &t.output, &t.common_prefix), Arrivals::Open)
        }
        TrafficInput::Offline(t) => (open(Pace::Burst, &t.requests, &t.input, &t.output, &t.common_prefix), Arrivals::Open),
        TrafficInput::Closed(t) => {
            let source = open(Pace::Burst, &t.requests, &t.input, &t.output, &t.common_prefix);
            too_large("clients", *t.clients, MOST_REQUESTS, t.clients.span, diags);
            (source, Arrivals::Closed { clients: (*t.clients).min(*t.requests) as usize, pause: t.pause.get() })
        }
        TrafficInput::Sessions(t) => (sessions(t, diags), Arrivals::Open),
        TrafficInput::Trace(t) => (trace(t, diags)?, Arrivals::Open),
    };
    if let Some((rate, span)) = rate(&given.value) {
        bounds(
            if matches!(given.value, TrafficInput::Sessions(_)) { "sessions_per_s" } else { "requests_per_s" },
            rate,
            1e-9,
            1e9,
            span,
            diags,
        );
    }
    (diags.error_count() == before).then_some(job)
}

fn rate(given: &TrafficInput) -> Option<(f64, Span)> {
    Some(match given {
        TrafficInput::Poisson(t) => (*t.requests_per_s, t.requests_per_s.span),
        TrafficInput::Gamma(t) => (*t.requests_per_s, t.requests_per_s.span),
        TrafficInput::Bursty(t) => (*t.requests_per_s, t.requests_per_s.span),
        TrafficInput::Diurnal(t) => (*t.requests_per_s, t.requests_per_s.span),
        TrafficInput::Sessions(t) => (*t.sessions_per_s, t.sessions_per_s.span),
        TrafficInput::Trace(t) => (t.requests_per_s.value?, t.requests_per_s.span),
        TrafficInput::Offline(_) | TrafficInput::Closed(_) => return None,
    })
}

fn sessions(t: &SessionsInput, diags: &mut Diagnostics) -> Source {
    too_large("sessions", *t.sessions, MOST_REQUESTS / 64, t.sessions.span, diags);
    too_large("turns", t.turns.most(), 1 << 16, t.turns.span, diags);
    too_large("longest prompt", *t.longest, LONGEST, t.longest.span, diags);
    bounds("pause, seconds,", t.pause.get(), 0.0, 1e9, t.pause.span, diags);
    for (what, length) in [("turn", &t.turns), ("prompt", &t.input), ("answer", &t.output)] {
        lengths(what, length, diags);
    }
    if t.common_prefix.saturating_add(t.input.most()) > *t.longest {
        let message = format!("a first prompt of {} tokens is longer than `longest`", t.common_prefix.saturating_add(t.input.most()));
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message).at(t.longest.span, "too short"));
    }
    Source::Sessions(Dialogue {
        rate: *t.sessions_per_s,
        sessions: *t.sessions,
        turns: *t.turns,
        pause: t.pause.get(),
        common: *t.common_prefix,
        input: *t.input,
        output: *t.output,
        most: *t.longest,
    })
}

fn lengths(what: &str, length: &At<Length>, diags: &mut Diagnostics) {
    too_large(&format!("{what} length"), length.most(), LONGEST, length.span, diags);
    match length.value {
        Length::Uniform(low, high) if low > high => {
            diags.push(Diagnostic::error(codes::OUT_OF_RANGE, format!("least = {low} is more than most = {high}")).at(length.span, "here"));
        }
        Length::LogNormal { mean, cv, most } => {
            bounds("cv", cv, 0.001, 100.0, length.span, diags);
            bounds("mean", mean, 1.0, most as f64, length.span, diags);
        }
        _ => {}
    }
}

/// Reads, cuts and scales a trace.
fn trace(given: &TraceTrafficInput, diags: &mut Diagnostics) -> Option<Source> {
    let span = given.trace.span;
    // A path on the command line is the user's, one in a file is relative to it.
    let on_command_line = diags.source(span.source).name.starts_with("--set ");
    let folder = if on_command_line { std::path::PathBuf::new() } else { diags.folder_of(span.source) };
    let source = diags.read_file(&folder.join(given.trace.value.as_str()), Some(span))?;
    let (mut requests, timed, bad) = read_trace(*given.format, &diags.source(source).text);
    let before = diags.error_count();
    if !*given.skip_bad_rows || requests.list.is_empty() {
        for row in bad.iter().take(50) {
            let place = Span { source, start: row.start as u32, end: row.end as u32 };
            diags.push(
                Diagnostic::error(codes::BAD_TABLE, format!("this is no request of a {} trace: {}", *given.format, row.reason))
                    .at(place, "here")
                    .at(span, "trace")
                    .hint("repair the row, or leave such rows out and count them with --skip-bad-rows"),
            );
        }
        if bad.is_empty() && requests.list.is_empty() {
            diags.push(Diagnostic::error(codes::BAD_TABLE, "this trace has no requests").at(span, "empty"));
        }
    }
    if !timed && given.requests_per_s.is_none() {
        diags.push(
            Diagnostic::error(codes::BAD_TABLE, "some requests of this trace have no arrival time")
                .at(span, "no arrivals")
                .hint("give requests_per_s for Poisson arrivals"),
        );
    }
    if given.requests_per_s.is_some() && *given.speed != 1.0 {
        conflict("`speed` does nothing beside `requests_per_s`", given.speed.span, diags);
    }
    bounds("speed", *given.speed, 1e-6, 1e6, given.speed.span, diags);
    if diags.error_count() > before {
        return None;
    }
    let until = given.until.map_or(f64::INFINITY, crate::units::Seconds::get);
    requests.cut(given.from.get(), until, given.requests.unwrap_or(u64::MAX) as usize);
    if requests.list.is_empty() {
        diags.push(
            Diagnostic::error(codes::OUT_OF_RANGE, "no request of the trace lies between `from` and `until`")
                .at(given.from.span, "nothing is left"),
        );
        return None;
    }
    requests.scale(*given.speed);
    let count = (requests.list.len() as u64).saturating_mul(*given.repeat);
    too_large("number of requests", count, MOST_REQUESTS, given.repeat.span, diags);
    longest(&requests, span, diags)?;
    (diags.error_count() == before).then_some(Source::Trace {
        requests,
        repeat: *given.repeat,
        rate: *given.requests_per_s,
        skipped: bad.len() as u64,
    })
}

fn longest(requests: &Requests, span: Span, diags: &mut Diagnostics) -> Option<()> {
    let most = requests.list.iter().map(|r| r.input.max(r.output)).max().unwrap_or(0);
    too_large("request of the trace, tokens", u64::from(most), LONGEST, span, diags);
    (u64::from(most) <= LONGEST).then_some(())
}

fn bounds(name: &str, value: f64, low: f64, high: f64, span: Span, diags: &mut Diagnostics) {
    if !(low..=high).contains(&value) {
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, format!("{name} = {value}")).at(span, format!("not between {low} and {high}")));
    }
}
