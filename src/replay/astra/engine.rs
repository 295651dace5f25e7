//! Runs the chunks of a collective message by message, on one rank that stands for all or on each by itself.
//!
//! Times are whole nanoseconds, as in ASTRA-sim. Chunks wait in a queue for each dimension; a few of them run at a time. Where all
//! ranks do the same at the same time, what a rank sends to distance d is what it receives from distance d, so one rank is enough.

use super::network::{Links, Wires};
use super::steps::{Asked, Phase, Progress, Steps};
use crate::engine::EventQueue;
use crate::units::SimTime;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// A collective to run.
pub(super) struct Case<'a> {
    /// The phases that every chunk goes through.
    pub(super) phases: &'a [Phase],
    /// How many chunks.
    pub(super) chunks: u32,
    /// How many of them run at a time in a dimension.
    pub(super) active: u32,
    /// Bytes per second of the memory that reductions read and write; infinite where none is given.
    pub(super) memory: f64,
    /// Ranks to run: 1 stands for all, else as many as the (only) phase has.
    pub(super) ranks: u32,
}

#[derive(Clone, Copy)]
enum Event {
    /// A packet has waited at the end point, and may have a reduction to do.
    Waited { rank: u32, chunk: u32, reduce: u64 },
    /// A message is at hop `hop` of its path, or has come.
    Hop { message: u32, hop: u32 },
    /// A message that was there before somebody asked for it.
    Taken { rank: u32, chunk: u32 },
}

#[derive(Clone, Copy)]
struct Message {
    from: u32,
    to: u32,
    chunk: u32,
    phase: u32,
    distance: u32,
    bytes: u64,
}

/// A rank: its chunks, and for each dimension those that wait and how many run.
struct Rank {
    chunks: Vec<(usize, Option<Progress>)>,
    waiting: Vec<VecDeque<u32>>,
    running: Vec<u32>,
    ended: u32,
}

struct Engine<'a> {
    case: &'a Case<'a>,
    wires: &'a Wires<'a>,
    links: Links,
    queue: EventQueue<Event>,
    ranks: Vec<Rank>,
    messages: Vec<Message>,
    /// Numbers of messages that are done with.
    done: Vec<u32>,
    /// By rank, chunk, phase and sender: receipts asked for minus messages that came.
    asked: FxHashMap<(u32, u32, u32, u32), i64>,
    now: u64,
    end: u64,
}

/// Nanoseconds until the last rank has done the last chunk.
pub(super) fn run(case: &Case<'_>, wires: &Wires<'_>) -> u64 {
    let dimensions = case.phases.iter().map(|p| p.dimension + 1).max().unwrap_or(0);
    let rank = || Rank {
        chunks: vec![(0, None); case.chunks as usize],
        waiting: vec![VecDeque::new(); dimensions],
        running: vec![0; dimensions],
        ended: 0,
    };
    let mut engine = Engine {
        case,
        wires,
        links: Links::default(),
        queue: EventQueue::new(),
        ranks: (0..case.ranks).map(|_| rank()).collect(),
        messages: Vec::new(),
        done: Vec::new(),
        asked: FxHashMap::default(),
        now: 0,
        end: 0,
    };
    engine.run();
    engine.end
}

impl Engine<'_> {
    fn run(&mut self) {
        let Some(first) = self.case.phases.first() else { return };
        for rank in 0..self.case.ranks {
            for chunk in 0..self.case.chunks {
                self.ranks[rank as usize].waiting[first.dimension].push_back(chunk);
                self.admit(rank, first.dimension);
            }
        }
        while let Some((time, event)) = self.queue.pop() {
            self.now = time.seconds() as u64;
            match event {
                Event::Waited { rank, chunk, reduce: 0 } => self.step(rank, chunk, Progress::proceed),
                Event::Waited { rank, chunk, reduce } => self.push(reduce, Event::Waited { rank, chunk, reduce: 0 }),
                Event::Taken { rank, chunk } => self.step(rank, chunk, Progress::receive),
                Event::Hop { message, hop } => self.hop(message, hop),
            }
        }
    }
    fn push(&mut self, after: u64, event: Event) {
        self.queue.push(SimTime::new(self.now.saturating_add(after) as f64), event);
    }
    /// Starts chunks of a dimension that may run.
    fn admit(&mut self, rank: u32, dimension: usize) {
        while self.ranks[rank as usize].running[dimension] < self.case.active {
            let Some(chunk) = self.ranks[rank as usize].waiting[dimension].pop_front() else { return };
            self.ranks[rank as usize].running[dimension] += 1;
            let phase = self.case.phases[self.ranks[rank as usize].chunks[chunk as usize].0];
            self.ranks[rank as usize].chunks[chunk as usize].1 = Some(Progress::new(phase));
            self.step(rank, chunk, Progress::start);
        }
    }
    fn step(&mut self, rank: u32, chunk: u32, step: fn(&mut Progress, &mut dyn FnMut(Asked))) {
        let (number, progress) = &mut self.ranks[rank as usize].chunks[chunk as usize];
        let number = *number;
        let mut asked = Vec::new();
        if let Some(progress) = progress {
            step(progress, &mut |a| asked.push(a));
        }
        let phase = self.case.phases[number];
        for what in asked {
            match what {
                Asked::Packet { bytes, reduces } => {
                    let pass = if reduces { (bytes as f64 / self.case.memory * 1e9) as u64 } else { 0 };
                    self.push(phase.endpoint, Event::Waited { rank, chunk, reduce: pass.saturating_mul(3) });
                }
                Asked::Message { distance, bytes } => self.send(rank, chunk, number as u32, distance, bytes),
                Asked::End => self.end_phase(rank, chunk, phase.dimension),
            }
        }
    }
    /// The ranks that a rank sends to and receives from at a distance; one rank stands for all.
    fn partners(&self, rank: u32, phase: u32, distance: u32) -> (u32, u32) {
        let phase = &self.case.phases[phase as usize];
        if self.case.ranks == 1 {
            return (0, 0);
        }
        if phase.steps == Steps::Halving {
            return (rank ^ distance, rank ^ distance);
        }
        ((rank + distance) % phase.ranks, (rank + phase.ranks - distance) % phase.ranks)
    }
    fn send(&mut self, rank: u32, chunk: u32, phase: u32, distance: u32, bytes: u64) {
        let (to, from) = self.partners(rank, phase, distance);
        let message = Message { from: rank, to, chunk, phase, distance, bytes };
        let number = self.done.pop().unwrap_or(self.messages.len() as u32);
        match self.messages.get_mut(number as usize) {
            Some(old) => *old = message,
            None => self.messages.push(message),
        }
        self.hop(number, 0);
        let key = (rank, chunk, phase, if self.case.ranks == 1 { distance } else { from });
        let asked = self.asked.entry(key).or_insert(0);
        *asked += 1;
        if *asked <= 0 {
            self.push(0, Event::Taken { rank, chunk });
        }
    }
    /// A message goes over its next link, or is there.
    fn hop(&mut self, number: u32, hop: u32) {
        let m = self.messages[number as usize];
        let dimension = self.case.phases[m.phase as usize].dimension;
        let ends = if self.case.ranks == 1 { (0, m.distance) } else { (m.from, m.to) };
        match self.wires.hop(&mut self.links, dimension, ends, hop, m.bytes, self.now) {
            Some(at) => self.push(at - self.now, Event::Hop { message: number, hop: hop + 1 }),
            None => {
                self.done.push(number);
                let key = (m.to, m.chunk, m.phase, if self.case.ranks == 1 { m.distance } else { m.from });
                let asked = self.asked.entry(key).or_insert(0);
                *asked -= 1;
                if *asked >= 0 {
                    self.step(m.to, m.chunk, Progress::receive);
                }
            }
        }
    }
    fn end_phase(&mut self, rank: u32, chunk: u32, dimension: usize) {
        let here = &mut self.ranks[rank as usize];
        here.running[dimension] -= 1;
        let (number, progress) = &mut here.chunks[chunk as usize];
        *progress = None;
        *number += 1;
        let next = self.case.phases.get(*number).map(|p| p.dimension);
        if let Some(next) = next {
            here.waiting[next].push_back(chunk);
        } else {
            here.ended += 1;
            self.end = self.end.max(self.now);
        }
        self.admit(rank, dimension);
        if let Some(next) = next {
            self.admit(rank, next);
        }
    }
}
