//! Measured constants of scale-up platforms and networks, each with its source.

use crate::fabric::{Domain, DomainKind, Fabric};
use crate::hardware::NicProtocol;

/// Which library's choice and constants are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Library {
    /// SMs that collective kernels hold (a ring all-reduce of NCCL runs 16 to 24 channels, one SM each).
    pub channels: u32,
}

impl Library {
    /// NCCL (and RCCL, which shares its structure).
    #[must_use]
    pub const fn nccl() -> Self {
        Self { channels: 20 }
    }
}

/// Lines of a scale-up domain: latencies in seconds, rates in bytes per second.
///
/// Fitted on 756 NCCL rows of A100, H100 and B200 (aiconfigurator-core 0.12.0 tables, 512 B to 512 MiB, 2 to 8 GPUs):
/// median 3 %, 90th percentile 9 to 10 %; transferred to H200, B300, GB200 and GB300 unchanged at 3 to 4 / 8 to 12 %.
#[derive(Debug, Clone, Copy, PartialEq)]
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
    /// Start-ups of in-switch reduction, small and large, where the switch can.
    pub(super) nvls: Option<(f64, f64)>,
    /// Cap of LL bus bandwidth in the library's cost model.
    pub(super) ll_cap: f64,
    /// Channel rate of NVLS in the library's cost model, and its efficiency.
    pub(super) nvls_tuner: (f64, f64),
    /// Whether LL128 is a line of its own (not on Blackwell, whose rows behave like the bulk protocol).
    pub(super) ll128: bool,
    /// Local copy per rank, relative to the wire: 0 where links are slow against memory.
    pub(super) copy: f64,
}

const US: f64 = 1e-6;
const GB: f64 = 1e9;

/// NVLink 3, 4 and 5: (rate of one link as NCCL reaches it, lines).
fn nvlink(technology: &str, links: f64) -> Option<ScaleUpLines> {
    let lines = |per_link: f64, tuner: f64, t: [f64; 5]| ScaleUpLines {
        rate: links * per_link * GB,
        tuner_rate: links * tuner * GB,
        base: t[0] * US,
        hop: t[1] * US,
        spread: t[2] * US,
        bulk_base: t[3] * US,
        bulk_hop: t[4] * US,
        nvls: None,
        ll_cap: 87.7 * GB,
        nvls_tuner: (60.0 * GB, 0.85),
        ll128: true,
        copy: 0.6,
    };
    Some(match technology {
        // DGX-1 V100: 22.6 GB/s a link (vTrain's tables); latencies as NVLink 3; no copy term (equal per-ring rates at n = 2 and 8).
        "nvlink2" => ScaleUpLines { copy: 0.0, ll_cap: 39.0 * GB, ..lines(22.6, 20.0, [8.1, 0.92, 2.8, 23.7, 6.4]) },
        "nvlink3" => lines(20.0, 20.0, [8.1, 0.92, 2.8, 23.7, 6.4]),
        "nvlink4" => {
            ScaleUpLines { nvls: Some((22.0 * US, 58.0 * US)), ll_cap: 141.0 * GB, ..lines(20.6, 20.0, [4.4, 0.83, 1.0, 12.6, 3.6]) }
        }
        "nvlink5" | "nvlink6" => ScaleUpLines {
            nvls: Some((39.0 * US, 142.0 * US)),
            ll_cap: 282.0 * GB,
            nvls_tuner: (90.0 * GB, 0.74),
            ll128: false,
            ..lines(40.1, 40.0, [7.6, 1.28, 1.1, 12.0, 7.6])
        },
        _ => return None,
    })
}

/// Rings that fit the NVLinks of a DGX-1 by number of ranks (integer packing of directed Hamiltonian cycles; five ranks have no
/// pure ring, 37 GB/s was measured).
const CUBE_RINGS: [f64; 9] = [0.0, 0.0, 1.0, 2.0, 4.0, 1.6, 2.0, 4.0, 6.0];

/// The lines of a group of `n` ranks inside a domain, and whether they were measured on that kind of platform.
pub(super) fn lines_of(fabric: &Fabric, domain: &Domain, n: usize) -> (ScaleUpLines, bool) {
    let part = fabric.part(domain.first);
    let technology = part.scale_up.value.as_deref().unwrap_or("");
    let links = (*part.scale_up_links).max(1) as f64;
    let default = ScaleUpLines { nvls: None, ..nvlink("nvlink4", 18.0).unwrap_or(GENERIC) };
    let data_sheet = part.scale_up_bandwidth.map_or(0.0, |b| b.get());
    match domain.kind {
        DomainKind::Switched => match nvlink(technology, links) {
            Some(lines) => (lines, true),
            None => (ScaleUpLines { rate: 0.8 * data_sheet, tuner_rate: 0.8 * data_sheet, ..default }, false),
        },
        DomainKind::CubeMesh => {
            let lines = nvlink("nvlink2", CUBE_RINGS[n.min(8)]).unwrap_or(default);
            (lines, true)
        }
        // MI300X: 48 of 64 GB/s usable a link; latencies assumed (20 + 4 us a step), no open sweep.
        DomainKind::FullMesh => {
            let rate = 0.75 * data_sheet * (n as f64 - 1.0) / (f64::from(domain.size) - 1.0).max(1.0);
            (
                ScaleUpLines {
                    rate,
                    tuner_rate: rate,
                    base: 20.0 * US,
                    hop: 4.0 * US,
                    bulk_base: 20.0 * US,
                    bulk_hop: 4.0 * US,
                    ..default
                },
                false,
            )
        }
        DomainKind::Torus => (ScaleUpLines { rate: 0.9 * data_sheet / 2.0, tuner_rate: 0.9 * data_sheet / 2.0, ..default }, false),
        // PCIe boxes: 0.75 of DMA rate for a pair, 0.47 where a ring crosses root ports; LL floors of L40S and RTX PRO 6000.
        DomainKind::Pcie => {
            let dma = data_sheet_of_host_link(fabric, domain);
            let rate = if n == 2 { 0.75 * dma } else { 0.47 * dma };
            (
                ScaleUpLines {
                    rate,
                    tuner_rate: rate,
                    base: 3.1 * US,
                    hop: 1.4 * US,
                    bulk_base: 12.0 * US,
                    bulk_hop: 5.0 * US,
                    copy: 0.0,
                    ..default
                },
                false,
            )
        }
    }
}

fn data_sheet_of_host_link(fabric: &Fabric, domain: &Domain) -> f64 {
    let site = fabric.site(domain.first);
    fabric.link(site.host_link()).capacity
}

const GENERIC: ScaleUpLines = ScaleUpLines {
    rate: 100.0 * GB,
    tuner_rate: 100.0 * GB,
    base: 6.0 * US,
    hop: 1.0 * US,
    spread: 1.0 * US,
    bulk_base: 15.0 * US,
    bulk_hop: 5.0 * US,
    nvls: None,
    ll_cap: 100.0 * GB,
    nvls_tuner: (60.0 * GB, 0.85),
    ll128: false,
    copy: 0.6,
};

/// Latency of a collective across `nodes` nodes: of a ring, of a tree, and what a bulk transfer adds, in seconds.
///
/// InfiniBand and RoCE: 15 us and 5 us a node up to 64 (training steps of three sources feel it; A100 over InfiniBand shows
/// floors of 41 to 65 us across two nodes). EFA: plateaus of 217 us (2 nodes) and 383 us (4 nodes), later full rate.
/// Omni-Path as InfiniBand, TCP three times it: assumed.
pub(super) fn network_latency(protocol: NicProtocol, nodes: f64) -> (f64, f64, f64) {
    let levels = libm::log2(nodes.max(1.0)).ceil();
    let ring = (15.0 + 5.0 * nodes.min(64.0)) * US;
    let tree = (15.0 + 12.0 * levels) * US;
    match protocol {
        NicProtocol::Efa => ((50.0 + 170.0 * levels) * US, (50.0 + 170.0 * levels) * US, 400.0 * US),
        NicProtocol::Tcp => (3.0 * ring, 3.0 * tree, 0.0),
        _ => (ring, tree, 0.0),
    }
}
