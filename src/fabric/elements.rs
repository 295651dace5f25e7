//! What the graph of a fabric is made of: vertices, links, the sites of accelerators and NICs, domains, the templates of nodes.

use super::route::ExplicitRoutes;
use super::tree::Tree;
use crate::hardware::{Accelerator, Drive, Host, Nic};

crate::ids! {
    /// A directed link.
    LinkId "link";
    /// A node (server, tray).
    NodeId "node";
    /// An accelerator, in rank order: node by node.
    AcceleratorId "accelerator";
    /// A scale-up domain.
    DomainId "domain";
}

/// A vertex of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vertex {
    /// An accelerator.
    Accelerator(AcceleratorId),
    /// The switches of a scale-up domain, as one.
    ScaleUpSwitch(DomainId),
    /// A PCIe switch of a node.
    PcieSwitch(NodeId, u8),
    /// A CPU socket of a node.
    Cpu(NodeId, u8),
    /// DRAM of a socket.
    Memory(NodeId, u8),
    /// A NIC of a node (several that serve one accelerator count as one).
    Nic(NodeId, u8),
    /// A switch of the network: level from 0 (leaf), number.
    Switch(u8, u32),
    /// Drives of a node on one of its sockets.
    Drives(NodeId, u8),
    /// A server of a storage tier: number of the tier, number of the server.
    StorageServer(u8, u32),
    /// The switch of a tier that has a network of its own.
    StorageSwitch(u8),
    /// The far end of the wide-area link to a tier in another region.
    Region(u8),
    /// A pool of memory behind CXL: number of the tier, number of the pool.
    Pool(u8, u32),
}

/// What a link connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkKind {
    /// Between accelerators of a domain.
    ScaleUp,
    /// Within a host over PCIe.
    Pcie,
    /// Between a CPU socket and its memory.
    HostMemory,
    /// Between CPU sockets.
    Socket,
    /// Between NIC and leaf.
    Nic,
    /// Between leaf and spine.
    Leaf,
    /// Between spine and core.
    Spine,
    /// Between a CPU socket and drives.
    Drive,
    /// Between a storage server and its switch.
    Storage,
    /// Between a node and the switch of a storage network of its own.
    StorageNic,
    /// To another region.
    Wan,
    /// Between a node and memory behind CXL.
    Cxl,
}

impl LinkKind {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScaleUp => "scale-up link",
            Self::Pcie => "PCIe",
            Self::HostMemory => "host memory",
            Self::Socket => "CPU socket link",
            Self::Nic => "NIC",
            Self::Leaf => "leaf uplink",
            Self::Spine => "spine uplink",
            Self::Drive => "drives",
            Self::Storage => "storage server",
            Self::StorageNic => "storage port",
            Self::Wan => "wide-area link",
            Self::Cxl => "CXL port or pool",
        }
    }
}

/// A directed link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Usable bytes per second.
    pub capacity: f64,
    /// Seconds.
    pub latency: f64,
    /// What it connects.
    pub kind: LinkKind,
}

/// Two directions of a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cable {
    /// Away from the accelerator (up).
    pub(super) up: LinkId,
    /// Towards it.
    pub(super) down: LinkId,
}

/// Where an accelerator sits.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    /// Its number in the fabric, whatever rank stands on it ([`with_ranks`](super::Fabric::with_ranks)).
    pub own: AcceleratorId,
    /// Its node.
    pub node: NodeId,
    /// Its number on the node.
    pub local: u32,
    /// Its scale-up domain.
    pub domain: DomainId,
    /// Its template.
    pub(super) template: u32,
    /// To the scale-up switch, where there is one.
    pub(super) scale_up: Option<Cable>,
    /// To its PCIe switch.
    pub(super) pcie: Cable,
    /// Number of its PCIe switch on the node.
    pub(super) pcie_switch: u8,
    /// Index into the fabric's NICs, where the node has any.
    pub(super) nic: Option<u32>,
}

impl Site {
    /// The link from the accelerator to its PCIe switch.
    #[must_use]
    pub const fn host_link(&self) -> LinkId {
        self.pcie.up
    }
}

/// How a domain is wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainKind {
    /// All-to-all through switches.
    Switched,
    /// DGX-1 cube mesh.
    CubeMesh,
    /// A link between every two.
    FullMesh,
    /// Torus.
    Torus,
    /// No scale-up links: PCIe and CPUs.
    Pcie,
}

/// A scale-up domain.
#[derive(Debug, Clone)]
pub struct Domain {
    /// How it is wired.
    pub kind: DomainKind,
    /// Its first accelerator; members are consecutive.
    pub first: AcceleratorId,
    /// Members.
    pub size: u32,
    /// Sides of a torus.
    pub torus: Vec<u32>,
    /// Whether a torus closes in every dimension.
    pub wrap: bool,
    /// Direct links by (from, to) for meshes, by (from, dimension × 2 + direction) for a torus.
    pub(super) direct: Vec<Option<LinkId>>,
    /// Links of each pair in a cube mesh.
    pub(super) width: usize,
}

/// A NIC, or several that serve one accelerator, as one.
#[derive(Debug, Clone, Copy)]
pub(super) struct NicSite {
    pub(super) pcie: Cable,
    pub(super) pcie_switch: u8,
    pub(super) network: Option<Cable>,
    /// Leaf of its plane (or explicit switch) that it is plugged into.
    pub(super) leaf: u32,
    /// Plane that it belongs to.
    pub(super) plane: u32,
    /// Its number on the node.
    pub(super) rail: u32,
    /// End-point latency.
    pub(super) latency: f64,
}

/// PCIe switches and sockets of a node.
#[derive(Debug, Clone)]
pub(super) struct Inside {
    /// PCIe switch to socket, for each switch.
    pub(super) switches: Vec<(Cable, u8)>,
    /// Links between sockets: socket 0 to 1 and so on around (from i to j at i × sockets + j).
    pub(super) sockets: Vec<Option<LinkId>>,
    pub(super) socket_count: u8,
    /// Socket to its memory, for each socket.
    pub(super) memory: Vec<Cable>,
}

/// A node template with its parts.
#[derive(Debug, Clone)]
pub(super) struct Template {
    pub(super) name: String,
    pub(super) accelerator: Accelerator,
    pub(super) accelerators: u32,
    pub(super) kind: DomainKind,
    pub(super) domain_size: u32,
    pub(super) torus: Vec<u32>,
    pub(super) wrap: bool,
    pub(super) peer_copy_limit: Option<f64>,
    pub(super) peer_access: bool,
    pub(super) host: Host,
    pub(super) nic: Option<Nic>,
    pub(super) nics: u32,
    pub(super) drive: Option<(Drive, u64)>,
    pub(super) nodes: u32,
}

/// How nodes are connected.
#[derive(Debug, Clone)]
pub(super) enum Scale {
    None,
    /// Trees side by side, one for each plane.
    Trees(Vec<Tree>),
    Explicit(ExplicitRoutes),
}
