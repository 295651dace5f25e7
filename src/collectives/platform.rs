//! Which measured lines serve a group: by the technology of its scale-up domain, or from data sheets where nothing was measured.

use super::Engine;
use super::constants::{ScaleUpRow, TunerRow, constants};
use super::rings::{halves, rings_in};
use crate::choice;
use crate::fabric::{AcceleratorId, Domain, DomainKind, Fabric};

choice! {
    /// What the host's launch of a kernel adds to a measured time.
    pub enum Launch {
        /// Nothing: inside a captured graph, or hidden behind earlier work.
        Graph = "graph",
        /// One process for every rank: 12 us, and never under 40 us (framework listings of H200 and B200).
        Eager = "eager",
        /// One process launches for all ranks in turn: never under 28 us + 8 us a rank (nccl-tests with -g, A100).
        SingleProcess = "single-process",
    }
}

impl Launch {
    /// Seconds that a caller sees of an operation that takes `seconds` on the device.
    #[must_use]
    pub fn seen(self, seconds: f64, ranks: usize) -> f64 {
        match self {
            Self::Graph => seconds,
            Self::Eager => (seconds + 12e-6).max(40e-6),
            Self::SingleProcess => seconds.max(28e-6 + 8e-6 * ranks as f64),
        }
    }
}

/// Which library's choice and constants are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Library {
    /// Whose kernels run small all-reduces.
    pub engine: Engine,
    /// Channels of its kernels, one compute unit each; absent: as many as the library opens by itself.
    pub channels: Option<u32>,
}

/// Channels that a library opens by itself: a ring all-reduce of NCCL runs 16 to 24.
const CHANNELS: u32 = 20;

impl Library {
    /// NCCL (and RCCL, which shares its structure).
    #[must_use]
    pub const fn nccl() -> Self {
        Self::of(Engine::Nccl)
    }
    /// An engine's kernels, and NCCL's where it has none.
    #[must_use]
    pub const fn of(engine: Engine) -> Self {
        Self { engine, channels: None }
    }
    /// Compute units that its kernels hold.
    pub(super) fn units(&self) -> f64 {
        f64::from(self.channels.unwrap_or(CHANNELS))
    }
}

/// Lines of a scale-up domain: latencies in seconds, rates in bytes per second.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScaleUpLines {
    /// Rate of a ring edge.
    pub(super) rate: f64,
    /// Rate that the library's cost model assumes.
    pub(super) tuner_rate: f64,
    /// Start-up of the low-latency protocol.
    pub(super) base: f64,
    /// One step of it.
    pub(super) hop: f64,
    /// Extra once it spreads over more channels.
    pub(super) spread: f64,
    /// Start-up of the bulk protocol.
    pub(super) bulk_base: f64,
    /// One step of it.
    pub(super) bulk_hop: f64,
    /// The same in a ring over several domains, where that was measured apart.
    pub(super) bulk_hop_across: Option<f64>,
    /// Start-ups of in-switch reduction, small and large, where the switch can.
    pub(super) nvls: Option<(f64, f64)>,
    /// Share of the ring's rate that LL reaches.
    pub(super) ll_share: f64,
    /// Cap of LL bus bandwidth in the library's cost model.
    pub(super) ll_cap: f64,
    /// Greatest rate of one channel, where the library says so.
    pub(super) channel: Option<f64>,
    /// The library's cost model.
    pub(super) tuner: &'static TunerRow,
    /// Channel rate of NVLS in the library's cost model, and its efficiency.
    pub(super) nvls_tuner: (f64, f64),
    /// Whether LL128 is a line of its own (not on Blackwell, whose rows behave like the bulk protocol).
    pub(super) ll128: bool,
    /// Local copy per rank, relative to the wire: 0 where links are slow against memory.
    pub(super) copy: f64,
}

const US: f64 = 1e-6;
const GB: f64 = 1e9;

impl ScaleUpLines {
    fn of(row: &ScaleUpRow, links: f64) -> Self {
        let nvls = match (*row.nvls_small, *row.nvls_large) {
            (Some(small), Some(large)) => Some((small.get(), large.get())),
            _ => None,
        };
        Self {
            rate: links * row.per_link.get(),
            tuner_rate: links * row.tuner_link.get(),
            base: row.base.get(),
            hop: row.hop.get(),
            spread: row.spread.get(),
            bulk_base: row.bulk_base.get(),
            bulk_hop: row.bulk_hop.get(),
            bulk_hop_across: row.bulk_hop_across.map(|h| h.get()),
            nvls,
            ll_share: *row.ll_share,
            ll_cap: row.ll_cap.map_or(f64::INFINITY, |c| c.get()),
            channel: row.channel.map(|c| c.get()),
            tuner: constants().tuner(&row.library),
            nvls_tuner: (row.nvls_channel.map_or(60.0 * GB, |c| c.get()), *row.nvls_tuner_efficiency),
            ll128: *row.ll128,
            copy: *row.copy,
        }
    }

    /// The same over so many channels: what rings, trees and in-switch reductions move are shares of the edge's rate.
    pub(super) fn over(self, channels: Option<u32>) -> Self {
        let Some(most) = channels.zip(self.channel).map(|(count, each)| f64::from(count) * each) else { return self };
        Self { rate: self.rate.min(most), tuner_rate: self.tuner_rate.min(most), ..self }
    }

    /// The same with another rate of a ring edge.
    fn at(self, rate: f64) -> Self {
        Self { rate, tuner_rate: rate, nvls: None, ..self }
    }
}

/// Between what was measured (NVLink 3 and 4), for technologies without measurements.
fn generic() -> ScaleUpLines {
    ScaleUpLines {
        rate: 100.0 * GB,
        tuner_rate: 100.0 * GB,
        base: 6.0 * US,
        hop: 1.0 * US,
        spread: 1.0 * US,
        bulk_base: 15.0 * US,
        bulk_hop: 5.0 * US,
        bulk_hop_across: None,
        nvls: None,
        ll_share: 0.5,
        ll_cap: 100.0 * GB,
        channel: None,
        tuner: constants().tuner("nccl"),
        nvls_tuner: (60.0 * GB, 0.85),
        ll128: false,
        copy: 0.6,
    }
}

/// Five V100 of a DGX-1 have no ring of NVLinks alone; 37 GB/s were measured, 1.6 rings.
const RINGS_OF_FIVE: f64 = 1.6;

/// What all peer copies of a PCIe 4 box share where nothing else is said: from 4 ranks on L40S boxes move 17 to 24 GB/s in all,
/// whatever their number (copies through host memory); a PCIe 5 box (RTX PRO 6000) shows no such limit.
const SHARED_PCIE_4: f64 = 19.0 * GB;

/// The lines of a group inside a domain, and whether they were measured on that kind of platform.
pub(super) fn lines_of(fabric: &Fabric, group: &[AcceleratorId]) -> (ScaleUpLines, bool) {
    let domain = fabric.domain(fabric.site(group[0]).domain);
    let part = fabric.part(group[0]);
    let technology = part.scale_up.value.as_deref().unwrap_or("");
    let links = (*part.scale_up_links).max(1) as f64;
    let data_sheet = part.scale_up_bandwidth.map_or(0.0, |b| b.get());
    let row = constants().lines(technology);
    let n = group.len().max(2);
    match domain.kind {
        DomainKind::Switched => match row {
            Some(row) => (ScaleUpLines::of(row, links), *row.measured),
            // NVSwitch systems reach 0.80 to 0.82 of the data sheet.
            None => (generic().at(0.8 * data_sheet), false),
        },
        DomainKind::CubeMesh | DomainKind::FullMesh => {
            let rings = rings_in(fabric, group).len() as f64;
            let rings = if rings == 0.0 { RINGS_OF_FIVE } else { rings };
            match row {
                Some(row) => {
                    // A ring takes a cable of a cube, a half of those between two neighbours of a mesh of few. No switch adds up.
                    let each = fabric.direct_cables(group[0]) / f64::from(halves(fabric, group[0]));
                    let meshed = domain.kind == DomainKind::FullMesh;
                    (ScaleUpLines { nvls: None, ..ScaleUpLines::of(row, rings * each) }, *row.measured && !meshed)
                }
                None => {
                    // 0.75 of the data sheet, as MI300X (48 of 64 GB/s a link); latencies assumed.
                    let one = 0.75 * data_sheet / (f64::from(domain.size) - 1.0).max(1.0) / f64::from(halves(fabric, group[0]));
                    let slow = ScaleUpLines { base: 20.0 * US, hop: 4.0 * US, bulk_base: 20.0 * US, bulk_hop: 4.0 * US, ..generic() };
                    (slow.at(rings * one), false)
                }
            }
        }
        // TPU: about 1 us a hop, no host in the path; the torus' links set the rate.
        DomainKind::Torus => {
            let fast = ScaleUpLines { base: 5.0 * US, hop: 1.0 * US, bulk_base: 5.0 * US, bulk_hop: 1.0 * US, copy: 0.0, ..generic() };
            (fast.at(0.9 * data_sheet), false)
        }
        DomainKind::Pcie => (pcie(fabric, domain, n), false),
    }
}

/// Copies through host memory: rate of a ring edge and one step of the bulk protocol. The low-latency protocol keeps its start-ups.
/// Cluster configurations that LLMServingSim 2.x publishes for boxes of two RTX PRO 6000 and of two RTX 4090 (16 GB/s, 20 us a step).
const STAGED_RATE: f64 = 16.0 * GB;
const STAGED_HOP: f64 = 20.0 * US;

/// PCIe boxes: 0.75 of the DMA rate for a pair, 0.47 where a ring crosses root ports (an edge through the CPU passes twice), and no more
/// than an n-th of what all share; LL floors of L40S and RTX PRO 6000.
fn pcie(fabric: &Fabric, domain: &Domain, n: usize) -> ScaleUpLines {
    let dma = fabric.link(fabric.site(fabric.standing(domain.first)).host_link()).capacity;
    let limit = fabric.peer_copy_limit(fabric.standing(domain.first));
    let shared = limit.unwrap_or(if dma < 30.0 * GB { SHARED_PCIE_4 } else { f64::INFINITY });
    let rate = if n == 2 { 0.75 * dma } else { (0.47 * dma).min(shared / n as f64) };
    let lines = ScaleUpLines { base: 3.1 * US, hop: 1.4 * US, bulk_base: 12.0 * US, bulk_hop: 5.0 * US, copy: 0.0, ..generic() };
    if fabric.peer_access(fabric.standing(domain.first)) {
        return lines.at(rate);
    }
    // A pair alone shares nothing that is not said.
    let staged = if n == 2 { limit.map_or(STAGED_RATE, |l| 0.5 * l) } else { shared / n as f64 };
    ScaleUpLines { bulk_base: 0.0, bulk_hop: STAGED_HOP, ..lines }.at(rate.min(STAGED_RATE).min(staged))
}
