//! From a topology file to the graph; every contradiction is reported at its place.

use super::graph::{DomainKind, Fabric, Template};
use super::input::{FabricInput, NodeInput, PathPolicy, ScaleUp, TopologyInput};
use super::latency::Latencies;
use super::memo::Memo;
use super::node::Growing;
use super::places::Building;
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes};
use crate::hardware::{Accelerator, Catalogue, PartLists, find};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// More accelerators than this are taken for a slip of the pen.
const MOST_ACCELERATORS: u64 = 4_000_000;

impl TopologyInput {
    /// The catalogue with this file's own parts.
    fn catalogue(&self, diags: &mut Diagnostics) -> Catalogue {
        let mut catalogue = Catalogue::embedded().clone();
        catalogue.add(
            PartLists {
                accelerator: self.accelerator.clone(),
                link: self.link.clone(),
                nic: self.nic.clone(),
                switch: self.switch.clone(),
                host: self.host.clone(),
                drive: self.drive.clone(),
                price: self.price.clone(),
            },
            diags,
        );
        catalogue
    }

    /// Builds the fabric, with the catalogue that it was built from; reports everything that does not fit.
    pub fn build(&self, diags: &mut Diagnostics) -> Option<(Fabric, Catalogue)> {
        let before = diags.error_count();
        if *self.format != 1 {
            diags.push(
                Diagnostic::error(codes::UNKNOWN_FORMAT, format!("format {} is newer than this program", *self.format))
                    .at(self.format.span, "unknown format")
                    .hint("this program reads format 1"),
            );
        }
        let catalogue = self.catalogue(diags);
        let templates = self.templates(&catalogue, diags);
        if diags.error_count() > before {
            return None;
        }
        let templates = templates?;
        let total: u64 = templates.iter().map(|t| u64::from(t.nodes) * u64::from(t.accelerators)).sum();
        if total > MOST_ACCELERATORS {
            diags.push(
                Diagnostic::error(codes::OUT_OF_RANGE, format!("{total} accelerators are absurdly many"))
                    .at(self.nodes_span(), "this many nodes")
                    .hint(format!("the most is {MOST_ACCELERATORS}")),
            );
            return None;
        }
        let mut growing = Growing::new(total as usize, templates.iter().map(|t| t.nodes as usize).sum());
        for (number, template) in templates.iter().enumerate() {
            for _ in 0..template.nodes {
                growing.add_node(template, number as u32, &catalogue);
            }
        }
        growing.wire_domains(&templates, &catalogue);
        let (scale, switch) = self.connect(&mut growing, &templates, &catalogue, diags)?;
        let (policy, queue_pairs) = self.policy(diags);
        if diags.error_count() > before {
            return None;
        }
        let title = self.title.value.clone().unwrap_or_else(|| "cluster".into());
        let mut fabric = Fabric {
            ranks: None,
            memo: Memo::default(),
            graph: growing.graph,
            title,
            sites: growing.sites,
            domains: growing.domains,
            nics: growing.nics,
            inside: growing.inside,
            node_template: growing.node_template,
            templates,
            scale,
            switch,
            policy,
            queue_pairs,
            salt: 0,
            pxn: self.pxn(),
            speeds: BTreeMap::new(),
            degraded: !self.degraded.is_empty(),
            stores: Vec::new(),
            latencies: Latencies::default(),
            measured: None,
            served: Vec::new(),
            building: self.building(diags),
        };
        fabric.add_storage(self, &self.switch_names(), diags);
        fabric.latencies = Latencies::gather(fabric.graph.edge_weights());
        fabric.degrade(&self.degraded, &self.switch_names(), diags);
        fabric.drop_dead_servers(self, diags);
        (diags.error_count() == before).then_some((fabric, catalogue))
    }

    /// Racks and power feeds.
    fn building(&self, diags: &mut Diagnostics) -> Building {
        let Some(site) = &self.site.value else { return Building::default() };
        for (value, span) in
            [(*site.nodes_per_rack, site.nodes_per_rack.span), (*site.racks_per_power_domain, site.racks_per_power_domain.span)]
        {
            if value.is_some_and(|n| n > 100_000) {
                diags.push(Diagnostic::error(codes::OUT_OF_RANGE, "so large a rack or power domain is absurd").at(span, "absurd"));
            }
        }
        Building {
            nodes_per_rack: site.nodes_per_rack.map(|n| n.min(100_000) as u32),
            racks_per_feed: site.racks_per_power_domain.map(|n| n.min(100_000) as u32),
        }
    }

    /// Whether ranks reach other rails over the scale-up switch.
    fn pxn(&self) -> bool {
        match &*self.fabric {
            FabricInput::Rail(t) | FabricInput::RailOnly(t) => t.pxn.unwrap_or(true),
            _ => false,
        }
    }

    fn switch_names(&self) -> Vec<String> {
        match &*self.fabric {
            FabricInput::Explicit(e) => e.switches.iter().map(|s| s.value.clone()).collect(),
            _ => Vec::new(),
        }
    }

    pub(super) fn nodes_span(&self) -> Span {
        match &*self.fabric {
            FabricInput::FatTree(t) | FabricInput::Rail(t) | FabricInput::RailOnly(t) => t.nodes.span,
            FabricInput::Dragonfly(d) | FabricInput::DragonflyPlus(d) => d.nodes.span,
            FabricInput::Single(s) => s.nodes.span,
            FabricInput::None(n) => n.nodes.span,
            FabricInput::Explicit(e) => e.nodes.span,
        }
    }

    fn wanted_nodes(&self) -> At<Option<u64>> {
        match &*self.fabric {
            FabricInput::FatTree(t) | FabricInput::Rail(t) | FabricInput::RailOnly(t) => t.nodes,
            FabricInput::Dragonfly(d) | FabricInput::DragonflyPlus(d) => d.nodes,
            FabricInput::Single(s) => s.nodes,
            FabricInput::None(n) => n.nodes.map_value(Some),
            FabricInput::Explicit(e) => e.nodes,
        }
    }

    fn policy(&self, diags: &mut Diagnostics) -> (PathPolicy, u64) {
        let (policy, pairs) = match &*self.fabric {
            FabricInput::FatTree(t) | FabricInput::Rail(t) | FabricInput::RailOnly(t) => (t.path_policy, t.queue_pairs),
            FabricInput::Dragonfly(d) | FabricInput::DragonflyPlus(d) => (d.path_policy, d.queue_pairs),
            FabricInput::Explicit(e) => (e.path_policy, e.queue_pairs),
            FabricInput::Single(_) | FabricInput::None(_) => return (PathPolicy::Adaptive, 1),
        };
        if *pairs > 1 && *policy != PathPolicy::Ecmp {
            diags.push(
                Diagnostic::error(codes::CONFLICT, "`queue_pairs` does nothing without hashed paths")
                    .at(pairs.span, "does nothing")
                    .hint("set path_policy = \"ecmp\", or leave it out"),
            );
        }
        if *pairs > 4096 {
            diags.push(
                Diagnostic::error(codes::OUT_OF_RANGE, "so many queue pairs are absurd").at(pairs.span, "absurd").hint("the most is 4096"),
            );
        }
        (*policy, *pairs)
    }

    fn templates(&self, catalogue: &Catalogue, diags: &mut Diagnostics) -> Option<Vec<Template>> {
        let inputs = &self.node.value;
        if inputs.is_empty() {
            diags.push(Diagnostic::error(codes::MISSING_KEY, "there is no node template").at(self.node.span, "needs a [[node]]"));
            return None;
        }
        let mut names: FxHashMap<&str, Span> = FxHashMap::default();
        for input in inputs {
            if let Some(first) = names.insert(&input.name.value, input.name.span) {
                diags.push(
                    Diagnostic::error(codes::DUPLICATE_NAME, format!("there are two node templates named `{}`", *input.name))
                        .at(input.name.span, "second one")
                        .at(first, "first one"),
                );
            }
        }
        let nodes = self.wanted_nodes();
        let mut out = Vec::new();
        for input in inputs {
            let count = match (inputs.len(), nodes.value, input.count.value) {
                (1, Some(n), None) | (1, None, Some(n)) => n,
                (1, None, None) => 1,
                (1, Some(_), Some(_)) => {
                    diags.push(
                        Diagnostic::error(codes::CONFLICT, "the number of nodes is given twice")
                            .at(input.count.span, "here")
                            .at(nodes.span, "and here"),
                    );
                    continue;
                }
                (_, _, Some(n)) => n,
                _ => {
                    diags.push(
                        Diagnostic::error(codes::MISSING_KEY, "with several node templates each needs its `count`")
                            .at(input.name.span, "this one has none")
                            .hint("add `count = …`"),
                    );
                    continue;
                }
            };
            out.extend(template(input, count, catalogue, diags));
        }
        (out.len() == inputs.len()).then_some(out)
    }
}

/// The parts of a template.
fn template(input: &NodeInput, nodes: u64, catalogue: &Catalogue, diags: &mut Diagnostics) -> Option<Template> {
    let accelerator = find(&catalogue.accelerators, &input.accelerator, "accelerator", diags);
    let host = find(&catalogue.hosts, &input.host, "host", diags);
    let named = |name: &At<Option<String>>| name.value.clone().map(|value| At { value, span: name.span });
    let nic = named(&input.nic).map(|n| find(&catalogue.nics, &n, "NIC", diags));
    let drive = named(&input.drive).map(|d| find(&catalogue.drives, &d, "drive", diags));
    let ok = check_counts(input, nodes, diags);
    let (accelerator, host) = (accelerator?, host?);
    let (kind, domain_size, torus) = domain(input, accelerator, diags)?;
    if !ok || matches!(nic, Some(None)) || matches!(drive, Some(None)) {
        return None;
    }
    let accelerator = wired(input, accelerator, kind, diags)?;
    Some(Template {
        name: input.name.value.clone(),
        accelerator,
        accelerators: *input.accelerators as u32,
        kind,
        domain_size,
        torus,
        wrap: input.wrap.unwrap_or(true),
        peer_copy_limit: input.peer_copy_limit.map_value(|l| l.map(crate::units::BytesPerSecond::get)).value,
        peer_access: input.peer_access.unwrap_or(true),
        host: host.clone(),
        nic: nic.flatten().cloned(),
        nics: *input.nics as u32,
        drive: drive.flatten().cloned().map(|d| (d, *input.drives)),
        nodes: nodes as u32,
    })
}

fn check_counts(input: &NodeInput, nodes: u64, diags: &mut Diagnostics) -> bool {
    let before = diags.error_count();
    let mut refuse =
        |span, message: String, hint: &str| diags.push(Diagnostic::error(codes::BAD_TOPOLOGY, message).at(span, "here").hint(hint));
    let (accelerators, nics) = (*input.accelerators, *input.nics);
    if accelerators > 256 {
        refuse(
            input.accelerators.span,
            format!("{accelerators} accelerators in one node are absurd"),
            "the most is 256; larger domains span nodes by scale_up_domain",
        );
    }
    if nics > 256 {
        refuse(input.nics.span, format!("{nics} NICs in one node are absurd"), "the most is 256");
    } else if nics > 0 && !nics.is_multiple_of(accelerators) && !accelerators.is_multiple_of(nics) {
        refuse(
            input.nics.span,
            format!("{nics} NICs and {accelerators} accelerators do not divide each other"),
            "every NIC serves equally many accelerators, or the other way round",
        );
    }
    if nodes > 4_000_000 {
        refuse(input.name.span, format!("{nodes} nodes are absurd"), "the most is 4 million");
    }
    for (name, part, count) in [("nic", &input.nic, &input.nics), ("drive", &input.drive, &input.drives)] {
        if part.is_some() != (**count > 0) {
            let (span, message) = if part.is_some() {
                (part.span, format!("`{name}` is given, but `{name}s` is not"))
            } else {
                (count.span, format!("`{name}s` is given, but `{name}` is not"))
            };
            diags.push(
                Diagnostic::error(codes::CONFLICT, message).at(span, "here").hint(format!("give both `{name}` and `{name}s`, or none")),
            );
        }
    }
    diags.error_count() == before
}

/// The part with the scale-up links that the site has wired.
fn wired(input: &NodeInput, part: &Accelerator, kind: DomainKind, diags: &mut Diagnostics) -> Option<Accelerator> {
    let Some(links) = input.scale_up_links.value else { return Some(part.clone()) };
    let all = *part.scale_up_links;
    let mut refuse = |code, message: String, hint: &str| {
        diags.push(Diagnostic::error(code, message).at(input.scale_up_links.span, "here").hint(hint));
        None
    };
    if kind != DomainKind::Switched {
        return refuse(
            codes::CONFLICT,
            "`scale_up_links` does nothing with this scale_up".into(),
            "set scale_up = \"nvswitch\", or leave it out",
        );
    }
    if links > all {
        let message = format!("{links} links wired, but `{}` has {all}", *part.id);
        return refuse(codes::BAD_TOPOLOGY, message, "give at most the part's own number");
    }
    let mut out = part.clone();
    out.scale_up_links.value = links;
    let share = links as f64 / all as f64;
    out.scale_up_bandwidth.value = part.scale_up_bandwidth.map(|b| crate::units::BytesPerSecond::new(b.get() * share));
    Some(out)
}

/// How the accelerators of a template are wired into domains.
fn domain(input: &NodeInput, part: &Accelerator, diags: &mut Diagnostics) -> Option<(DomainKind, u32, Vec<u32>)> {
    let own = *input.accelerators;
    let size = input.scale_up_domain.unwrap_or(own);
    let kind = match *input.scale_up {
        ScaleUp::Nvswitch => DomainKind::Switched,
        ScaleUp::CubeMesh => DomainKind::CubeMesh,
        ScaleUp::FullMesh => DomainKind::FullMesh,
        ScaleUp::Torus => DomainKind::Torus,
        ScaleUp::Pcie => DomainKind::Pcie,
    };
    let mut refuse = |span, message: String, hint: &str| -> Option<(DomainKind, u32, Vec<u32>)> {
        diags.push(Diagnostic::error(codes::BAD_TOPOLOGY, message).at(span, "here").hint(hint));
        None
    };
    if kind != DomainKind::Pcie && part.scale_up_bandwidth.is_none() {
        return refuse(input.scale_up.span, format!("`{}` has no scale-up links", *part.id), "use scale_up = \"pcie\"");
    }
    if size > 65_536 || (size != own && !size.is_multiple_of(own)) {
        return refuse(
            input.scale_up_domain.span,
            format!("a domain of {size} does not hold whole nodes of {own}"),
            "give a multiple of the node's accelerators",
        );
    }
    if size != own && !matches!(kind, DomainKind::Switched | DomainKind::Torus) {
        return refuse(input.scale_up_domain.span, "only switched and torus domains span nodes".into(), "leave scale_up_domain out");
    }
    if kind != DomainKind::Pcie && size > *part.scale_up_domain {
        let message = format!("a domain of {size}, but `{}` joins at most {}", *part.id, *part.scale_up_domain);
        let span = if input.scale_up_domain.is_some() { input.scale_up_domain.span } else { input.accelerators.span };
        return refuse(span, message, "use fewer, or a part of your own with a larger scale_up_domain");
    }
    if kind == DomainKind::CubeMesh && own > 8 {
        return refuse(input.accelerators.span, "a cube mesh has at most 8 accelerators".into(), "use another scale_up");
    }
    if kind == DomainKind::FullMesh && own > 64 {
        return refuse(input.accelerators.span, "a full mesh has at most 64 accelerators".into(), "use another scale_up");
    }
    let torus: Vec<u32> = input.torus.value.as_ref().map(|t| t.iter().map(|s| (**s).min(1 << 20) as u32).collect()).unwrap_or_default();
    let product: u64 = torus.iter().map(|&s| u64::from(s)).product();
    if kind == DomainKind::Torus && (!(1..=3).contains(&torus.len()) || product != size) {
        return refuse(
            input.torus.span,
            format!("the torus does not have {size} places in 1 to 3 dimensions"),
            "give `torus = [4, 4, 4]` with the domain's size as product",
        );
    }
    if kind != DomainKind::Torus && input.wrap.is_some() {
        return refuse(input.wrap.span, "`wrap` does nothing with this scale_up".into(), "set scale_up = \"torus\", or leave it out");
    }
    if kind != DomainKind::Pcie && input.peer_copy_limit.is_some() {
        let message = "`peer_copy_limit` does nothing with this scale_up".into();
        return refuse(input.peer_copy_limit.span, message, "set scale_up = \"pcie\", or leave it out");
    }
    if kind != DomainKind::Pcie && input.peer_access.is_some() {
        let message = "`peer_access` does nothing with this scale_up".into();
        return refuse(input.peer_access.span, message, "set scale_up = \"pcie\", or leave it out");
    }
    if kind != DomainKind::Torus && !torus.is_empty() {
        return refuse(input.torus.span, "`torus` does nothing with this scale_up".into(), "set scale_up = \"torus\", or leave it out");
    }
    Some((kind, size as u32, torus))
}
