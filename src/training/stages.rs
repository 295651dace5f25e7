//! Which layers each pipeline stage and model chunk holds.

use super::stack::Split;

/// A number of layers that cannot be split as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitError {
    /// More chunks than layers.
    TooManyStages,
    /// The layers do not divide; `nearest` counts below and above would.
    NotDivisible {
        /// Layer counts that would divide.
        nearest: [u64; 2],
    },
    /// The layers of the first and last stage leave nothing, or something that does not divide, for the others.
    Ends,
}

/// Layers of every model chunk: `result[stage][chunk]`. Chunk `c` of stage `s` is virtual stage `c × stages + s`.
///
/// `head` is what the head weighs beyond one layer: two for each extra layer of prediction, which has a layer and a head of its own.
///
/// # Errors
/// When the layers cannot be split that way.
pub fn split(
    layers: u64,
    stages: u64,
    chunks: u64,
    rule: Split,
    first: Option<u64>,
    last: Option<u64>,
    head: u64,
) -> Result<Vec<Vec<u64>>, SplitError> {
    let total = stages * chunks;
    // With interleaved stages the ends may hold nothing but the embedding and the head.
    let alone = chunks > 1 && total == layers + 2;
    if total > layers && !alone {
        return Err(SplitError::TooManyStages);
    }
    if first.is_some() || last.is_some() {
        return split_ends(layers, stages, chunks, first, last);
    }
    let virtual_stages: Vec<u64> = if layers.is_multiple_of(total) {
        vec![layers / total; total as usize]
    } else if rule == Split::Greedy {
        greedy(layers, total)
    } else if total > 1 && (layers + 2).is_multiple_of(total) && ((layers + 2) / total > 1 || alone) {
        // Embedding and head count as one layer each.
        ends(total, (layers + 2) / total, 1, 1)
    } else if head > 0 && total > 1 && (layers + 1 + head).is_multiple_of(total) && (layers + 1 + head) / total > 1 + head {
        // The head and the extra layers of prediction count.
        ends(total, (layers + 1 + head) / total, 0, 1 + head)
    } else if total > 1 && (layers + 1).is_multiple_of(total) && (layers + 1) / total > 1 {
        // The head counts as one layer.
        ends(total, (layers + 1) / total, 0, 1)
    } else {
        let low = layers / total * total;
        return Err(SplitError::NotDivisible { nearest: [low, low + total] });
    };
    Ok(arrange(&virtual_stages, stages, chunks))
}

fn ends(total: u64, each: u64, first_less: u64, last_less: u64) -> Vec<u64> {
    let mut out = vec![each; total as usize];
    out[0] -= first_less;
    out[total as usize - 1] -= last_less;
    out
}

fn arrange(virtual_stages: &[u64], stages: u64, chunks: u64) -> Vec<Vec<u64>> {
    (0..stages).map(|s| (0..chunks).map(|c| virtual_stages[(c * stages + s) as usize]).collect()).collect()
}

/// The smallest possible heaviest stage, then stages filled from the left: the remainder lands on the last ones.
fn greedy(layers: u64, stages: u64) -> Vec<u64> {
    let heaviest = layers.div_ceil(stages);
    let mut left = layers;
    (0..stages)
        .map(|_| {
            let take = heaviest.min(left);
            left -= take;
            take
        })
        .collect()
}

fn split_ends(layers: u64, stages: u64, chunks: u64, first: Option<u64>, last: Option<u64>) -> Result<Vec<Vec<u64>>, SplitError> {
    let ends = u64::from(first.is_some()) + u64::from(last.is_some());
    let taken = first.unwrap_or(0) + last.unwrap_or(0);
    let middle = stages.checked_sub(ends).filter(|m| *m > 0).ok_or(SplitError::Ends)?;
    let rest = layers.checked_sub(taken).filter(|r| *r > 0).ok_or(SplitError::Ends)?;
    let whole = |n: u64| n.is_multiple_of(chunks).then(|| vec![n / chunks; chunks as usize]).ok_or(SplitError::Ends);
    if rest % (middle * chunks) != 0 {
        return Err(SplitError::Ends);
    }
    let mut out = Vec::new();
    for s in 0..stages {
        let own = if s == 0 {
            first
        } else if s + 1 == stages {
            last
        } else {
            None
        };
        out.push(whole(own.unwrap_or(rest / middle))?);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(layers: u64, stages: u64, rule: Split) -> Vec<u64> {
        split(layers, stages, 1, rule, None, None, 0).unwrap().into_iter().map(|s| s[0]).collect()
    }

    #[test]
    fn equal_and_greedy() {
        assert_eq!(plain(96, 8, Split::Equal), [12; 8]);
        assert_eq!(plain(78, 12, Split::Greedy), [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 1]);
        assert_eq!(plain(30, 4, Split::Greedy), [8, 8, 8, 6]);
        assert_eq!(plain(40, 16, Split::Greedy), [3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 1, 0, 0]);
    }

    #[test]
    fn llama_405b_gives_the_ends_one_layer_less() {
        let s = split(126, 8, 8, Split::Equal, None, None, 0).unwrap();
        assert_eq!(s[0][0], 1);
        assert_eq!(s[7][7], 1);
        assert_eq!(s.iter().flatten().sum::<u64>(), 126);
        assert_eq!(s[3], [2; 8]);
        let s = split(126, 16, 8, Split::Equal, None, None, 0).unwrap();
        assert_eq!((s[0][0], s[15][7], s.iter().flatten().sum::<u64>()), (0, 0, 126));
    }

    #[test]
    fn deepseek_gives_the_last_chunk_one_layer() {
        let s = split(61, 8, 2, Split::Equal, None, None, 2).unwrap();
        assert_eq!((s[0][0], s[7][1], s.iter().flatten().sum::<u64>()), (4, 1, 61));
    }

    #[test]
    fn refuses_what_does_not_divide() {
        assert_eq!(split(97, 8, 1, Split::Equal, None, None, 0), Err(SplitError::NotDivisible { nearest: [96, 104] }));
        assert_eq!(split(4, 8, 1, Split::Equal, None, None, 0), Err(SplitError::TooManyStages));
        assert_eq!(split(10, 4, 1, Split::Equal, Some(2), Some(2), 0).unwrap(), [[2], [3], [3], [2]]);
        assert_eq!(split(10, 4, 1, Split::Equal, Some(10), None, 0), Err(SplitError::Ends));
    }
}
