//! Pipeline schedules: the order of passes on every stage, and where it exchanges with its neighbours.
//!
//! Plain 1F1B and interleaved 1F1B as Megatron-LM orders them (arXiv 2104.04473). A program alternates passes and
//! exchanges; an exchange names the passes whose results leave or enter at that point, and the stage waits for all of
//! them when communication is blocking. GPipe (arXiv 1811.06965) runs all forward passes first; ZB-H1 (arXiv 2401.10241) splits backward
//! passes and moves the gradients of weights into the gaps, without holding more microbatches than 1F1B does.

use crate::choice;

choice! {
    /// Order of passes in a pipeline.
    pub enum Schedule {
        /// One forward, one backward; interleaved with several chunks a stage.
        OneForwardOneBackward = "1f1b",
        /// All forward passes, then all backward ones.
        Gpipe = "gpipe",
        /// 1F1B with gradients of weights in its gaps (ZB-H1).
        ZeroBubble = "zero-bubble",
    }
}

/// One step of a stage's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Forward pass of a microbatch through a chunk.
    Forward {
        /// Microbatch.
        microbatch: u32,
        /// Chunk.
        chunk: u16,
    },
    /// Backward pass.
    Backward {
        /// Microbatch.
        microbatch: u32,
        /// Chunk.
        chunk: u16,
    },
    /// Gradients of weights, where the backward pass leaves them out.
    Weights {
        /// Microbatch.
        microbatch: u32,
        /// Chunk.
        chunk: u16,
    },
    /// Waits until the results of the last passes are sent and the inputs of the next ones have come: one message for
    /// each pass that is named and has a neighbour on that side.
    Exchange {
        /// Passes whose results are sent here: (forward?, microbatch, chunk).
        send: Vec<(bool, u32, u16)>,
        /// Passes whose inputs are received here.
        receive: Vec<(bool, u32, u16)>,
    },
}

/// Microbatches that go through a chunk one after the other before the next chunk: the stages, or the least number above for
/// which the last group is whole or no smaller than the stages (else stages would wait for each other).
fn group_size(stages: u64, chunks: u64, microbatches: u64) -> u64 {
    if chunks == 1 || microbatches <= stages {
        return microbatches.max(1);
    }
    let fits = |n: u64| microbatches.is_multiple_of(n) || microbatches % n >= stages;
    (stages..=microbatches).find(|&n| fits(n)).unwrap_or(microbatches)
}

/// The order of forward passes through the chunks of a stage: group by group, chunk by chunk.
fn forward_order(chunks: u64, microbatches: u64, group: u64) -> Vec<(u32, u16)> {
    let mut order = Vec::with_capacity((microbatches * chunks) as usize);
    let mut first = 0;
    while first < microbatches {
        let last = (first + group).min(microbatches);
        for chunk in 0..chunks {
            order.extend((first..last).map(|m| (m as u32, chunk as u16)));
        }
        first = last;
    }
    order
}

/// How many forward passes a stage runs before its first backward pass.
fn warmup(stage: u64, stages: u64, chunks: u64, microbatches: u64, group: u64) -> u64 {
    let total = chunks * microbatches;
    let warmup = if chunks == 1 {
        stages - stage - 1
    } else if microbatches <= stages {
        total
    } else {
        (stages - stage - 1) * 2 + (chunks - 1) * group
    };
    warmup.min(total)
}

/// The program of one stage under 1F1B.
#[must_use]
pub fn program(stage: u64, stages: u64, chunks: u64, microbatches: u64) -> Vec<Op> {
    program_of(Schedule::OneForwardOneBackward, stage, stages, chunks, microbatches)
}

/// The program of one stage.
#[must_use]
pub fn program_of(schedule: Schedule, stage: u64, stages: u64, chunks: u64, microbatches: u64) -> Vec<Op> {
    let group = group_size(stages, chunks, microbatches);
    match schedule {
        Schedule::OneForwardOneBackward => alternating(chunks, microbatches, group, warmup(stage, stages, chunks, microbatches, group)),
        Schedule::Gpipe => alternating(chunks, microbatches, group, chunks * microbatches),
        Schedule::ZeroBubble => {
            let warm = warmup(stage, stages, chunks, microbatches, group);
            with_weights(alternating(chunks, microbatches, group, warm), stage as usize)
        }
    }
}

/// Gradients of weights after the exchange that follows a backward pass, `delay` passes later: the last stages put them off, so that all
/// hold as many microbatches.
fn with_weights(ops: Vec<Op>, delay: usize) -> Vec<Op> {
    let mut out = Vec::with_capacity(ops.len() * 3 / 2);
    let mut waiting = std::collections::VecDeque::new();
    let weights = |(microbatch, chunk)| Op::Weights { microbatch, chunk };
    for op in ops {
        let after = matches!(op, Op::Exchange { .. });
        if let Op::Backward { microbatch, chunk } = op {
            waiting.push_back((microbatch, chunk));
        }
        out.push(op);
        if after && waiting.len() > delay {
            out.extend(waiting.pop_front().map(weights));
        }
    }
    out.extend(waiting.into_iter().map(weights));
    out
}

/// Forward and backward passes in turn after `warm` forward ones.
fn alternating(chunks: u64, microbatches: u64, group: u64, warm: u64) -> Vec<Op> {
    let forward = forward_order(chunks, microbatches, group);
    let backward: Vec<(u32, u16)> = forward.iter().map(|&(m, c)| (m, chunks as u16 - 1 - c)).collect();
    let total = forward.len();
    let warm = warm as usize;
    let plain = chunks == 1;
    let f = |i: usize| Op::Forward { microbatch: forward[i].0, chunk: forward[i].1 };
    let b = |i: usize| Op::Backward { microbatch: backward[i].0, chunk: backward[i].1 };
    let fm = |i: usize| (true, forward[i].0, forward[i].1);
    let bm = |i: usize| (false, backward[i].0, backward[i].1);
    let exchange = |send: Vec<(bool, u32, u16)>, receive: Vec<(bool, u32, u16)>| Op::Exchange { send, receive };
    let mut ops = vec![exchange(vec![], vec![fm(0)])];
    for i in 0..warm {
        ops.push(f(i));
        let mut receive = Vec::new();
        if i + 1 < total {
            receive.push(fm(i + 1));
        }
        if i + 1 == warm && !plain || i + 1 == total {
            receive.push(bm(0));
        }
        ops.push(exchange(vec![fm(i)], receive));
    }
    for i in 0..total - warm {
        ops.push(f(warm + i));
        if plain {
            // The last result goes out while the first gradient comes in.
            ops.push(exchange(vec![fm(warm + i)], vec![bm(i)]));
        } else if i == 0 && warm == 0 {
            ops.push(exchange(vec![fm(0)], vec![bm(0)]));
        }
        ops.push(b(i));
        let mut send = vec![bm(i)];
        let mut receive = Vec::new();
        if !(plain || i == 0 && warm == 0) {
            send.insert(0, fm(warm + i));
        }
        if warm + i + 1 < total {
            receive.push(fm(warm + i + 1));
        }
        // Plain 1F1B receives the next gradient after the forward pass in between; at the end there is none.
        if (!plain || warm + i + 1 == total) && i + 1 < total {
            receive.push(bm(i + 1));
        }
        ops.push(exchange(send, receive));
    }
    for i in total - warm..total {
        ops.push(b(i));
        ops.push(exchange(vec![bm(i)], if i + 1 < total { vec![bm(i + 1)] } else { vec![] }));
    }
    ops
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passes(ops: &[Op]) -> Vec<(bool, u32, u16)> {
        ops.iter()
            .filter_map(|op| match op {
                Op::Forward { microbatch, chunk } => Some((true, *microbatch, *chunk)),
                Op::Backward { microbatch, chunk } => Some((false, *microbatch, *chunk)),
                Op::Exchange { .. } | Op::Weights { .. } => None,
            })
            .collect()
    }

    #[test]
    fn one_forward_one_backward() {
        let order = passes(&program(1, 4, 1, 4));
        let f = |m| (true, m, 0);
        let b = |m| (false, m, 0);
        assert_eq!(order, [f(0), f(1), f(2), b(0), f(3), b(1), b(2), b(3)]);
        assert_eq!(passes(&program(3, 4, 1, 2)), [f(0), b(0), f(1), b(1)]);
    }

    #[test]
    fn interleaved_warmup_of_megatron() {
        let order = passes(&program(0, 4, 2, 8));
        assert_eq!(order.iter().take_while(|p| p.0).count(), 3 * 2 + 4 + 1);
        assert_eq!(&order[..5], &[(true, 0, 0), (true, 1, 0), (true, 2, 0), (true, 3, 0), (true, 0, 1)]);
    }

    proptest! {
        /// Every pass comes once, every message is sent once and received once, receives come before their pass.
        #[test]
        fn programs_are_complete(stages in 1u64..6, chunks in 1u64..4, microbatches in 1u64..14, which in 0usize..3) {
            let schedule = [Schedule::OneForwardOneBackward, Schedule::Gpipe, Schedule::ZeroBubble][which];
            let chunks = if which == 0 { chunks } else { 1 };
            for stage in 0..stages {
                let ops = program_of(schedule, stage, stages, chunks, microbatches);
                let mut weights = 0;
                let mut done = passes(&ops);
                prop_assert_eq!(done.len() as u64, 2 * chunks * microbatches);
                done.sort_unstable();
                done.dedup();
                prop_assert_eq!(done.len() as u64, 2 * chunks * microbatches);
                let (mut sent, mut received, mut ran) = (Vec::new(), Vec::new(), Vec::new());
                for op in &ops {
                    match op {
                        Op::Exchange { send, receive } => {
                            for message in send {
                                prop_assert!(ran.contains(message), "sent before computed");
                                sent.push(*message);
                            }
                            received.extend(receive.iter().copied());
                        }
                        Op::Forward { microbatch, chunk } => {
                            prop_assert!(received.contains(&(true, *microbatch, *chunk)), "computed before received");
                            ran.push((true, *microbatch, *chunk));
                        }
                        Op::Backward { microbatch, chunk } => {
                            prop_assert!(received.contains(&(false, *microbatch, *chunk)), "computed before received");
                            ran.push((false, *microbatch, *chunk));
                        }
                        Op::Weights { microbatch, chunk } => {
                            prop_assert!(ran.contains(&(false, *microbatch, *chunk)), "weights before inputs");
                            weights += 1;
                        }
                    }
                }
                prop_assert_eq!(weights, if schedule == Schedule::ZeroBubble { microbatches } else { 0 });
                for list in [&mut sent, &mut received] {
                    list.sort_unstable();
                    let n = list.len();
                    list.dedup();
                    prop_assert_eq!(n, list.len());
                    prop_assert_eq!(n as u64, 2 * chunks * microbatches);
                }
            }
        }
    }
}
