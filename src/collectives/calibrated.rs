//! Measured collectives over the models: an entry for the same ranks and nodes gives the time; one for another number of ranks of the same
//! domain moves the model by its ratio; else the model stays.

use super::choose::in_domain;
use super::communicator::Communicator;
use super::platform::Launch;
use super::timing::{Chosen, Line, all_to_all};
use super::{Algorithm, Engine, Op};
use crate::fabric::Fabric;
use crate::measured::CollectiveRow;

/// Times within that factor of the smallest are the host's, not the device's, where the host's launch was measured too.
const HOST_BOUND: f64 = 1.15;

/// What the host adds to an eager launch, as [`Launch::seen`] has it.
const EAGER: f64 = 12e-6;

impl Communicator<'_> {
    /// The entries of an operation on these links, whose range holds a size of an engine's kernels.
    fn measured_rows(&self, op: Op, bytes: f64, library: Engine) -> Vec<&CollectiveRow> {
        let Some(measured) = self.fabric.measured() else { return Vec::new() };
        let part = self.fabric.part(self.groups()[0][0]);
        let mut rows = measured.collectives(op.word(), library.word(), &|id| Fabric::borrows_collectives(part, id));
        rows.retain(|r| *r.nodes == self.nodes as u64 && (library == Engine::Nccl || bytes <= r.curve().range().1));
        // The part's own entries before borrowed ones.
        rows.sort_by_key(|r| *r.accelerator != *part.id);
        rows
    }

    /// The entry that serves a size, and whether it was measured over as many ranks.
    fn measured_row(&self, op: Op, bytes: f64, library: Engine) -> Option<(&CollectiveRow, bool)> {
        let rows = self.measured_rows(op, bytes, library);
        let ranks = self.ranks() as u64;
        if let Some(row) = rows.iter().find(|r| *r.ranks == ranks) {
            return Some((row, true));
        }
        // Over nodes, and for an engine's kernels, other counts are other algorithms.
        if self.nodes > 1.0 || library != Engine::Nccl {
            return None;
        }
        let far = |r: &&&CollectiveRow| libm::log(*r.ranks as f64 / ranks as f64).abs();
        rows.iter().min_by(|a, b| far(a).total_cmp(&far(b))).map(|r| (*r, false))
    }

    /// Whose measured kernels a choice stands for.
    fn library_of(&self, chosen: &Chosen) -> Engine {
        if matches!(chosen.algorithm, Algorithm::OneShot | Algorithm::TwoShot) { self.engine } else { Engine::Nccl }
    }

    /// A choice of the library with its measured time, where there is one.
    pub(super) fn calibrated(&self, op: Op, bytes: f64, chosen: Chosen) -> Chosen {
        let library = self.library_of(&chosen);
        let Some((row, exact)) = self.measured_row(op, bytes, library) else { return chosen };
        let link = self.link_rate(op, chosen.algorithm);
        let model = chosen.line.latency + bytes / chosen.line.rate.min(link);
        let Some(line) = device_line(row, bytes) else {
            // The host hid how long the device took; it was not longer than what was seen.
            let most = row.curve().time(bytes);
            let hidden = Line { latency: most, rate: f64::INFINITY };
            return if exact && model > most { Chosen { line: hidden, ..chosen } } else { chosen };
        };
        if exact {
            return Chosen { line, ..chosen };
        }
        let Some(there) = self.model_inside(op, *row.ranks as f64, bytes) else { return chosen };
        let ratio = line.time(bytes) / there;
        Chosen { line: Line { latency: chosen.line.latency * ratio, rate: chosen.line.rate.min(link) / ratio }, ..chosen }
    }

    /// Seconds that a caller sees, where exactly that was measured: the same ranks, nodes and launch.
    #[must_use]
    pub fn measured_seen(&self, op: Op, bytes: f64, launch: Launch) -> Option<f64> {
        let engines = if self.engine == Engine::Nccl { vec![Engine::Nccl] } else { vec![self.engine, Engine::Nccl] };
        let (row, exact) = engines.into_iter().find_map(|e| self.measured_row(op, bytes, e))?;
        (exact && *row.launch == launch.word()).then(|| row.curve().time(bytes))
    }

    /// Seconds of the model for another number of ranks of one domain.
    fn model_inside(&self, op: Op, n: f64, bytes: f64) -> Option<f64> {
        match op {
            _ if self.shape.count() > 1 || self.shape.torus.is_some() => None,
            Op::AllToAll => Some(all_to_all(self.technology(), &self.lines, n, bytes).time(bytes)),
            Op::AllReduce | Op::AllGather | Op::ReduceScatter | Op::Broadcast | Op::Reduce => {
                Some(in_domain(&self.lines, op, n, bytes).line.time(bytes))
            }
            Op::Gather | Op::Scatter | Op::Barrier | Op::SendRecv | Op::Dispatch | Op::Combine => None,
        }
    }
}

/// The measured line of the device at a size; `None` where the host's launch is all that was seen.
fn device_line(row: &CollectiveRow, bytes: f64) -> Option<Line> {
    let curve = row.curve();
    let (latency, rate) = curve.at(bytes);
    match Launch::from_word(&row.launch) {
        None | Some(Launch::Graph) => Some(Line { latency, rate }),
        Some(_) if curve.time(bytes) < HOST_BOUND * curve.time(0.0) => None,
        Some(Launch::Eager) => Some(Line { latency: (latency - EAGER).max(0.0), rate }),
        Some(Launch::SingleProcess) => Some(Line { latency, rate }),
    }
}
