//! Pipeline schedules: the order of passes on every stage, and where it exchanges with its neighbours.
//!
//! Plain 1F1B and interleaved 1F1B as Megatron-LM orders them (arXiv 2104.04473). A program alternates passes and
//! exchanges; an exchange names the passes whose results leave or enter at that point, and the stage waits for all of
//! them when communication is blocking. GPipe (arXiv 1811.06965) runs all forward passes first; ZB-H1 (arXiv 2401.10241) splits backward
//! passes and moves the gradients of weights into the gaps, without holding more microbatches than 1F1B does; with several chunks a stage
//! it is interleaved. Schedules with two chunks a stage are in `two_chunks`.

use super::two_chunks::{dual, zb_v};
use crate::choice;

choice! {
    /// Order of passes in a pipeline.
    pub enum Schedule {
        /// One forward, one backward; interleaved with several chunks a stage.
        OneForwardOneBackward = "1f1b",
        /// All forward passes, then all backward ones.
        Gpipe = "gpipe",
        /// 1F1B with gradients of weights in its gaps (ZB-H1); interleaved with several chunks a stage.
        ZeroBubble = "zero-bubble",
        /// Two chunks a stage that go down the pipeline and up again, gradients of weights in the gaps (ZB-V).
        ZbV = "zb-v",
        /// Two copies of the model that run from both ends, forward passes of one beside backward passes of the other.
        DualPipe = "dualpipe",
        /// The same within one copy: two chunks a stage that go down the pipeline and up again.
        DualPipeV = "dualpipe-v",
    }
}

/// Where the virtual stages of a pipeline lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Round and round: the last stage hands on to the first.
    Loop,
    /// Down the pipeline and up again.
    Vee,
    /// Once down and once up, two copies of the model.
    BothWays,
}

impl Schedule {
    /// Where its virtual stages lie.
    #[must_use]
    pub const fn placement(self) -> Placement {
        match self {
            Self::OneForwardOneBackward | Self::Gpipe | Self::ZeroBubble => Placement::Loop,
            Self::ZbV | Self::DualPipeV => Placement::Vee,
            Self::DualPipe => Placement::BothWays,
        }
    }
    /// Whether messages leave from a side stream, so that only the pass that needs one waits: else gradients of weights fill no gap.
    #[must_use]
    pub const fn sends_aside(self) -> bool {
        !matches!(self, Self::OneForwardOneBackward | Self::Gpipe)
    }
    /// Least number of microbatches for so many stages.
    #[must_use]
    pub const fn least_microbatches(self, stages: u64) -> u64 {
        match self {
            Self::DualPipe | Self::DualPipeV => 2 * stages,
            _ => 1,
        }
    }
}

/// A pass: whether it is a forward one, microbatch, chunk.
pub type Pass = (bool, u32, u16);

/// Passes whose messages are exchanged at one point, two at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Messages {
    passes: [Pass; 2],
    count: u8,
}

impl Messages {
    pub(super) const fn none() -> Self {
        Self { passes: [(false, 0, 0); 2], count: 0 }
    }
    pub(super) const fn one(pass: Pass) -> Self {
        Self { passes: [pass; 2], count: 1 }
    }
    pub(super) const fn two(first: Pass, second: Pass) -> Self {
        Self { passes: [first, second], count: 2 }
    }
    /// Those of them for which something holds.
    pub(super) fn only(&self, holds: impl Fn(&Pass) -> bool) -> Self {
        self.iter().filter(|p| holds(p)).fold(Self::none(), |all, &p| all.and(p))
    }
    const fn and(self, pass: Pass) -> Self {
        if self.count == 0 { Self::one(pass) } else { Self::two(self.passes[0], pass) }
    }
    const fn and_if(self, holds: bool, pass: Pass) -> Self {
        if holds { self.and(pass) } else { self }
    }
}

impl std::ops::Deref for Messages {
    type Target = [Pass];
    fn deref(&self) -> &[Pass] {
        &self.passes[..self.count as usize]
    }
}

/// One step of a stage's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// Backward pass that leaves the gradients of weights out.
    Inputs {
        /// Microbatch.
        microbatch: u32,
        /// Chunk.
        chunk: u16,
    },
    /// A forward and a backward pass side by side, the communication of each under the compute of the other.
    Pair {
        /// Microbatch and chunk of the forward pass.
        forward: (u32, u16),
        /// Microbatch and chunk of the backward pass.
        backward: (u32, u16),
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
        /// Passes whose results are sent here.
        send: Messages,
        /// Passes whose inputs are received here.
        receive: Messages,
    },
}

impl Op {
    /// The microbatch of a pass; side by side, that of the backward one.
    #[must_use]
    pub const fn microbatch(&self) -> Option<u32> {
        match *self {
            Self::Forward { microbatch, .. } | Self::Backward { microbatch, .. } => Some(microbatch),
            Self::Inputs { microbatch, .. } | Self::Weights { microbatch, .. } => Some(microbatch),
            Self::Pair { backward, .. } => Some(backward.0),
            Self::Exchange { .. } => None,
        }
    }
}

/// Microbatches that go through a chunk one after the other before the next chunk: the stages, or the least number above for
/// which the last group is whole or no smaller than the stages (else stages would wait for each other).
pub(super) fn group_size(stages: u64, chunks: u64, microbatches: u64) -> u64 {
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
            // A pass comes back after one pass of each stage behind, not two: what it waits for leaves the gradients of weights out.
            let few = chunks > 1 && microbatches > stages;
            let short = (stages - stage - 1 + (chunks - 1) * group).min(chunks * microbatches);
            let warm = if few { short } else { warmup(stage, stages, chunks, microbatches, group) };
            with_weights(alternating(chunks, microbatches, group, warm), stage as usize)
        }
        Schedule::ZbV => zb_v(stage, stages, microbatches),
        Schedule::DualPipeV => dual(stage, stages, microbatches, 0),
        Schedule::DualPipe => {
            let near = u16::from(2 * stage >= stages);
            dual(stage.min(stages - 1 - stage), stages / 2, microbatches / 2, near)
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
            out.push(Op::Inputs { microbatch, chunk });
        } else {
            out.push(op);
        }
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
    let exchange = |send, receive| Op::Exchange { send, receive };
    // The pass of a number that there may not be.
    let fm_at = |i: usize| if i < total { fm(i) } else { fm(0) };
    let bm_at = |i: usize| if i < total { bm(i) } else { bm(0) };
    let none = Messages::none();
    let mut ops = Vec::with_capacity(4 * total + 1);
    ops.push(exchange(none, Messages::one(fm(0))));
    for i in 0..warm {
        ops.push(f(i));
        let receive = none.and_if(i + 1 < total, fm_at(i + 1)).and_if(i + 1 == warm && !plain || i + 1 == total, bm(0));
        ops.push(exchange(Messages::one(fm(i)), receive));
    }
    for i in 0..total - warm {
        ops.push(f(warm + i));
        if plain {
            // The last result goes out while the first gradient comes in.
            ops.push(exchange(Messages::one(fm(warm + i)), Messages::one(bm(i))));
        } else if i == 0 && warm == 0 {
            ops.push(exchange(Messages::one(fm(0)), Messages::one(bm(0))));
        }
        ops.push(b(i));
        let send = none.and_if(!(plain || i == 0 && warm == 0), fm(warm + i)).and(bm(i));
        // Plain 1F1B receives the next gradient after the forward pass in between; at the end there is none.
        let later = (!plain || warm + i + 1 == total) && i + 1 < total;
        ops.push(exchange(send, none.and_if(warm + i + 1 < total, fm_at(warm + i + 1)).and_if(later, bm_at(i + 1))));
    }
    for i in total - warm..total {
        ops.push(b(i));
        ops.push(exchange(Messages::one(bm(i)), none.and_if(i + 1 < total, bm_at(i + 1))));
    }
    ops
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passes(ops: &[Op]) -> Vec<(bool, u32, u16)> {
        let mut out = Vec::new();
        for op in ops {
            match *op {
                Op::Forward { microbatch, chunk } => out.push((true, microbatch, chunk)),
                Op::Backward { microbatch, chunk } | Op::Inputs { microbatch, chunk } => out.push((false, microbatch, chunk)),
                Op::Pair { forward, backward } => out.extend([(true, forward.0, forward.1), (false, backward.0, backward.1)]),
                Op::Exchange { .. } | Op::Weights { .. } => {}
            }
        }
        out
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

    const ALL: [Schedule; 6] =
        [Schedule::OneForwardOneBackward, Schedule::Gpipe, Schedule::ZeroBubble, Schedule::ZbV, Schedule::DualPipe, Schedule::DualPipeV];

    proptest! {
        /// Every pass comes once, every message is sent once and received once, receives come before their pass, and gradients of
        /// weights after those of inputs, once where the backward pass leaves them out.
        #[test]
        fn programs_are_complete(stages in 1u64..6, chunks in 1u64..4, microbatches in 1u64..14, which in 0usize..6) {
            let schedule = ALL[which];
            let two = schedule.placement() != Placement::Loop;
            let both = schedule.placement() == Placement::BothWays;
            let chunks = if two { 2 } else if which == 1 { 1 } else { chunks };
            let stages = if both { 2 * stages } else { stages };
            let microbatches = if both { 2 * microbatches } else { microbatches }.max(schedule.least_microbatches(stages));
            let each = if both { microbatches / 2 } else { microbatches };
            for stage in 0..stages {
                let ops = program_of(schedule, stage, stages, chunks, microbatches);
                let mut left = Vec::new();
                let mut weights = Vec::new();
                let mut done = passes(&ops);
                prop_assert_eq!(done.len() as u64, 2 * chunks * each);
                done.sort_unstable();
                done.dedup();
                prop_assert_eq!(done.len() as u64, 2 * chunks * each);
                let (mut sent, mut received, mut ran) = (Vec::new(), Vec::new(), Vec::new());
                for op in &ops {
                    match *op {
                        Op::Exchange { send, receive } => {
                            for message in send.iter() {
                                prop_assert!(ran.contains(message), "sent before computed");
                                sent.push(*message);
                            }
                            received.extend(receive.iter().copied());
                        }
                        Op::Weights { microbatch, chunk } => {
                            prop_assert!(left.contains(&(microbatch, chunk)), "weights before inputs");
                            weights.push((microbatch, chunk));
                        }
                        _ => {
                            for pass in passes(std::slice::from_ref(op)) {
                                prop_assert!(received.contains(&pass), "computed before received");
                                ran.push(pass);
                            }
                            if let Op::Inputs { microbatch, chunk } = *op {
                                left.push((microbatch, chunk));
                            }
                        }
                    }
                }
                left.sort_unstable();
                weights.sort_unstable();
                prop_assert_eq!(left, weights);
                for list in [&mut sent, &mut received] {
                    list.sort_unstable();
                    let n = list.len();
                    list.dedup();
                    prop_assert_eq!(n, list.len());
                    prop_assert_eq!(n as u64, 2 * chunks * each);
                }
            }
        }
    }
}
