//! Sizes that times are kept for: batches of captured graphs, contexts of decode attention.

/// The decode batch whose captured graph runs a batch: 1, 2, 4, then multiples of 8, above 256 of 16.
pub(super) const fn graph_size(batch: u64, most: u64) -> u64 {
    let size = match batch {
        0..=2 => batch,
        3..=4 => 4,
        5..=256 => batch.next_multiple_of(8),
        _ => batch.next_multiple_of(16),
    };
    if size > most { batch } else { size }
}

/// Index of the knot at or below a context: every token to 32, then sixteen an octave.
pub(super) const fn knot_below(context: u64) -> usize {
    if context < 32 {
        return context as usize;
    }
    let octave = 63 - context.leading_zeros() as usize;
    32 + (octave - 5) * 16 + (context >> (octave - 4)) as usize - 16
}

/// The context of a knot, at least 1.
pub(super) const fn context_of(knot: usize) -> u64 {
    if knot < 32 {
        return if knot == 0 { 1 } else { knot as u64 };
    }
    let octave = (knot - 32) / 16 + 5;
    (((knot - 32) % 16 + 16) as u64) << (octave - 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knots_bracket_every_context() {
        for context in (1..5000).chain([65_535, 65_536, 1 << 30]) {
            let low = knot_below(context);
            assert!(context_of(low) <= context && context < context_of(low + 1), "{context}");
            assert!(context_of(low + 1) - context_of(low) <= (context / 16).max(1));
        }
    }

    #[test]
    fn graphs_pad_batches() {
        assert_eq!([1, 3, 5, 9, 257].map(|b| graph_size(b, 512)), [1, 4, 8, 16, 272]);
        assert_eq!(graph_size(500, 256), 500);
    }
}
