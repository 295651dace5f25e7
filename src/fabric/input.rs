//! The topology file: node templates and how they are connected.

use crate::diag::{Count, Finite, List, Name, NonNeg, Pos, Text, Whole};
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

choice! {
    /// Which of the equal-cost paths a flow takes.
    pub enum PathPolicy {
        /// One path, chosen by the destination.
        Static = "static",
        /// One path for each queue pair, chosen by a hash.
        Ecmp = "ecmp",
        /// All paths evenly.
        Adaptive = "adaptive",
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
        /// Sides of the torus.
        pub torus: Option<List<Count>>,
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
        /// One switch.
        Single(SingleInput) = "single-switch",
        /// No network.
        None(NoFabric) = "none",
        /// Switches and cables one by one.
        Explicit(ExplicitInput) = "explicit",
    }
}

record! {
    /// A topology file.
    pub struct TopologyInput {
        /// Format version.
        pub format: Count = 1,
        /// Title for people.
        pub title: Option<Text>,
        /// Description for people.
        pub description: Option<Text>,
        /// Node templates.
        pub node: List<NodeInput>,
        /// How nodes are connected.
        pub fabric: FabricInput,
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
    }
}
