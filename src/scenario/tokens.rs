//! The routing of tokens of a `[collective.tokens]` table, checked.

use super::collective::{Moves, sizes};
use super::collective_input::{CollectiveInput, TokensInput};
use crate::collectives::{Algorithm, Routing, TOKEN_KERNEL_UNITS};
use crate::diag::{At, Decode as _, Diagnostic, Diagnostics, Node, Span, codes};

/// Numbers of tokens and their routing, of an exchange of tokens; nothing of another operation. `None` where something is wrong.
pub(super) fn of(input: &CollectiveInput, moves: Moves, ranks: u64, diags: &mut Diagnostics) -> Option<Option<(Vec<f64>, Routing)>> {
    let exchanges = matches!(moves, Moves::Op(op) if op.moves_tokens());
    let before = diags.error_count();
    let mut refuse = |code, span: Span, message: String, hint: &str| {
        diags.push(Diagnostic::error(code, message).at(span, "here").hint(hint));
    };
    let Some(tokens) = &input.tokens.value else {
        if exchanges {
            let message = "an exchange of tokens needs to know how they visit experts".into();
            refuse(codes::MISSING_KEY, input.op.span, message, "add [collective.tokens] with hidden, experts, per_token");
            return None;
        }
        return Some(None);
    };
    if !exchanges {
        let message = "`tokens` does nothing but for `dispatch` and `combine`".into();
        refuse(codes::CONFLICT, input.tokens.span, message, "leave it out, or give op = \"dispatch\"");
        return None;
    }
    for (given, span, name) in
        [(input.min_bytes.is_some(), input.min_bytes.span, "min_bytes"), (input.max_bytes.is_some(), input.max_bytes.span, "max_bytes")]
    {
        if given {
            let message = format!("`{name}` does nothing for an exchange of tokens");
            refuse(codes::CONFLICT, span, message, "give min_tokens and max_tokens in [collective.tokens]");
        }
    }
    if input.engine.is_some() {
        let message = "`engine` does nothing for an exchange of tokens".into();
        refuse(codes::CONFLICT, input.engine.span, message, "leave it out");
    }
    if input.algorithm.value == Some(Algorithm::LowLatency) && tokens.compute_units.is_some() {
        let message = "`compute_units` does nothing for the low-latency kernels".into();
        refuse(codes::CONFLICT, tokens.compute_units.span, message, "leave it out, or give algorithm = \"one_copy\"");
    }
    check(tokens, ranks, diags);
    (diags.error_count() == before).then(|| Some((sizes(*tokens.min_tokens as f64, *tokens.max_tokens as f64), routing(tokens))))
}

/// Reports what of a routing does not hold together.
fn check(tokens: &TokensInput, ranks: u64, diags: &mut Diagnostics) {
    let mut refuse = |code, span: Span, message: String, hint: &str| {
        diags.push(Diagnostic::error(code, message).at(span, "here").hint(hint));
    };
    let at = |n: &At<u64>, most: u64, name: &str| (n.value > most).then(|| (n.span, format!("`{name}` of {} is above {most}", n.value)));
    let large = [
        at(&tokens.hidden, 1 << 20, "hidden"),
        at(&tokens.experts, 1 << 16, "experts"),
        at(&tokens.max_tokens, 1 << 30, "max_tokens"),
        at(&tokens.per_token, (*tokens.experts).min(1 << 12), "per_token"),
        tokens.groups.filter(|g| *g > 1 << 12).map(|g| (tokens.groups.span, format!("`groups` of {g} is above {}", 1 << 12))),
    ];
    for (span, message) in large.into_iter().flatten() {
        refuse(codes::OUT_OF_RANGE, span, message, "a smaller number");
    }
    if tokens.compute_units.is_some_and(|u| u > 1 << 12) {
        refuse(codes::OUT_OF_RANGE, tokens.compute_units.span, "more than 4,096 compute units".into(), "those of one accelerator");
    }
    if *tokens.min_tokens > *tokens.max_tokens {
        let message = "the smallest number of tokens is above the greatest".into();
        refuse(codes::CONFLICT, tokens.min_tokens.span, message, "give the smaller one as min_tokens");
    }
    if !matches!(*tokens.dispatch_bits, 8 | 16) {
        refuse(codes::OUT_OF_RANGE, tokens.dispatch_bits.span, format!("{} bits", *tokens.dispatch_bits), "8 or 16");
    }
    if *tokens.experts < ranks || !tokens.experts.is_multiple_of(ranks) {
        let message = format!("{} experts do not spread evenly over {ranks} ranks", *tokens.experts);
        refuse(codes::NOT_DIVISIBLE, tokens.experts.span, message, "a multiple of the ranks of a group");
    }
    if tokens.groups.is_some() != tokens.groups_per_token.is_some() {
        let span = if tokens.groups.is_some() { tokens.groups.span } else { tokens.groups_per_token.span };
        refuse(codes::CONFLICT, span, "`groups` and `groups_per_token` go together".into(), "give both or neither");
    } else if let (Some(groups), Some(chosen)) = (*tokens.groups, *tokens.groups_per_token)
        && *tokens.per_token <= *tokens.experts
        && !routing(tokens).is_sound()
    {
        let message =
            format!("{} of {groups} groups of {} experts cannot serve {} experts a token", chosen, *tokens.experts, *tokens.per_token);
        refuse(codes::CONFLICT, tokens.groups.span, message, "groups of equal size that hold enough experts together");
    }
}

fn routing(tokens: &TokensInput) -> Routing {
    Routing {
        hidden: *tokens.hidden,
        experts: *tokens.experts,
        per_token: *tokens.per_token,
        groups: tokens.groups.zip(*tokens.groups_per_token),
        dispatch_bytes: *tokens.dispatch_bits as f64 / 8.0,
        compute_units: tokens.compute_units.unwrap_or(TOKEN_KERNEL_UNITS) as f64,
    }
}

/// Numbers of tokens and routing that a command line gives by the keys of `[collective.tokens]`: `hidden=7168,experts=256,per_token=8`.
/// `None` where something is wrong with it for groups of so many ranks.
pub fn routing_of(text: &str, ranks: usize, diags: &mut Diagnostics) -> Option<(Vec<f64>, Routing)> {
    let source = diags.add_source("--routing", text.replace(',', "\n"));
    let node = Node::parse(source, diags)?;
    let tokens = TokensInput::decode(&node, diags)?;
    let before = diags.error_count();
    check(&tokens, ranks as u64, diags);
    (diags.error_count() == before).then(|| (sizes(*tokens.min_tokens as f64, *tokens.max_tokens as f64), routing(&tokens)))
}
