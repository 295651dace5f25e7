//! The topology file: node templates and how they are connected.

use super::tiers::StorageTierInput;
use crate::diag::{Count, Finite, List, Name, NonNeg, Pos, Share, Text, Whole};
use crate::hardware::{Accelerator, Drive, Host, LinkTechnology, Nic, Price, Switch};
use crate::units::{BytesPerSecond, Seconds};
use crate::{choice, record, tagged};

choice! {
    /// How the accelerators of a node are connected among themselves.
    pub enum ScaleUp {
        /// All-to-all through NVLink switches.
        Nvswitch = "nvswitch",
        /// The NVLink cube mesh of the DGX-1 with eight V100.
        CubeMesh = "cube-mesh",
        /// A link between every two (xGMI, Gaudi).
        FullMesh = "full-mesh",
        /// A 2-D or 3-D torus (TPU ICI).
        Torus = "torus",
        /// Only PCIe and the CPUs.
        Pcie = "pcie",
    }
}

impl PathPolicy {
    /// Whether a flow uses all equal-cost paths, so that parallel cables are one bundle.
    #[must_use]
    pub const fn is_even(self) -> bool {
        matches!(self, Self::Adaptive | Self::Spray)
    }
}

choice! {
    /// Which of the equal-cost paths a flow takes.
    pub enum PathPolicy {
        /// One path, chosen by the destination.
        Static = "static",
        /// One path for each queue pair, chosen by a hash.
        Ecmp = "ecmp",
        /// The least loaded path, chosen by the switches: all paths evenly.
        Adaptive = "adaptive",
        /// Packet by packet over all paths, ordered again at the receiver: all paths evenly.
        Spray = "spray",
    }
}

record! {
    /// A node template.
    pub struct NodeInput {
        /// Its name.
        pub name: Name,
        /// Catalogue id of the accelerators.
        pub accelerator: Name,
        /// Accelerators of one node.
        pub accelerators: Count,
        /// How they are connected.
        pub scale_up: ScaleUp,
        /// Accelerators of a scale-up domain, where it spans nodes (72 for NVL72).
        pub scale_up_domain: Option<Count>,
        /// Scale-up links of each accelerator that this site has wired or that reach a collective; absent: all that the part has.
        pub scale_up_links: Option<Count>,
        /// Sides of the torus.
        pub torus: Option<List<Count>>,
        /// Whether the torus closes in every dimension (slices of optical switches: only in whole cubes); absent: yes.
        pub wrap: Option<bool>,
        /// What all peer copies of a PCIe node share (copies through host memory, a redirecting bridge), measured with all its accelerators.
        pub peer_copy_limit: Option<Pos<BytesPerSecond>>,
        /// Whether accelerators of a PCIe node copy straight into each other's memory. Without, copies are staged through host memory: cards on
        /// host bridges of their own in Intel and ARM hosts (as NCCL decides), and where a driver or an IOMMU forbids it.
        pub peer_access: Option<bool>,
        /// Catalogue id of the host.
        pub host: Name,
        /// Catalogue id of the NICs.
        pub nic: Option<Name>,
        /// NICs of one node.
        pub nics: Whole = 0,
        /// Catalogue id of the drives.
        pub drive: Option<Name>,
        /// Drives of one node.
        pub drives: Whole = 0,
        /// Nodes of this template, where there are several templates.
        pub count: Option<Count>,
    }
}

record! {
    /// A tree of switches.
    pub struct TreeInput {
        /// Nodes (with one template; with several each has its `count`).
        pub nodes: Option<Count>,
        /// Levels of switches: 2 or 3.
        pub levels: Count = 2,
        /// Down over up bandwidth of a leaf switch.
        pub oversubscription: Finite = 1.0,
        /// Down over up bandwidth of a spine switch (three levels).
        pub core_oversubscription: Finite = 1.0,
        /// Catalogue id of the switches.
        pub switch: Name,
        /// Which of the equal-cost paths a flow takes.
        pub path_policy: PathPolicy = PathPolicy::Adaptive,
        /// Queue pairs of a flow, each hashed by itself (ecmp).
        pub queue_pairs: Count = 1,
        /// Networks side by side, each with its own switches; NICs are dealt out to them in turn (rail kinds).
        pub planes: Option<Count>,
        /// Whether a rank reaches another rail through the rank of that rail on its own node (NCCL's PXN); absent: yes (rail kinds).
        pub pxn: Option<bool>,
    }
}

record! {
    /// Groups of routers, every group joined to every other.
    pub struct DragonflyInput {
        /// Nodes (with one template; with several each has its `count`).
        pub nodes: Option<Count>,
        /// Catalogue id of the routers.
        pub switch: Name,
        /// NICs on one router.
        pub terminals: Count,
        /// Routers of a group that carry NICs.
        pub routers: Count,
        /// Cables to other groups on one router (dragonfly) or on one spine (dragonfly-plus, which has as many spines as leaves).
        pub global_links: Count,
        /// Share of the traffic between groups that detours over a third group (Valiant), as adaptive routing does under load.
        pub detours: Share = 0.0,
        /// Which of the equal-cost paths a flow takes.
        pub path_policy: PathPolicy = PathPolicy::Adaptive,
        /// Queue pairs of a flow, each hashed by itself (ecmp).
        pub queue_pairs: Count = 1,
    }
}

record! {
    /// A part that is slower than its data sheet, or dead.
    pub struct DegradedInput {
        /// Which: `accelerator 17`, `accelerator 17 scale-up`, `node 3`, `node 3 NIC 2`, `leaf 5`, `leaf 5 uplink 3`, `spine 2`,
        /// `spine 2 uplink 1`, `core 0`, `switch NAME` (explicit fabrics).
        pub part: Name,
        /// Share of its bandwidth that is left; 0 is dead.
        pub capacity: Option<Share>,
        /// Share of its speed that is left (accelerators, nodes).
        pub speed: Option<Share>,
        /// A flapping port: how long it is down each time.
        pub down_for: Option<Pos<Seconds>>,
        /// A flapping port: how often.
        pub every: Option<Pos<Seconds>>,
    }
}

record! {
    /// One switch for all.
    pub struct SingleInput {
        /// Nodes (with one template; with several each has its `count`).
        pub nodes: Option<Count>,
        /// Catalogue id of the switch.
        pub switch: Name,
    }
}

record! {
    /// No network between nodes: one node, or the nodes of one scale-up domain.
    pub struct NoFabric {
        /// Nodes (several only within one scale-up domain).
        pub nodes: Count = 1,
    }
}

record! {
    /// A cable of an explicit fabric, the same in both directions.
    pub struct CableInput {
        /// One end: a switch, or a NIC as `node3.nic0`.
        pub from: Name,
        /// The other end.
        pub to: Name,
        /// Usable rate, one direction.
        pub bandwidth: Pos<BytesPerSecond>,
        /// Latency.
        pub latency: NonNeg<Seconds>,
    }
}

record! {
    /// Switches and cables one by one.
    pub struct ExplicitInput {
        /// Nodes (with one template; with several each has its `count`).
        pub nodes: Option<Count>,
        /// Names of the switches.
        pub switches: List<Name>,
        /// Cables.
        pub link: List<CableInput>,
        /// Which of the equal-cost paths a flow takes.
        pub path_policy: PathPolicy = PathPolicy::Adaptive,
        /// Queue pairs of a flow, each hashed by itself (ecmp).
        pub queue_pairs: Count = 1,
    }
}

tagged! {
    /// How nodes are connected.
    pub enum FabricInput by kind {
        /// A fat tree: consecutive NICs share a leaf.
        FatTree(TreeInput) = "fat-tree",
        /// A fat tree whose leaves each serve one rail: NIC r of many nodes.
        Rail(TreeInput) = "rail-optimised",
        /// Rails without a network between them: a plane for each.
        RailOnly(TreeInput) = "rail-only",
        /// Groups of routers, all joined within a group, every group joined to every other.
        Dragonfly(DragonflyInput) = "dragonfly",
        /// The same with groups of leaves and spines.
        DragonflyPlus(DragonflyInput) = "dragonfly-plus",
        /// One switch.
        Single(SingleInput) = "single-switch",
        /// No network.
        None(NoFabric) = "none",
        /// Switches and cables one by one.
        Explicit(ExplicitInput) = "explicit",
    }
}

record! {
    /// What stands together in the building: the domains of correlated failures.
    pub struct SiteInput {
        /// Nodes of a rack; absent: a scale-up domain of several nodes is a rack.
        pub nodes_per_rack: Option<Count>,
        /// Racks on one power feed.
        pub racks_per_power_domain: Option<Count>,
    }
}

record! {
    /// A topology file.
    pub struct TopologyInput {
        /// Format version.
        pub format: Count = 1,
        /// Title for people.
        pub title: Option<Text>,
        /// Node templates.
        pub node: List<NodeInput>,
        /// How nodes are connected.
        pub fabric: FabricInput,
        /// Racks and power domains.
        pub site: Option<SiteInput>,
        /// Accelerators that are in no catalogue, or replace one.
        pub accelerator: List<Accelerator> = Vec::new(),
        /// Link technologies of your own.
        pub link: List<LinkTechnology> = Vec::new(),
        /// NICs of your own.
        pub nic: List<Nic> = Vec::new(),
        /// Switches of your own.
        pub switch: List<Switch> = Vec::new(),
        /// Hosts of your own.
        pub host: List<Host> = Vec::new(),
        /// Drives of your own.
        pub drive: List<Drive> = Vec::new(),
        /// Prices of your own.
        pub price: List<Price> = Vec::new(),
        /// Storage tiers and where they are plugged in.
        pub storage: List<StorageTierInput> = Vec::new(),
        /// Parts that are slow, cut off or flapping.
        pub degraded: List<DegradedInput> = Vec::new(),
    }
}
