//! Abbreviations of a plan's document in words, those that it uses.

use super::super::document::{Block, Table, word};
use super::serves;
use crate::plan::PlanOutcome;

/// Terms of training layouts.
const TRAINING: [(&str, &str); 8] = [
    ("TP", "tensor parallelism: accelerators that share every layer"),
    (
        "PP",
        "pipeline parallelism: stages of layers, one after the other; with several chunks, each holds layers of several parts of the model",
    ),
    ("DP", "data parallelism: copies of the model, each on its part of a batch"),
    ("CP", "context parallelism: accelerators that share every sequence"),
    ("microbatch", "sequences that a copy computes at a time"),
    ("recompute", "results of the forward pass that are computed again instead of kept in memory"),
    ("sharded optimizer", "state of the optimizer spread over the copies instead of whole on each"),
    ("MFU", "share of the accelerators' peak that goes into the model's own operations"),
];

/// Terms of serving.
const SERVING: [(&str, &str); 8] = [
    ("engine", "one copy of the model that serves requests"),
    ("TP", "tensor parallelism: accelerators that share an engine's every layer"),
    ("attention DP", "groups of an engine's accelerators with requests of their own"),
    ("EP", "expert parallelism: accelerators over which experts are spread"),
    ("TTFT", "time to first token: from sending a request to the first token of its answer"),
    ("TPOT", "time per output token after the first"),
    ("E2E", "end to end: time to the last token"),
    ("p50, p90, p95, p99", "half, 90 %, 95 % and 99 % of the requests are no slower than that"),
];

/// Terms of every plan.
const MONEY: [(&str, &str); 2] = [
    ("PUE", "power usage effectiveness: power of the site over power of the computers"),
    ("goodput", "share of the time that goes into steps that count, after failures, restarts and checkpoints"),
];

/// The terms that the answer and its tables use.
pub(super) fn glossary(o: &PlanOutcome) -> Vec<Block> {
    let mut text = o.answer.clone();
    o.options.iter().filter_map(|r| r.choice.as_ref()).for_each(|c| text += &format!(" {}", c.layout));
    o.risks.iter().chain(o.assumptions.iter().map(|a| &a.what)).for_each(|t| text += &format!(" {t}"));
    let own: &[(&str, &str)] = if serves(o) { &SERVING } else { &TRAINING };
    let always = ["MFU", "TTFT", "TPOT", "p50, p90, p95, p99"];
    let mut table = Table::new(&["<word", "<meaning"]);
    for (term, meaning) in own.iter().chain(&MONEY) {
        if always.contains(term) || says(&text, term) {
            table.row(vec![word(*term), word(*meaning)]);
        }
    }
    vec![Block::Table(table)]
}

/// Whether a text has a term as a word of its own.
fn says(text: &str, term: &str) -> bool {
    let letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    text.match_indices(term).any(|(at, _)| !letter(text[..at].chars().next_back()) && !letter(text[at + term.len()..].chars().next()))
}

#[cfg(test)]
mod tests {
    use super::says;

    #[test]
    fn terms_are_whole_words() {
        assert!(says("lay it out as TP 8 × PP 2", "PP") && says("(EP 4)", "EP") && says("PUE", "PUE"));
        assert!(!says("STEPS", "EP") && !says("TPOT", "TP") && !says("engines", "engine"));
    }
}
