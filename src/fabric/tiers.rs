//! The `[[storage]]` tables of a topology: drives of the nodes, file systems, object stores and disk arrays, and where they are plugged in.

use crate::diag::{At, Count, Diagnostic, Diagnostics, Finite, List, Name, NonNeg, Pos, Share, Span, codes};
use crate::units::{Bytes, BytesPerSecond, Seconds, Usd};
use crate::{choice, record, tagged};

choice! {
    /// Which network leads to the servers of a tier.
    pub enum StorageNetwork {
        /// The one that collectives use: through the NICs and leaves of the fabric.
        Shared = "shared",
        /// One of its own: a port of every node and a switch that never blocks.
        Own = "own",
    }
}

record! {
    /// The drives of the nodes, each node for itself.
    pub struct LocalDrivesInput {
        /// Name of the tier.
        pub name: Name,
        /// Requests in flight at most, from one node.
        pub depth: Count = 256,
        /// Bytes of one request of a large file.
        pub request: Pos<Bytes> = Bytes::new(1_048_576.0),
        /// Price of a gigabyte for a month.
        pub price_per_gb_month: Option<NonNeg<Usd>>,
    }
}

record! {
    /// Servers of a parallel file system, or controllers of a disk array.
    pub struct ServersInput {
        /// Name of the tier.
        pub name: Name,
        /// Object servers (controllers of an array).
        pub servers: Count,
        /// What one server reads.
        pub server_read: Pos<BytesPerSecond>,
        /// What one server writes, copies and parity included.
        pub server_write: Pos<BytesPerSecond>,
        /// Requests that one server reads in a second.
        pub server_read_iops: Finite = 500_000.0,
        /// Requests that one server writes in a second.
        pub server_write_iops: Finite = 200_000.0,
        /// Time of one small request on idle servers.
        pub latency: NonNeg<Seconds> = Seconds::new(5e-4),
        /// Bytes of one request of a large file.
        pub request: Pos<Bytes> = Bytes::new(1_048_576.0),
        /// Requests in flight at most, from one node.
        pub depth: Count = 256,
        /// Servers that one file is spread over; absent: four, or all where there are fewer.
        pub stripes: Option<Count>,
        /// Files that the metadata servers open or commit in a second.
        pub metadata_rate: Finite = 50_000.0,
        /// What the client software of one node reads at most; absent: 0.7 of the node's ports.
        pub client_read: Option<Pos<BytesPerSecond>>,
        /// What the client software of one node writes at most; absent: 0.5 of the node's ports.
        pub client_write: Option<Pos<BytesPerSecond>>,
        /// Requests that the client software of one node handles in a second. Default 500,000 (RDMA clients of MLPerf Storage v1.0:
        /// 0.36 to 0.83 million, from large and small reads of the same host).
        pub client_iops: Finite = 500_000.0,
        /// Files that the client software of one node opens in a second. Default 20,000 (the same clients: 14,000 to 32,000).
        pub client_opens: Finite = 20_000.0,
        /// Size of the tier.
        pub capacity: Pos<Bytes>,
        /// Which network leads there.
        pub network: StorageNetwork = StorageNetwork::Shared,
        /// The port of every node on a network of its own.
        pub port_bandwidth: Option<Pos<BytesPerSecond>>,
        /// Where the servers are plugged in, such as `leaf 3` or the name of a switch; absent: spread over the leaves of the nodes.
        pub at: Option<List<Name>>,
        /// Price of a gigabyte for a month.
        pub price_per_gb_month: Option<NonNeg<Usd>>,
    }
}

record! {
    /// A share of the memory of the nodes' CPUs: page cache, or coherent memory where accelerators reach it over NVLink-C2C. What
    /// accelerators reach of it is set by their link to the host, what a node reaches by its memory.
    pub struct HostMemoryInput {
        /// Name of the tier.
        pub name: Name,
        /// Share of a node's memory. Default 0.5: the rest is the job's own.
        pub share: Share = 0.5,
        /// Price of a gigabyte for a month.
        pub price_per_gb_month: Option<NonNeg<Usd>>,
    }
}

record! {
    /// Memory behind CXL: an expander of one node, or a pool of several.
    pub struct CxlPoolInput {
        /// Name of the tier.
        pub name: Name,
        /// Nodes that share one pool.
        pub nodes: Count = 1,
        /// Size of one pool.
        pub capacity: Pos<Bytes>,
        /// What one node carries, each direction. Default 50 GB/s (x16 of generation 5 less 20 % of protocol; from memory, unverified).
        pub port_bandwidth: Pos<BytesPerSecond> = BytesPerSecond::new(50e9),
        /// What the memory of one pool gives or takes; absent: what its ports carry together.
        pub pool_bandwidth: Option<Pos<BytesPerSecond>>,
        /// Time of one access. Default 0.6 us (expanders 0.2 to 0.4 us, a switch more; from memory, unverified).
        pub latency: NonNeg<Seconds> = Seconds::new(6e-7),
        /// Price of a gigabyte for a month.
        pub price_per_gb_month: Option<NonNeg<Usd>>,
    }
}

record! {
    /// An object store behind gateways.
    pub struct ObjectStoreInput {
        /// Name of the tier.
        pub name: Name,
        /// Gateways (front ends) that the store has in this network.
        pub gateways: Count = 4,
        /// What one gateway carries, each direction.
        pub gateway_bandwidth: Pos<BytesPerSecond>,
        /// Time to the first byte. Default 0.1 s (providers' guidance: 100 to 200 ms).
        pub first_byte: NonNeg<Seconds> = Seconds::new(0.1),
        /// What one connection carries once it flows. Default 85 MB/s (providers' guidance).
        pub stream_bandwidth: Pos<BytesPerSecond> = BytesPerSecond::new(85e6),
        /// Connections of one node.
        pub streams: Count = 64,
        /// Bytes of one part of a large object.
        pub part: Pos<Bytes> = Bytes::new(8_388_608.0),
        /// Prefixes that the objects are spread over.
        pub prefixes: Count = 1,
        /// GET requests for one prefix in a second (published limit 5,500).
        pub get_rate: Finite = 5_500.0,
        /// PUT requests for one prefix in a second (published limit 3,500).
        pub put_rate: Finite = 3_500.0,
        /// Size of the tier; absent: without end.
        pub capacity: Option<Pos<Bytes>>,
        /// Which network leads there.
        pub network: StorageNetwork = StorageNetwork::Shared,
        /// The port of every node on a network of its own.
        pub port_bandwidth: Option<Pos<BytesPerSecond>>,
        /// Where the gateways are plugged in; absent: spread over the leaves of the nodes.
        pub at: Option<List<Name>>,
        /// The other region that the store lies in, behind a wide-area link; absent: here.
        pub region: Option<Name>,
        /// What the wide-area link carries, each direction (with `region`).
        pub wan_bandwidth: Option<Pos<BytesPerSecond>>,
        /// Time of a request over the wide-area link and back (with `region`).
        pub wan_round_trip: Option<Pos<Seconds>>,
        /// Price of a gigabyte for a month.
        pub price_per_gb_month: Option<NonNeg<Usd>>,
    }
}

tagged! {
    /// A storage tier.
    pub enum StorageTierInput by kind {
        /// The drives of the nodes.
        Local(LocalDrivesInput) = "local-drives",
        /// A parallel file system.
        FileSystem(ServersInput) = "file-system",
        /// A disk array behind controllers.
        DiskArray(ServersInput) = "disk-array",
        /// An object store.
        ObjectStore(ObjectStoreInput) = "object-store",
        /// Memory of the nodes' CPUs.
        HostMemory(HostMemoryInput) = "host-memory",
        /// Memory behind CXL.
        CxlPool(CxlPoolInput) = "cxl-pool",
    }
}

/// Where a tier is plugged in.
pub(super) struct Plug<'a> {
    pub(super) network: StorageNetwork,
    pub(super) port: Option<f64>,
    pub(super) at: Option<&'a [At<String>]>,
}

impl StorageTierInput {
    /// The tier's name.
    #[must_use]
    pub fn name(&self) -> &At<String> {
        match self {
            Self::Local(t) => &t.name,
            Self::FileSystem(t) | Self::DiskArray(t) => &t.name,
            Self::ObjectStore(t) => &t.name,
            Self::HostMemory(t) => &t.name,
            Self::CxlPool(t) => &t.name,
        }
    }

    /// Where it is plugged in; `None` for what every node has.
    pub(super) fn plug(&self) -> Option<Plug<'_>> {
        let (network, port, at) = match self {
            Self::Local(_) | Self::HostMemory(_) | Self::CxlPool(_) => return None,
            Self::FileSystem(t) | Self::DiskArray(t) => (&t.network, &t.port_bandwidth, &t.at),
            Self::ObjectStore(t) => (&t.network, &t.port_bandwidth, &t.at),
        };
        Some(Plug { network: **network, port: port.map(BytesPerSecond::get), at: at.value.as_deref() })
    }

    /// Keys that do nothing together; false after a report.
    pub(super) fn fits(&self, diags: &mut Diagnostics) -> bool {
        let before = diags.error_count();
        let (network, port, at, stripes) = match self {
            Self::Local(_) => return true,
            Self::HostMemory(t) => {
                return memory_fits(*t.share > 0.0 && *t.share <= 0.95, t.share.span, "a share of memory between 0 and 0.95", diags);
            }
            Self::CxlPool(t) => return memory_fits(*t.nodes <= 1024, t.nodes.span, "at most 1,024 nodes share a pool", diags),
            Self::FileSystem(t) | Self::DiskArray(t) => (&t.network, &t.port_bandwidth, &t.at, Some((&t.stripes, *t.servers))),
            Self::ObjectStore(t) => (&t.network, &t.port_bandwidth, &t.at, None),
        };
        let own = **network == StorageNetwork::Own;
        let mut conflict = |span, message: &str, hint: &str| {
            diags.push(Diagnostic::error(codes::CONFLICT, message).at(span, "here").hint(hint));
        };
        if own && port.is_none() {
            conflict(network.span, "a storage network of its own needs the port of every node", "give `port_bandwidth`");
        }
        if !own && port.is_some() {
            conflict(port.span, "`port_bandwidth` does nothing on the shared network", "set network = \"own\", or leave it out");
        }
        if let Self::ObjectStore(t) = self {
            for (given, span, name) in [
                (t.wan_bandwidth.is_some(), t.wan_bandwidth.span, "wan_bandwidth"),
                (t.wan_round_trip.is_some(), t.wan_round_trip.span, "wan_round_trip"),
            ] {
                match (t.region.is_some(), given) {
                    (false, true) => conflict(span, &format!("`{name}` does nothing without `region`"), "name the region, or leave it out"),
                    (true, false) => conflict(t.region.span, "a store in another region needs its link", &format!("give `{name}`")),
                    _ => {}
                }
            }
        }
        if own && at.is_some() {
            conflict(at.span, "`at` does nothing on a storage network of its own", "leave it out");
        }
        if let Some((given, servers)) = stripes
            && given.is_some_and(|n| n > servers)
        {
            conflict(given.span, "a file is spread over more servers than there are", "give at most `servers`");
        }
        if self.servers() > 100_000 {
            diags.push(
                Diagnostic::error(codes::OUT_OF_RANGE, "so many servers are absurd")
                    .at(self.name().span, "this tier")
                    .hint("at most 100,000"),
            );
        }
        diags.error_count() == before
    }

    fn servers(&self) -> u64 {
        match self {
            Self::Local(_) | Self::HostMemory(_) | Self::CxlPool(_) => 0,
            Self::FileSystem(t) | Self::DiskArray(t) => *t.servers,
            Self::ObjectStore(t) => *t.gateways,
        }
    }
}

fn memory_fits(good: bool, span: Span, message: &str, diags: &mut Diagnostics) -> bool {
    if !good {
        diags.push(Diagnostic::error(codes::OUT_OF_RANGE, message.to_owned()).at(span, "out of range"));
    }
    good
}
