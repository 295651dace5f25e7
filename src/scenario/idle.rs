//! Keys of a `[collective]` table that do nothing beside others, and are refused.

use super::collective::Moves;
use super::collective_input::{CollectiveInput, CongestionControl};
use crate::collectives::Engine;
use crate::diag::{Diagnostic, Diagnostics, Span, codes};
use crate::fabric::Fabric;
use crate::simulate::Pattern;

/// Reports every key that does nothing here.
pub(super) fn keys(input: &CollectiveInput, moves: Moves, fabric: &Fabric, diags: &mut Diagnostics) {
    let plain = matches!(moves, Moves::Pattern(_));
    congestion(input, plain, fabric, diags);
    let mut refuse = |code, span: Span, message: String, hint: &str| {
        diags.push(Diagnostic::error(code, message).at(span, "here").hint(hint));
    };
    for (given, span, name) in [
        (input.algorithm.is_some(), input.algorithm.span, "algorithm"),
        (input.protocol.is_some(), input.protocol.span, "protocol"),
        (input.channels.is_some(), input.channels.span, "channels"),
        (input.engine.is_some(), input.engine.span, "engine"),
        (input.launch.is_some(), input.launch.span, "launch"),
        (*input.explicit, input.explicit.span, "explicit"),
        (!input.beside.is_empty(), input.beside.span, "beside"),
    ] {
        if plain && given {
            refuse(codes::CONFLICT, span, format!("`{name}` does nothing for a pattern of flows"), "leave it out, or give `op`");
        }
    }
    if moves != Moves::Pattern(Pattern::AllToAll) && input.skew.is_some() {
        let message = "`skew` does nothing but in the pattern `all-to-all`".into();
        refuse(codes::CONFLICT, input.skew.span, message, "leave it out, or give pattern = \"all-to-all\"");
    }
    if !plain && input.window.is_some() {
        refuse(codes::CONFLICT, input.window.span, "`window` does nothing for a collective".into(), "leave it out, or give `pattern`");
    }
    if *input.explicit && !input.beside.is_empty() {
        refuse(codes::CONFLICT, input.explicit.span, "`explicit` runs one operation by itself".into(), "leave out `explicit` or `beside`");
    }
    if input.protocol.is_some() && (!input.beside.is_empty() || input.engine.is_some()) {
        let message = "`protocol` does nothing beside other operations, or for an engine's own kernels".into();
        refuse(codes::CONFLICT, input.protocol.span, message, "leave out `protocol`, or `beside` and `engine`");
    }
    let tokens = matches!(moves, Moves::Op(op) if op.moves_tokens());
    if input.channels.is_some() && (tokens || *input.explicit || input.engine.is_some_and(|e| e != Engine::Nccl)) {
        let message = "`channels` does nothing for an engine's own kernels, for exchanges of tokens, or message by message".into();
        refuse(codes::CONFLICT, input.channels.span, message, "leave it out; `compute_units` of [collective.tokens] holds for exchanges");
    }
    if input.chunks.is_some() && !*input.explicit {
        refuse(
            codes::CONFLICT,
            input.chunks.span,
            "`chunks` does nothing without `explicit`".into(),
            "set explicit = true, or leave it out",
        );
    }
}

/// Refuses congestion of lossless Ethernet where it does nothing.
fn congestion(input: &CollectiveInput, is_pattern: bool, fabric: &Fabric, diags: &mut Diagnostics) {
    let Some(given) = &input.congestion.value else { return };
    let why = if !is_pattern {
        Some(("for a collective, whose parts keep pace with each other", "leave it out, or give `pattern`"))
    } else if input.window.is_some() {
        Some(("beside `window`, under which queues stay short", "leave one of both out"))
    } else if !fabric.is_lossless_ethernet() {
        Some(("where NICs are not RoCE", "leave it out: credits, as of InfiniBand, are not pauses of a port"))
    } else if !fabric.pauses_spread() {
        Some((
            "where every flow takes all paths, or on this kind of fabric",
            "use a tree with path_policy = \"ecmp\" or \"static\", or one switch",
        ))
    } else {
        None
    };
    if let Some((where_, hint)) = why {
        let message = format!("`congestion` does nothing {where_}");
        diags.push(Diagnostic::error(codes::CONFLICT, message).at(input.congestion.span, "does nothing").hint(hint));
    }
    if given.reaction.is_some() && *given.control == CongestionControl::Pfc {
        let message = "`reaction` does nothing without marks";
        diags.push(
            Diagnostic::error(codes::CONFLICT, message)
                .at(given.reaction.span, "does nothing")
                .hint("set control = \"dcqcn\", or leave it out"),
        );
    }
}
