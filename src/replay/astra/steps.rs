//! The algorithms of ASTRA-sim step by step: what a rank sends when, on one phase of a collective.
//!
//! A rank begins with as many packets as it may have in flight. Each packet waits the end-point delay, and, where a reduction comes
//! before it, three passes over memory; then it is sent. Each message that arrives makes the next packet. A phase ends when all is
//! sent and every packet has come back.

use crate::workload::trace::TraceCollective;
use std::collections::VecDeque;

/// How the ranks of a phase exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Steps {
    /// To the next rank of a ring, one message at a time.
    Ring,
    /// To every rank, at most so many messages in flight; absent: all at once.
    Direct(Option<u32>),
    /// With partners at doubling distance.
    Halving,
}

/// One phase of a collective: an operation over the ranks of one dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Phase {
    /// What.
    pub(super) op: TraceCollective,
    /// How.
    pub(super) steps: Steps,
    /// Over how many ranks.
    pub(super) ranks: u32,
    /// The dimension of the network, which is also the queue that the phase waits in.
    pub(super) dimension: usize,
    /// Bytes that a rank has at the start.
    pub(super) bytes: u64,
    /// Nanoseconds between a rank and its network.
    pub(super) endpoint: u64,
    /// Whether the ranks are a group of their own and no dimension of the network.
    pub(super) is_group: bool,
}

impl Phase {
    /// Bytes that a rank has at the end.
    pub(super) const fn bytes_after(&self) -> u64 {
        let n = self.ranks as u64;
        match self.op {
            TraceCollective::AllGather => self.bytes.saturating_mul(n),
            TraceCollective::ReduceScatter => self.bytes / n,
            _ => self.bytes,
        }
    }
    /// Bytes of the first message.
    pub(super) const fn message(&self) -> u64 {
        match (self.steps, self.op) {
            (_, TraceCollective::AllGather) => self.bytes,
            (Steps::Halving, _) => self.bytes / 2,
            _ => self.bytes / self.ranks as u64,
        }
    }
    /// Messages that a rank sends.
    pub(super) const fn sends(&self) -> u64 {
        let n = self.ranks as u64;
        let once = match self.steps {
            Steps::Halving => n.ilog2() as u64,
            _ => n - 1,
        };
        match (self.op, self.steps) {
            (TraceCollective::AllReduce, _) => 2 * once,
            // A message for every distance, passed on by all ranks in between.
            (TraceCollective::AllToAll, Steps::Ring) => n * (n - 1) / 2,
            _ => once,
        }
    }
    /// Packets in flight at the same time.
    pub(super) fn in_flight(&self) -> u64 {
        let most = u64::from(self.ranks) - 1;
        match self.steps {
            Steps::Direct(window) => window.map_or(most, |w| u64::from(w).clamp(1, most)),
            _ => 1,
        }
    }
}

/// What a step asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A packet that has to wait for the end point and perhaps for its reduction.
    Packet {
        /// Bytes.
        bytes: u64,
        /// Whether a reduction comes before it.
        reduces: bool,
    },
    /// A message to the rank at a distance, and the receipt of one from the same distance the other way.
    Message {
        /// Distance in the ring of ranks, or number of the partner's bit under halving.
        distance: u32,
        /// Bytes.
        bytes: u64,
    },
    /// The phase is over for this rank.
    End,
}

/// Where a rank is in a phase.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    phase: Phase,
    to_send: u64,
    received: u64,
    free: u64,
    packets: VecDeque<(u32, u64)>,
    /// Packets without and with a reduction before them that are still to come in this round, and which round it is.
    plain: u64,
    reduced: u64,
    first_round: bool,
    distance: u32,
    bytes: u64,
    growing: bool,
}

impl Progress {
    /// At the start.
    pub(super) fn new(phase: Phase) -> Self {
        let growing = phase.op != TraceCollective::AllGather;
        let distance = if phase.steps == Steps::Halving && !growing { phase.ranks / 2 } else { 1 };
        Self {
            to_send: phase.sends(),
            received: 0,
            free: 0,
            packets: VecDeque::new(),
            plain: 0,
            reduced: 0,
            first_round: false,
            distance,
            bytes: phase.message(),
            growing,
            phase,
        }
    }
    /// The first packets.
    pub(super) fn start(&mut self, ask: &mut dyn FnMut(Asked)) {
        for _ in 0..self.phase.in_flight() {
            self.packet(ask);
        }
    }
    /// A message has come.
    pub(super) fn receive(&mut self, ask: &mut dyn FnMut(Asked)) {
        self.received += 1;
        self.packet(ask);
    }
    /// A packet has waited.
    pub(super) fn proceed(&mut self, ask: &mut dyn FnMut(Asked)) {
        self.free += 1;
        let all = u64::from(self.phase.ranks) - 1;
        let second_half =
            matches!(self.phase.steps, Steps::Direct(_)) && self.phase.op == TraceCollective::AllReduce && self.to_send <= all;
        if second_half && self.received < all {
            return;
        }
        for _ in 0..if second_half { self.phase.in_flight() } else { 1 } {
            self.send(ask);
        }
        if self.to_send == 0 && self.free == self.phase.in_flight() {
            ask(Asked::End);
        }
    }

    /// How many packets with a reduction follow those without in a round.
    fn round(&self) -> u64 {
        let n = u64::from(self.phase.ranks);
        match self.phase.steps {
            Steps::Ring => n - 1,
            Steps::Halving => u64::from(n.ilog2()) - 1,
            Steps::Direct(_) if self.phase.is_group => (n - 1) * self.phase.in_flight(),
            Steps::Direct(_) => self.phase.in_flight(),
        }
    }
    fn packet(&mut self, ask: &mut dyn FnMut(Asked)) {
        if self.plain == 0 && self.reduced == 0 {
            self.plain = self.phase.in_flight();
            self.reduced = self.round();
            self.first_round = !self.first_round;
        }
        let reduces = if self.plain > 0 {
            self.plain -= 1;
            false
        } else {
            self.reduced -= 1;
            self.phase.op == TraceCollective::ReduceScatter || (self.phase.op == TraceCollective::AllReduce && self.first_round)
        };
        self.packets.push_back((self.distance, self.bytes));
        ask(Asked::Packet { bytes: self.bytes, reduces });
        self.turn();
    }
    /// The next packet's partner and size.
    fn turn(&mut self) {
        let n = self.phase.ranks;
        match self.phase.steps {
            Steps::Ring => {}
            Steps::Direct(_) => self.distance = self.distance % (n - 1) + 1,
            Steps::Halving => {
                self.grow_or_shrink();
                if self.distance == n && self.phase.op == TraceCollective::AllReduce {
                    self.growing = false;
                    self.grow_or_shrink();
                }
            }
        }
    }
    const fn grow_or_shrink(&mut self) {
        if self.growing {
            self.distance *= 2;
            self.bytes /= 2;
        } else {
            self.distance /= 2;
            self.bytes = self.bytes.saturating_mul(2);
        }
    }
    fn send(&mut self, ask: &mut dyn FnMut(Asked)) {
        if self.to_send == 0 || self.free == 0 {
            return;
        }
        if let Some((distance, bytes)) = self.packets.pop_front() {
            self.to_send -= 1;
            self.free -= 1;
            ask(Asked::Message { distance, bytes });
        }
    }
}
