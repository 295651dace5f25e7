//! Which layers each pipeline stage and model chunk holds.

use super::config::{Parallel, Uneven};
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
    /// The list of layers has other stages or other layers than the job.
    Listed {
        /// Stages of the list.
        stages: u64,
        /// Layers of the list.
        layers: u64,
    },
}

/// Layers of every model chunk: `result[stage][chunk]`, virtual stages placed as the schedule has them.
///
/// `head` is what the head weighs beyond one layer: two for each extra layer of prediction, which has a layer and a head of its own.
///
/// # Errors
/// When the layers cannot be split that way.
pub fn split(layers: u64, parallel: &Parallel, uneven: &Uneven, rule: Split, head: u64) -> Result<Vec<Vec<u64>>, SplitError> {
    let (stages, chunks) = (parallel.pipeline, parallel.virtual_stages);
    // Two copies of a model are split as one is.
    let total = if parallel.two_copies() { stages } else { stages * chunks };
    // With interleaved stages the ends may hold nothing but the embedding and the head.
    let alone = chunks > 1 && total == layers + 2;
    if let Some(listed) = &uneven.stages {
        return split_listed(layers, parallel, listed);
    }
    if total > layers && !alone {
        return Err(SplitError::TooManyStages);
    }
    if uneven.first.is_some() || uneven.last.is_some() {
        return split_ends(layers, stages, chunks, uneven.first, uneven.last);
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
    Ok(arrange(&virtual_stages, parallel))
}

/// Layers of every stage as they were given, in equal parts over its chunks.
fn split_listed(layers: u64, parallel: &Parallel, listed: &[u64]) -> Result<Vec<Vec<u64>>, SplitError> {
    let chunks = parallel.virtual_stages;
    let all = listed.iter().try_fold(0u64, |sum, n| sum.checked_add(*n));
    if listed.len() as u64 != parallel.pipeline || all != Some(layers) {
        return Err(SplitError::Listed { stages: listed.len() as u64, layers: all.unwrap_or(u64::MAX) });
    }
    if parallel.two_copies() {
        return Ok(arrange(listed, parallel));
    }
    let part = |n: &u64| n.is_multiple_of(chunks).then(|| vec![n / chunks; chunks as usize]).ok_or(SplitError::Ends);
    listed.iter().map(part).collect()
}

fn ends(total: u64, each: u64, first_less: u64, last_less: u64) -> Vec<u64> {
    let mut out = vec![each; total as usize];
    out[0] -= first_less;
    out[total as usize - 1] -= last_less;
    out
}

fn arrange(virtual_stages: &[u64], parallel: &Parallel) -> Vec<Vec<u64>> {
    let of = |s, c| {
        let at = parallel.virtual_stage(s, c);
        virtual_stages[(at - parallel.first_of(at)) as usize]
    };
    (0..parallel.pipeline).map(|s| (0..parallel.virtual_stages).map(|c| of(s, c)).collect()).collect()
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

    use crate::training::Schedule;

    fn over(layers: u64, pipeline: u64, chunks: u64, uneven: &Uneven, head: u64) -> Result<Vec<Vec<u64>>, SplitError> {
        split(layers, &Parallel { pipeline, virtual_stages: chunks, ..Parallel::default() }, uneven, Split::Equal, head)
    }

    fn plain(layers: u64, pipeline: u64, rule: Split) -> Vec<u64> {
        let parallel = Parallel { pipeline, ..Parallel::default() };
        split(layers, &parallel, &Uneven::default(), rule, 0).unwrap().into_iter().map(|s| s[0]).collect()
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
        let s = over(126, 8, 8, &Uneven::default(), 0).unwrap();
        assert_eq!(s[0][0], 1);
        assert_eq!(s[7][7], 1);
        assert_eq!(s.iter().flatten().sum::<u64>(), 126);
        assert_eq!(s[3], [2; 8]);
        let s = over(126, 16, 8, &Uneven::default(), 0).unwrap();
        assert_eq!((s[0][0], s[15][7], s.iter().flatten().sum::<u64>()), (0, 0, 126));
    }

    #[test]
    fn deepseek_gives_the_last_chunk_one_layer() {
        let s = over(61, 8, 2, &Uneven::default(), 2).unwrap();
        assert_eq!((s[0][0], s[7][1], s.iter().flatten().sum::<u64>()), (4, 1, 61));
    }

    #[test]
    fn refuses_what_does_not_divide() {
        let ends = |first, last| Uneven { first, last, stages: None };
        assert_eq!(over(97, 8, 1, &Uneven::default(), 0), Err(SplitError::NotDivisible { nearest: [96, 104] }));
        assert_eq!(over(4, 8, 1, &Uneven::default(), 0), Err(SplitError::TooManyStages));
        assert_eq!(over(10, 4, 1, &ends(Some(2), Some(2)), 0).unwrap(), [[2], [3], [3], [2]]);
        assert_eq!(over(10, 4, 1, &ends(Some(10), None), 0), Err(SplitError::Ends));
    }

    #[test]
    fn listed_stages_and_two_copies() {
        let listed = |stages: &[u64]| Uneven { stages: Some(stages.to_vec()), ..Uneven::default() };
        assert_eq!(over(10, 2, 1, &listed(&[7, 3]), 0).unwrap(), [[7], [3]]);
        assert_eq!(over(10, 2, 2, &listed(&[6, 4]), 0).unwrap(), [[3, 3], [2, 2]]);
        assert_eq!(over(10, 2, 1, &listed(&[7, 4]), 0), Err(SplitError::Listed { stages: 2, layers: 11 }));
        assert_eq!(over(10, 3, 1, &listed(&[7, 3]), 0), Err(SplitError::Listed { stages: 2, layers: 10 }));
        let both = Parallel { pipeline: 2, virtual_stages: 2, schedule: Schedule::DualPipe, ..Parallel::default() };
        assert_eq!(split(10, &both, &listed(&[7, 3]), Split::Equal, 0).unwrap(), [[7, 3], [3, 7]]);
        let vee = Parallel { schedule: Schedule::ZbV, ..both };
        assert_eq!(split(10, &vee, &Uneven::default(), Split::Equal, 0).unwrap(), [[2, 2], [3, 3]]);
    }
}
