//! Pipeline schedules with two chunks on every stage: ZB-V, DualPipe and its V-shaped form.
//!
//! ZB-V (Qi et al., arXiv 2401.10241, section 6) takes microbatches down the pipeline through the first chunks and up again through the
//! second ones, so that the first stage gets its gradients back first and all stages hold as much. DualPipe (DeepSeek-V3, arXiv
//! 2412.19437, section 3.2.1) feeds two copies of the model from both ends; in the steady state a forward pass of one direction runs
//! beside a backward pass of the other. Its V-shaped form is that of one half of the stages, which hold both ends' chunks.

use super::schedule::{Messages, Op};
use std::collections::VecDeque;

/// Puts a program together: every pass between the receipt of its input and the departure of its result.
#[derive(Default)]
struct Program {
    ops: Vec<Op>,
    forward: [u32; 2],
    backward: [u32; 2],
    /// Backward passes whose gradients of weights are still to be computed.
    left: VecDeque<(u32, u16)>,
    /// Which chunk is meant by 0 and by 1.
    near: u16,
}

impl Program {
    const fn chunk(&self, which: usize) -> u16 {
        which as u16 ^ self.near
    }
    const fn next_forward(&mut self, which: usize) -> (u32, u16) {
        self.forward[which] += 1;
        (self.forward[which] - 1, self.chunk(which))
    }
    const fn next_backward(&mut self, which: usize) -> (u32, u16) {
        self.backward[which] += 1;
        (self.backward[which] - 1, self.chunk(which))
    }
    fn add(&mut self, op: Op, passes: Messages) {
        self.ops.push(Op::Exchange { send: Messages::none(), receive: passes });
        self.ops.push(op);
        self.ops.push(Op::Exchange { send: passes, receive: Messages::none() });
    }
    fn forward(&mut self, which: usize) {
        let (microbatch, chunk) = self.next_forward(which);
        self.add(Op::Forward { microbatch, chunk }, Messages::one((true, microbatch, chunk)));
    }
    fn backward(&mut self, which: usize) {
        let (microbatch, chunk) = self.next_backward(which);
        self.add(Op::Backward { microbatch, chunk }, Messages::one((false, microbatch, chunk)));
    }
    /// A backward pass without the gradients of weights.
    fn inputs(&mut self, which: usize) {
        let (microbatch, chunk) = self.next_backward(which);
        self.add(Op::Inputs { microbatch, chunk }, Messages::one((false, microbatch, chunk)));
        self.left.push_back((microbatch, chunk));
    }
    /// The gradients of weights that were left out first.
    fn weights(&mut self) {
        self.ops.extend(self.left.pop_front().map(|(microbatch, chunk)| Op::Weights { microbatch, chunk }));
    }
    fn pair(&mut self, forward: usize, backward: usize) {
        let (f, b) = (self.next_forward(forward), self.next_backward(backward));
        self.add(Op::Pair { forward: f, backward: b }, Messages::two((true, f.0, f.1), (false, b.0, b.1)));
    }
}

/// The program of a stage under ZB-V. The order is that of `2 p - 1` microbatches at least; with fewer, the passes of those that there are
/// not are left out.
pub(super) fn zb_v(stage: u64, stages: u64, microbatches: u64) -> Vec<Op> {
    let full = microbatches.max(2 * stages - 1);
    let mut p = Program::default();
    for _ in 0..2 * (stages - stage) - 1 {
        p.forward(0);
    }
    for _ in 0..stage {
        p.forward(1);
        p.forward(0);
    }
    for _ in 0..stages - stage {
        p.forward(1);
        p.inputs(1);
        p.weights();
    }
    while u64::from(p.forward[0]) < full || p.forward[1] < p.forward[0] {
        if u64::from(p.forward[0]) < full {
            p.forward(0);
        }
        p.inputs(0);
        p.weights();
        p.forward(1);
        p.inputs(1);
        p.weights();
    }
    for _ in 0..stage {
        p.inputs(0);
        p.inputs(1);
    }
    for _ in 0..stages - stage {
        p.inputs(0);
        p.weights();
    }
    while !p.left.is_empty() {
        p.weights();
    }
    p.ops.into_iter().filter_map(|op| among(op, microbatches)).collect()
}

/// An operation as far as its microbatches are among the first `count`.
fn among(op: Op, count: u64) -> Option<Op> {
    let real = |m: u32| u64::from(m) < count;
    match op {
        Op::Exchange { send, receive } => {
            let (send, receive) = (send.only(|m| real(m.1)), receive.only(|m| real(m.1)));
            (!send.is_empty() || !receive.is_empty()).then_some(Op::Exchange { send, receive })
        }
        Op::Forward { microbatch, .. }
        | Op::Backward { microbatch, .. }
        | Op::Inputs { microbatch, .. }
        | Op::Weights { microbatch, .. } => real(microbatch).then_some(op),
        Op::Pair { forward, .. } => real(forward.0).then_some(op),
    }
}

/// The program of the stage at `place` of `places`, counted from the end at which `count` microbatches enter its chunk `near`; as many come
/// back, or come from the other end, through its other chunk.
pub(super) fn dual(place: u64, places: u64, count: u64, near: u16) -> Vec<Op> {
    let behind = places - place - 1;
    let mut p = Program { near, ..Program::default() };
    for _ in 0..2 * behind {
        p.forward(0);
    }
    for _ in 0..=place {
        p.forward(0);
        p.forward(1);
    }
    for _ in 0..behind {
        p.inputs(1);
        p.weights();
        p.forward(1);
    }
    for i in 0..count + place + 1 - 2 * places {
        if i == 0 && behind == 0 {
            // The two meet here: one waits for the other.
            p.forward(0);
            p.backward(1);
        } else {
            p.pair(0, 1);
        }
        p.pair(1, 0);
    }
    for _ in 0..behind {
        p.backward(1);
        p.pair(1, 0);
    }
    // From the middle of what is left on, gradients of weights wait for the gaps of the end.
    for i in 0..2 * (place + 1) {
        let which = if i % 2 == 0 { 1 } else { 0 };
        if i > place { p.inputs(which) } else { p.backward(which) }
    }
    for _ in 0..behind {
        p.weights();
        p.inputs(0);
    }
    while !p.left.is_empty() {
        p.weights();
    }
    p.ops
}
