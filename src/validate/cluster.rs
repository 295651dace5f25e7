//! The cluster of a row: nodes, scale-up domains and NICs as the columns say, on switches that never limit.

use crate::diag::{Decode, Diagnostics, Node, Style, render};
use crate::fabric::{Fabric, TopologyInput};
use crate::hardware::Catalogue;
use crate::kernels::Profiles;

/// What a fabric for a row needs.
pub(super) struct Shape {
    pub(super) accelerator: String,
    pub(super) nodes: u64,
    pub(super) per_node: u64,
    pub(super) domain: Option<u64>,
    pub(super) nics: u64,
    pub(super) gbps: f64,
    pub(super) fabric: String,
    /// Scale-up links of each accelerator that the site has wired; absent: all.
    pub(super) links: Option<u64>,
    /// Whether the accelerators of a node are joined by links of their own, without a switch.
    pub(super) direct: bool,
    /// Whether PCIe cards copy straight into each other's memory, and what all copies of a box share, bytes a second; absent: the default.
    pub(super) peer_access: bool,
    pub(super) peer_copies: Option<f64>,
}

impl Shape {
    /// Nodes alone: no network, all links wired, through a switch where the part has one.
    pub(super) fn of(accelerator: &str, nodes: u64, per_node: u64) -> Self {
        Self {
            accelerator: accelerator.to_owned(),
            nodes,
            per_node,
            domain: None,
            nics: 0,
            gbps: 0.0,
            fabric: "none".into(),
            links: None,
            direct: has_no_switch(accelerator, 0),
            peer_access: true,
            peer_copies: None,
        }
    }
}

/// Whether the accelerators of a server, as many as its maker built in, have no switch: cards with bridges, and boards of four HGX modules, of
/// which each pair has a third of the links (how HGX boards are wired: from memory; published rows of such servers fit it); four GH200 are joined alike.
pub(super) fn has_no_switch(accelerator: &str, built_in: u64) -> bool {
    let modules = ["a100-sxm", "h100-sxm", "h200-sxm", "gh200"].iter().any(|part| accelerator.starts_with(part));
    accelerator.ends_with("-nvl") || modules && built_in == 4
}

/// A NIC of the catalogue by fabric and rate, and by the part where a cloud changed its adapters between two of its machines.
fn nic(part: &str, fabric: &str, gbps: f64) -> Result<&'static str, String> {
    let first_generation = ["v100", "a100", "t4"].iter().any(|p| part.starts_with(p));
    Ok(match (fabric, gbps as u64) {
        ("efa", 100) if first_generation => "efa-v1",
        ("infiniband", 100) => "cx5-edr100",
        ("infiniband", 200) => "cx6-hdr200",
        ("infiniband", 400) => "cx7-ndr400",
        ("infiniband", 800) => "cx8-xdr800",
        ("roce", 100) => "cx6-roce100",
        ("roce", 200) => "cx6-roce200",
        ("roce", 400) => "cx7-roce400",
        ("roce", 800) => "cx8-roce800",
        ("omnipath", 100) => "opa100",
        ("efa", 100) => "efa-v2",
        ("efa", 200) => "efa-v3",
        ("efa", 400) => "efa-v4",
        ("slingshot", 200) => "slingshot-200",
        ("tcpxo", 200) => "gcp-tcpxo-200",
        ("dcn", 100) => "tpu-dcn-100",
        ("dcn", 200) => "tpu-dcn-200",
        (other, rate) => return Err(format!("no NIC of {rate} Gb/s on `{other}` is in the catalogue")),
    })
}

/// A host that usually carries the part.
fn host(part: &str) -> &'static str {
    match part {
        p if p.starts_with("v100") => "dgx-1",
        p if p.starts_with("a100") || p.starts_with("a800") => "dgx-a100",
        p if p.starts_with("gb200") || p.starts_with("gb300") => "gb200-tray",
        p if p.starts_with("b200") || p.starts_with("b300") => "dgx-b200",
        p if p.starts_with("mi") => "mi300x-host",
        p if p.starts_with("tpu") => "tpu-host",
        _ => "dgx-h100",
    }
}

/// The fabric with what the profiles measured of links and collectives laid over its data sheets.
pub(super) fn measured(mut fabric: Fabric, profiles: &Profiles) -> Fabric {
    if !profiles.measured().is_empty() {
        fabric.set_measured(profiles.measured());
    }
    fabric
}

/// Builds the fabric of a row: nodes on one layer of adaptive leaves, which never limit it (rows do not tell the tree).
pub(super) fn fabric(shape: &Shape) -> Result<Fabric, String> {
    let part = Catalogue::embedded().accelerators.get(&shape.accelerator);
    let scale_up = match shape.accelerator.as_str() {
        _ if part.is_some_and(|p| p.scale_up.is_none()) => "pcie",
        a if a.starts_with("v100") => "cube-mesh",
        a if a.starts_with("mi") => "full-mesh",
        a if a.starts_with("tpu") => "torus",
        _ if shape.direct => "full-mesh",
        _ => "nvswitch",
    };
    let domain = shape.domain.filter(|d| d.is_multiple_of(shape.per_node)).map_or_else(String::new, |d| format!("scale_up_domain = {d}\n"));
    let wiring = wiring(shape);
    let one_domain = shape.domain.unwrap_or(shape.per_node) >= shape.nodes * shape.per_node;
    let networked = shape.nodes > 1 && !(one_domain && shape.nics == 0);
    let nics = if networked {
        format!("nic = \"{}\"\nnics = {}\n", nic(&shape.accelerator, &shape.fabric, shape.gbps)?, shape.nics)
    } else {
        String::new()
    };
    let network = if networked {
        format!(
            "kind = \"rail-optimised\"\nnodes = {}\nlevels = 3\nswitch = \"{}\"\n",
            shape.nodes,
            if shape.nodes * shape.nics > 60_000 { "q3400" } else { "qm9700" }
        )
    } else {
        format!("kind = \"none\"\nnodes = {}\n", shape.nodes)
    };
    let text = format!(
        "[[node]]\nname = \"node\"\naccelerator = \"{}\"\naccelerators = {}\nscale_up = \"{scale_up}\"\n{domain}{wiring}host = \"{}\"\n{nics}[fabric]\n{network}",
        shape.accelerator,
        shape.per_node,
        host(&shape.accelerator),
    );
    let mut diags = Diagnostics::new();
    let source = diags.add_source("row", text);
    let built = Node::parse(source, &mut diags).and_then(|n| TopologyInput::decode(&n, &mut diags)).and_then(|t| t.build(&mut diags));
    built.map(|b| b.0).ok_or_else(|| format!("its cluster cannot be built: {}", render(&diags, Style::Plain).lines().next().unwrap_or("")))
}

/// The sides of a torus, or the links that a site has wired.
fn wiring(shape: &Shape) -> String {
    if !shape.peer_access {
        return "peer_access = false\n".into();
    }
    let part = Catalogue::embedded().accelerators.get(&shape.accelerator);
    if let (Some(rate), true) = (shape.peer_copies, part.is_some_and(|p| p.scale_up.is_none())) {
        return format!("peer_copy_limit = \"{} GB/s\"\n", rate / 1e9);
    }
    if let Some(links) = shape.links {
        return format!("scale_up_links = {links}\n");
    }
    if !shape.accelerator.starts_with("tpu") {
        return String::new();
    }
    let flat = matches!(shape.accelerator.as_str(), "tpu-v2" | "tpu-v3" | "tpu-v5e" | "tpu-v6e");
    let sides = sides(shape.domain.unwrap_or(shape.per_node), if flat { 2 } else { 3 });
    // Flat slices close their rings in whole pods, cubes in multiples of four.
    let wrap = if flat { sides[0] == 16 } else { sides.iter().all(|s| s.is_multiple_of(4)) };
    format!("torus = {sides:?}\nwrap = {wrap}\n")
}

/// The most even sides of a torus, smallest first.
fn sides(chips: u64, dimensions: u32) -> Vec<u64> {
    if dimensions == 1 {
        return vec![chips];
    }
    let root = libm::pow(chips as f64, 1.0 / f64::from(dimensions)) + 1e-9;
    let first = (1..=root as u64).rev().find(|s| chips.is_multiple_of(*s)).unwrap_or(1);
    let mut out = vec![first];
    out.extend(sides(chips / first, dimensions - 1));
    out
}

#[cfg(test)]
mod tests {
    use super::sides;

    #[test]
    fn even_sides() {
        assert_eq!(sides(256, 2), [16, 16]);
        assert_eq!(sides(64, 3), [4, 4, 4]);
        assert_eq!(sides(192, 3), [4, 6, 8]);
        assert_eq!(sides(7, 2), [1, 7]);
    }
}
