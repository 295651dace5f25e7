//! Exchange of tokens message by message.

use super::schedule::{Builder, Message};
use super::tokens::Routing;
use super::{Algorithm, Op};

impl Builder<'_> {
    /// All messages of a dispatch or combine; `None` for algorithms that have no such form.
    pub(super) fn tokens(mut self, routing: &Routing, op: Op, algorithm: Algorithm) -> Option<()> {
        match algorithm {
            Algorithm::LowLatency => {
                let n = self.shape.ranks;
                let share = routing.per_token as f64 / n as f64;
                for step in 1..n {
                    (0..n).for_each(|from| {
                        self.send(from, (from + step) % n, share, 1, step, &[]);
                    });
                }
                self.out.depth = self.out.depth.max(1);
            }
            Algorithm::OneCopy => {
                for _ in 0..self.chunks {
                    self.chunk(routing, op == Op::Combine);
                }
                self.out.depth = self.out.depth.max(if self.shape.count() > 1 { 2 } else { 1 });
            }
            _ => return None,
        }
        Some(())
    }

    /// One of `parts` parts of what goes from one rank to another on a lane of the sender.
    fn send(&mut self, from: usize, to: usize, share: f64, parts: u32, lane: usize, after: &[u32]) -> u32 {
        let message = Message { from: self.group[from], to: self.group[to], via: None, share: share / f64::from(parts), lane: share };
        let id = self.out.push(message, lane as u32, after.first().copied());
        self.out.data.extend(after.iter().skip(1).map(|&earlier| (earlier, id)));
        id
    }

    /// One chunk of every rank's tokens: to the ranks of its own domain, and over a gate of each other domain to the ranks there; back by
    /// the same ways.
    fn chunk(&mut self, routing: &Routing, back: bool) {
        let (n, parts, domains) = (self.shape.ranks, self.chunks, self.shape.domains.clone());
        let each = routing.experts as f64 / n as f64;
        let one = routing.reached(each);
        for own in &domains {
            for rank in own.clone() {
                for other in own.clone().filter(|&o| o != rank) {
                    let (from, to) = if back { (other, rank) } else { (rank, other) };
                    self.send(from, to, one, parts, to, &[]);
                }
                for far in domains.iter().filter(|d| d.start != own.start) {
                    let gate = far.start + (rank - own.start) * far.len() / own.len();
                    let (members, share) = (far.clone().filter(|&m| m != gate), routing.reached(each * far.len() as f64));
                    // Lanes by the rank that the tokens belong to and the receiver, so that ways do not wait for each other.
                    let lane = |to: usize| n * (1 + rank) + to;
                    if back {
                        let brought: Vec<u32> = members.map(|m| self.send(m, gate, one, parts, lane(gate), &[])).collect();
                        self.send(gate, rank, share, parts, lane(rank), &brought);
                    } else {
                        let arrived = self.send(rank, gate, share, parts, lane(gate), &[]);
                        members.for_each(|m| {
                            self.send(gate, m, one, parts, lane(m), &[arrived]);
                        });
                    }
                }
            }
        }
    }
}
