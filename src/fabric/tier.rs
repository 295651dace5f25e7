//! A storage tier as the models see it: rates of its servers and clients, latency, size, price, from what the topology says.

use super::tiers::{LocalDrivesInput, ObjectStoreInput, ServersInput, StorageTierInput};
use crate::diag::At;
use crate::units::{Bytes, BytesPerSecond, MONTH, Seconds, Usd};

/// What a tier is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierKind {
    /// The drives of the nodes.
    Local,
    /// Servers of a file system.
    FileSystem,
    /// Controllers of a disk array.
    DiskArray,
    /// Gateways of an object store.
    ObjectStore,
    /// Memory of the nodes' CPUs.
    HostMemory,
    /// Memory behind CXL.
    CxlPool,
}

impl TierKind {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local drives",
            Self::FileSystem => "file system",
            Self::DiskArray => "disk array",
            Self::ObjectStore => "object store",
            Self::HostMemory => "host memory",
            Self::CxlPool => "CXL memory",
        }
    }
    /// Whether every node has its own part.
    #[must_use]
    pub const fn is_local(self) -> bool {
        matches!(self, Self::Local | Self::HostMemory | Self::CxlPool)
    }
}

/// One direction of a tier.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// What one server (or all drives of one node) carries, bytes per second.
    pub bandwidth: f64,
    /// Requests of one server in a second.
    pub iops: f64,
    /// What one node's client software reaches, bytes per second.
    pub client: f64,
    /// Requests and files that one node's client software handles in a second.
    pub client_iops: f64,
    /// Files that it opens in a second.
    pub client_opens: f64,
    /// Requests of all nodes together in a second (limits of prefixes); infinite where there is none.
    pub requests: f64,
}

/// A storage tier as the models see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Tier {
    /// Name.
    pub name: String,
    /// What it is.
    pub kind: TierKind,
    /// Servers, controllers, gateways; for local drives the drives of one node, for memory behind CXL the nodes of one pool.
    pub servers: u32,
    /// Reading.
    pub read: Rates,
    /// Writing.
    pub write: Rates,
    /// Seconds of one small request on an idle tier.
    pub latency: f64,
    /// Bytes of one request of a large file.
    pub request: f64,
    /// Requests in flight from one node.
    pub depth: f64,
    /// Bytes per second of one request once it flows; infinite where nothing limits it.
    pub stream: f64,
    /// Files opened or committed in a second.
    pub metadata_rate: f64,
    /// Servers that one file is spread over.
    pub stripes: u32,
    /// Bytes.
    pub capacity: f64,
    /// Dollars for a byte and second, where a price is given.
    pub price: Option<f64>,
    /// The other region that it lies in, with the bytes per second of the link to there.
    pub region: Option<(String, f64)>,
}

/// Share of a node's ports that file-system clients reach: large reads over RDMA 0.7, writes 0.5 (MLPerf Storage v1.0 systems:
/// median 0.41, best 0.72 of the stated rate).
const CLIENT_READ: f64 = 0.7;
const CLIENT_WRITE: f64 = 0.5;
/// The same for a disk array over a general network file system (0.24 to 0.48 in MLPerf Storage v1.0), write 0.7 of read.
const ARRAY_READ: f64 = 0.45;
const ARRAY_WRITE: f64 = 0.315;

impl StorageTierInput {
    /// The tier on a cluster whose nodes reach `ports` bytes per second and carry `drives` (bandwidths, rates, latency, bytes, count), or
    /// memory: bytes and bytes per second of a node, and the number of nodes.
    pub(super) fn tier(&self, ports: f64, drives: Option<Drives>, memory: (f64, f64, f64)) -> Option<Tier> {
        let price = |usd: Option<Usd>| usd.map(|p| p.get() / 1e9 / MONTH);
        Some(match self {
            Self::Local(t) => local_tier(t, drives?, price(*t.price_per_gb_month)),
            Self::HostMemory(t) => {
                let capacity = *t.share * memory.0 * memory.2;
                memory_tier((&t.name, TierKind::HostMemory), 1, (memory.1, HOST_LATENCY), capacity, price(*t.price_per_gb_month))
            }
            Self::CxlPool(t) => {
                let nodes = few(*t.nodes);
                let rate = t.pool_bandwidth.map_or(f64::from(nodes) * t.port_bandwidth.get(), BytesPerSecond::get);
                let capacity = t.capacity.get() * (memory.2 / f64::from(nodes)).ceil();
                memory_tier((&t.name, TierKind::CxlPool), nodes, (rate, t.latency.get()), capacity, price(*t.price_per_gb_month))
            }
            Self::FileSystem(t) => server_tier(t, TierKind::FileSystem, ports, price(*t.price_per_gb_month)),
            Self::DiskArray(t) => server_tier(t, TierKind::DiskArray, ports, price(*t.price_per_gb_month)),
            Self::ObjectStore(t) => store_tier(t, price(*t.price_per_gb_month)),
        })
    }
}

/// Seconds of an access to the memory of a CPU.
const HOST_LATENCY: f64 = 1e-7;

/// A count of machines, no more than there could be.
fn few(count: u64) -> u32 {
    count.min(1 << 20) as u32
}

/// Drives of the nodes.
fn local_tier(t: &LocalDrivesInput, d: Drives, price: Option<f64>) -> Tier {
    let no = f64::INFINITY;
    let rates = |bandwidth, iops| Rates { bandwidth, iops, client: no, client_iops: no, client_opens: no, requests: no };
    Tier {
        name: t.name.value.clone(),
        kind: TierKind::Local,
        servers: d.count,
        read: rates(d.read, d.read_iops),
        write: rates(d.write, d.write_iops),
        latency: d.latency,
        request: t.request.get(),
        depth: *t.depth as f64,
        stream: f64::INFINITY,
        metadata_rate: f64::INFINITY,
        stripes: 1,
        capacity: d.capacity,
        price,
        region: None,
    }
}

/// Servers of a file system, or controllers of an array.
fn server_tier(t: &ServersInput, kind: TierKind, ports: f64, price: Option<f64>) -> Tier {
    let array = kind == TierKind::DiskArray;
    let port = t.port_bandwidth.map_or(ports, BytesPerSecond::get);
    let share = if array { (ARRAY_READ, ARRAY_WRITE) } else { (CLIENT_READ, CLIENT_WRITE) };
    let client = |given: Option<BytesPerSecond>, share: f64| given.map_or(share * port, BytesPerSecond::get);
    let rates = |bandwidth: f64, iops, client| Rates {
        bandwidth,
        iops,
        client,
        client_iops: *t.client_iops,
        client_opens: *t.client_opens,
        requests: f64::INFINITY,
    };
    Tier {
        name: t.name.value.clone(),
        kind,
        servers: few(*t.servers),
        read: rates(t.server_read.get(), *t.server_read_iops, client(*t.client_read, share.0)),
        write: rates(t.server_write.get(), *t.server_write_iops, client(*t.client_write, share.1)),
        latency: t.latency.get(),
        request: t.request.get(),
        depth: *t.depth as f64,
        stream: f64::INFINITY,
        metadata_rate: *t.metadata_rate,
        stripes: few(t.stripes.unwrap_or(4).min(*t.servers)),
        capacity: t.capacity.get(),
        price,
        region: None,
    }
}

/// Gateways of an object store.
fn store_tier(t: &ObjectStoreInput, price: Option<f64>) -> Tier {
    let no = f64::INFINITY;
    let rates = |limit: f64| Rates {
        bandwidth: t.gateway_bandwidth.get(),
        iops: no,
        client: no,
        client_iops: no,
        client_opens: no,
        requests: limit * *t.prefixes as f64,
    };
    Tier {
        name: t.name.value.clone(),
        kind: TierKind::ObjectStore,
        servers: few(*t.gateways),
        read: rates(*t.get_rate),
        write: rates(*t.put_rate),
        // Far requests wait for the way there and back too.
        latency: t.first_byte.get() + t.wan_round_trip.map_or(0.0, Seconds::get),
        request: t.part.get(),
        depth: *t.streams as f64,
        stream: t.stream_bandwidth.get(),
        metadata_rate: f64::INFINITY,
        stripes: 1,
        capacity: t.capacity.map_or(f64::INFINITY, Bytes::get),
        price,
        region: t.region.value.clone().zip(t.wan_bandwidth.map(BytesPerSecond::get)),
    }
}

/// A tier that is memory: any number of accesses at once.
fn memory_tier(
    (name, kind): (&At<String>, TierKind),
    nodes: u32,
    (bandwidth, latency): (f64, f64),
    capacity: f64,
    price: Option<f64>,
) -> Tier {
    let no = f64::INFINITY;
    let rates = Rates { bandwidth, iops: no, client: no, client_iops: no, client_opens: no, requests: no };
    Tier {
        name: name.value.clone(),
        kind,
        servers: nodes,
        read: rates,
        write: rates,
        latency,
        request: 1_048_576.0,
        depth: no,
        stream: no,
        metadata_rate: no,
        stripes: 1,
        capacity,
        price,
        region: None,
    }
}

/// All drives of one node together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drives {
    pub(super) count: u32,
    pub(super) read: f64,
    pub(super) write: f64,
    pub(super) read_iops: f64,
    pub(super) write_iops: f64,
    pub(super) latency: f64,
    pub(super) capacity: f64,
}
