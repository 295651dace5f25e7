//! What fails: classes of failures with rates, effects and what is lost with them; presets with sources.

use crate::diag::{Count, Decode, Diagnostics, Finite, List, Name, Node, NonNeg, Pos, Share, Style, Text, render};
use crate::fabric::{Fabric, NodeId, PlaceKind};
use crate::units::{DAY, Seconds};
use crate::{choice, record};
use std::sync::OnceLock;

choice! {
    /// What a failure does to the job.
    pub enum EffectKind {
        /// The job stops and starts again from a checkpoint.
        Stop = "stop",
        /// One accelerator is slow for a while, and all wait for it.
        Slow = "slow",
        /// The job hangs for a while and goes on (a link flap, a retry).
        Pause = "pause",
        /// Values are wrong from now on; found later, the job goes back to a checkpoint from before.
        Corrupt = "corrupt",
        /// Planned: a checkpoint is taken first, so no work is lost.
        Planned = "planned",
    }
}

choice! {
    /// What is lost with a failure; checkpoints that live there are lost too.
    pub enum Loses {
        /// The processes: memory of the hosts survives.
        Process = "process",
        /// A node with its memory and drives.
        Node = "node",
        /// Several nodes of a domain at once (switch, rack, power).
        Domain = "domain",
        /// The whole region with all its storage.
        Region = "region",
    }
}

choice! {
    /// What a mean time between failures is given for.
    pub enum Component {
        /// One accelerator.
        Accelerator = "accelerator",
        /// One NIC.
        Nic = "nic",
        /// One node.
        Node = "node",
        /// The whole job, or the whole fleet.
        Job = "job",
        /// A region: of a job the one in which it runs, of a fleet each of them.
        Region = "region",
        /// A leaf switch: all nodes with a port on it.
        Leaf = "leaf",
        /// A rack: `nodes_per_rack` of the topology's `[site]`, or the nodes of a scale-up domain.
        Rack = "rack",
        /// A power domain: `racks_per_power_domain` of the topology's `[site]`.
        Power = "power",
    }
}

record! {
    /// A class of failures.
    pub struct FailureClassInput {
        /// Its name.
        pub name: Name,
        /// Failures in 1,000 days of a node of eight accelerators.
        pub per_1000_node_days: Option<Finite>,
        /// Mean time between failures of one component.
        pub mtbf: Option<Pos<Seconds>>,
        /// Which component `mtbf` is of; absent: node.
        pub component: Option<Component>,
        /// What it does to the job.
        pub effect: EffectKind = EffectKind::Stop,
        /// What is lost with it; absent: node (stops), process (otherwise).
        pub loses: Option<Loses>,
        /// Nodes that it takes at once (`loses = "domain"`); those of a leaf, rack or power domain follow from the topology.
        pub nodes: Option<Count>,
        /// Weibull shape; below 1 failures come early in a cluster's life. Absent: 1 (exponential).
        pub shape: Option<Finite>,
        /// Whether a new part takes the place of a failed one (its age begins anew); else it is repaired and as old as before.
        pub renewed: bool = false,
        /// Time until it is noticed; absent: the one of `[failures]`.
        pub detect: Option<NonNeg<Seconds>>,
        /// How long it lasts (slow, pause, planned, loss of a region).
        pub lasts: Option<Pos<Seconds>>,
        /// Share of its speed that a slow accelerator keeps.
        pub speed: Option<Share>,
        /// Time until wrong values are found (corrupt).
        pub found_after: Option<Pos<Seconds>>,
    }
}

record! {
    /// A preset: what a published fleet saw.
    pub struct FailurePreset {
        /// Its name.
        pub id: Name,
        /// What it is, for people.
        pub title: Text,
        /// Where the figures come from.
        pub source: Text,
        /// Its classes.
        pub class: List<FailureClassInput>,
    }
}

record! {
    /// The file of presets.
    pub struct FailureFile {
        /// Presets.
        pub preset: List<FailurePreset>,
    }
}

/// All presets.
pub fn failure_presets() -> &'static [FailurePreset] {
    static PRESETS: OnceLock<Vec<FailurePreset>> = OnceLock::new();
    PRESETS.get_or_init(|| {
        let mut diags = Diagnostics::new();
        let source = diags.add_source("operations/failures.toml", include_str!("failures.toml"));
        let file = Node::parse(source, &mut diags).and_then(|node| FailureFile::decode(&node, &mut diags));
        let Some(file) = file else { panic!("the embedded presets are faulty:\n{}", render(&diags, Style::Plain)) };
        file.preset.value.into_iter().map(|s| s.value).collect()
    })
}

/// What a failure does, with its figures in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// Stops the job.
    Stop,
    /// Holds it up: wall seconds that are lost (a pause, or a slow accelerator's length times what it slows).
    Hold {
        /// Seconds lost.
        lost: f64,
        /// Whether a slow accelerator is the cause.
        straggler: bool,
    },
    /// Wrong values, found after a while.
    Corrupt {
        /// Seconds until they are found.
        found_after: f64,
    },
    /// A planned stop.
    Planned {
        /// Seconds that it lasts.
        lasts: f64,
    },
}

/// A class of failures of one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Failures of the whole job in a second (mean over a long time).
    pub rate: f64,
    /// Parts that can fail (matters for shapes other than 1).
    pub parts: f64,
    /// Weibull shape.
    pub shape: f64,
    /// Whether a new part takes the place of a failed one.
    pub renewed: bool,
    /// What it does.
    pub effect: Effect,
    /// What is lost with it.
    pub loses: Loses,
    /// Nodes that have to be replaced.
    pub nodes: u32,
    /// Seconds until it is noticed.
    pub detect: f64,
    /// Seconds after that until there are nodes again (loss of a region).
    pub outage: f64,
}

/// Nodes that fail far more often than others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lemons {
    /// How many there are at the start.
    pub count: u32,
    /// Share of the failures with a node that are theirs.
    pub share: f64,
    /// Failures of one after which it is taken out; `None`: never.
    pub removed_after: Option<u32>,
}

/// Parts that can fail.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counts {
    /// Nodes.
    pub nodes: f64,
    /// Accelerators.
    pub accelerators: f64,
    /// NICs.
    pub nics: f64,
    /// Regions.
    pub regions: f64,
    /// Leaves, racks and power domains, each with its nodes in the mean, where the topology says what belongs together.
    pub places: [Option<(f64, f64)>; 3],
}

impl Counts {
    /// Those of a fabric.
    #[must_use]
    pub fn of(fabric: &Fabric) -> Self {
        let nics = (0..fabric.node_count()).map(|n| f64::from(fabric.nics_per_node(NodeId(n as u32)))).sum();
        let places = [PlaceKind::Leaf, PlaceKind::Rack, PlaceKind::Power].map(|kind| {
            let sizes = fabric.places_of(kind);
            let all: u32 = sizes.iter().sum();
            (all > 0).then(|| (sizes.len() as f64, f64::from(all) / sizes.len() as f64))
        });
        Self { nodes: fabric.node_count() as f64, accelerators: fabric.accelerator_count() as f64, nics, regions: 1.0, places }
    }
}

/// Failures of the job in a second and the parts that can fail, from a class's own key.
#[must_use]
pub fn rate_of(input: &FailureClassInput, counts: &Counts) -> (f64, f64) {
    let Counts { nodes, accelerators, nics, .. } = *counts;
    if let Some(mtbf) = *input.mtbf {
        let parts = match input.component.unwrap_or(Component::Node) {
            Component::Accelerator => accelerators,
            Component::Nic => nics,
            Component::Node => nodes,
            Component::Job => 1.0,
            Component::Region => counts.regions,
            Component::Leaf | Component::Rack | Component::Power => domain_nodes(input, counts).map_or(0.0, |d| d.0),
        };
        return (parts / mtbf.get(), parts);
    }
    let parts = accelerators / 8.0;
    (input.per_1000_node_days.unwrap_or(0.0) / 1000.0 / DAY * parts, parts)
}

/// How many domains of the class's component there are, and the nodes of one in the mean; `None` where the component is no domain or the
/// topology does not say what belongs together.
#[must_use]
pub fn domain_nodes(input: &FailureClassInput, counts: &Counts) -> Option<(f64, f64)> {
    match (*input.component)? {
        Component::Leaf => counts.places[0],
        Component::Rack => counts.places[1],
        Component::Power => counts.places[2],
        _ => None,
    }
}
