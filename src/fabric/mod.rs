//! The one graph of parts: accelerators, PCIe, CPUs, NICs and switches, with routes between accelerators.
//!
//! `input` is the topology file; `build` turns it into a petgraph with two directed edges a cable. Link ids follow from
//! the order of building, so that `route` finds the links of trees by arithmetic; only explicit fabrics search, with a
//! cached shortest-path distance table for each destination switch.
//!
//! Under `adaptive` routing every packet takes any of the equal-cost cables, which in a fluid model is one link with the
//! sum of their capacities: the graph then holds one bundle for the parallel cables of a layer. Under `static` and `ecmp`
//! every cable is a link of its own.

mod build;
mod connect;
mod degrade;
mod dragonfly;
mod elements;
mod explicit;
mod graph;
mod input;
mod latency;
mod measured;
mod memo;
mod node;
mod places;
mod route;
mod store;
mod store_route;
mod summary;
mod svg;
mod tier;
mod tiers;
mod tree;
mod view;

#[cfg(test)]
mod tests;

pub use graph::{AcceleratorId, Domain, DomainId, DomainKind, Fabric, Link, LinkId, LinkKind, NodeId, Site, Vertex};
pub use input::{
    DegradedInput, DragonflyInput, ExplicitInput, FabricInput, NodeInput, PathPolicy, ScaleUp, SingleInput, SiteInput, TopologyInput,
    TreeInput,
};
pub use measured::Served;
pub use memo::Memo;
pub use places::PlaceKind;
pub use store::TierId;
pub use summary::{TierSummary, TopologySummary};
pub use tier::{Rates, Tier, TierKind};
pub use tiers::{CxlPoolInput, HostMemoryInput, LocalDrivesInput, ObjectStoreInput, ServersInput, StorageNetwork, StorageTierInput};
