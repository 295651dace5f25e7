//! From a topology file to the graph; every contradiction is reported at its place.

use super::explicit::explicit;
use super::graph::{DomainKind, Fabric, Link, LinkKind, Scale, Template};
use super::input::{FabricInput, NodeInput, PathPolicy, ScaleUp, TopologyInput, TreeInput};
use super::node::{Growing, nic_groups};
use super::tree::{Tree, TreePlan, down_ports};
use crate::diag::{At, Diagnostic, Diagnostics, Span, codes};
use crate::hardware::{Catalogue, PartLists, Switch, find};
use rustc_hash::FxHashMap;

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
        let fabric = Fabric {
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
        };
        Some((fabric, catalogue))
    }

    fn nodes_span(&self) -> Span {
        match &*self.fabric {
            FabricInput::FatTree(t) | FabricInput::Rail(t) => t.nodes.span,
            FabricInput::Single(s) => s.nodes.span,
            FabricInput::None(n) => n.nodes.span,
            FabricInput::Explicit(e) => e.nodes.span,
        }
    }

    fn wanted_nodes(&self) -> At<Option<u64>> {
        match &*self.fabric {
            FabricInput::FatTree(t) | FabricInput::Rail(t) => t.nodes,
            FabricInput::Single(s) => s.nodes,
            FabricInput::None(n) => n.nodes.map_value(Some),
            FabricInput::Explicit(e) => e.nodes,
        }
    }

    fn policy(&self, diags: &mut Diagnostics) -> (PathPolicy, u64) {
        let (policy, pairs) = match &*self.fabric {
            FabricInput::FatTree(t) | FabricInput::Rail(t) => (t.path_policy, t.queue_pairs),
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

    /// Adds the network between nodes.
    fn connect(
        &self,
        growing: &mut Growing,
        templates: &[Template],
        catalogue: &Catalogue,
        diags: &mut Diagnostics,
    ) -> Option<(Scale, Option<Switch>)> {
        let several = templates.iter().map(|t| t.nodes).sum::<u32>() > 1;
        if several && !matches!(&*self.fabric, FabricInput::None(_)) {
            for (template, input) in templates.iter().zip(&self.node.value) {
                if template.nics == 0 {
                    diags.push(
                        Diagnostic::error(
                            codes::DISCONNECTED,
                            format!("the nodes `{}` have no NIC, so nothing connects them", template.name),
                        )
                        .at(input.name.span, "no NICs")
                        .hint("give `nic` and `nics`"),
                    );
                    return None;
                }
            }
        }
        match &*self.fabric {
            FabricInput::None(input) => {
                let one_domain = growing.domains.len() == 1;
                if several && !one_domain {
                    diags.push(
                        Diagnostic::error(codes::DISCONNECTED, "several nodes without a network between them")
                            .at(input.nodes.span, "more than one node")
                            .hint("choose another fabric kind, or a scale_up_domain that holds all accelerators"),
                    );
                    return None;
                }
                Some((Scale::None, None))
            }
            FabricInput::Single(input) => {
                let switch = find(&catalogue.switches, &input.switch, "switch", diags)?;
                let ports: u64 = templates.iter().map(|t| u64::from(t.nodes) * u64::from(t.nics)).sum();
                if ports > *switch.ports {
                    diags.push(
                        Diagnostic::error(
                            codes::BAD_TOPOLOGY,
                            format!("{ports} NICs do not fit the {} ports of `{}`", *switch.ports, *switch.id),
                        )
                        .at(input.switch.span, "too few ports")
                        .hint("use a larger switch or kind = \"fat-tree\""),
                    );
                    return None;
                }
                let plan =
                    TreePlan { levels: 1, leaf_ports: ports as u32, oversubscription: 1.0, core_oversubscription: 1.0, bundled: true };
                let tree = Tree::plan(&plan, 1, switch).ok()?;
                Some((grow_tree(tree, growing, templates, |_, _, _| 0), Some(switch.clone())))
            }
            FabricInput::FatTree(input) => self.tree(input, false, growing, templates, catalogue, diags),
            FabricInput::Rail(input) => self.tree(input, true, growing, templates, catalogue, diags),
            FabricInput::Explicit(input) => explicit(input, growing, templates, diags).map(|routes| (Scale::Explicit(routes), None)),
        }
    }

    fn tree(
        &self,
        input: &TreeInput,
        rails: bool,
        growing: &mut Growing,
        templates: &[Template],
        catalogue: &Catalogue,
        diags: &mut Diagnostics,
    ) -> Option<(Scale, Option<Switch>)> {
        let switch = find(&catalogue.switches, &input.switch, "switch", diags)?;
        if !(2..=3).contains(&*input.levels) {
            diags.push(
                Diagnostic::error(codes::OUT_OF_RANGE, format!("a tree of {} levels", *input.levels))
                    .at(input.levels.span, "2 or 3")
                    .hint("one switch is kind = \"single-switch\""),
            );
            return None;
        }
        for over in [&input.oversubscription, &input.core_oversubscription] {
            if !(0.1..=100.0).contains(&over.value) {
                diags.push(
                    Diagnostic::error(codes::OUT_OF_RANGE, "the oversubscription is absurd").at(over.span, "not between 0.1 and 100"),
                );
                return None;
            }
        }
        if *input.levels == 2 && *input.core_oversubscription != 1.0 {
            diags.push(
                Diagnostic::error(codes::CONFLICT, "`core_oversubscription` does nothing in a tree of two levels")
                    .at(input.core_oversubscription.span, "does nothing"),
            );
            return None;
        }
        let nics: u64 = templates.iter().map(|t| u64::from(t.nodes) * u64::from(t.nics)).sum();
        let per_node = templates.iter().map(|t| t.nics).max().unwrap_or(1).max(1);
        let down = down_ports(*switch.ports, *input.oversubscription);
        let nodes = growing.node_template.len() as u32;
        // A leaf serves one rail of `down` nodes, or all NICs of as many nodes as fit.
        let (leaves, leaf_ports) =
            if rails { (nodes.div_ceil(down) * per_node, down.min(nodes)) } else { ((nics as u32).div_ceil(down), down.min(nics as u32)) };
        let plan = TreePlan {
            levels: *input.levels as u32,
            leaf_ports,
            oversubscription: *input.oversubscription,
            core_oversubscription: *input.core_oversubscription,
            bundled: *input.path_policy == PathPolicy::Adaptive,
        };
        match Tree::plan(&plan, leaves, switch) {
            Ok(tree) => {
                let place =
                    move |node: u32, nic: u32, before: u32| if rails { node / down * per_node + nic } else { (before + nic) / down };
                Some((grow_tree(tree, growing, templates, place), Some(switch.clone())))
            }
            Err(large) => {
                diags.push(
                    Diagnostic::error(
                        codes::BAD_TOPOLOGY,
                        format!("{} {}, but a `{}` joins at most {}", large.needed, large.what, *switch.id, large.possible),
                    )
                    .at(self.nodes_span(), "too many nodes")
                    .hint("use levels = 3, more oversubscription, or a switch with more ports"),
                );
                None
            }
        }
    }
}

/// Grows a tree and plugs every NIC into the leaf that `place` gives for (node, NIC, NICs of the nodes before).
fn grow_tree(mut tree: Tree, growing: &mut Growing, templates: &[Template], place: impl Fn(u32, u32, u32) -> u32) -> Scale {
    let leaves = tree.grow(growing);
    let (mut at, mut before) = (0, 0);
    for node in 0..growing.node_template.len() {
        let template = &templates[growing.node_template[node] as usize];
        let groups = nic_groups(template);
        let link = nic_link(template, groups, tree.switch_latency);
        for group in 0..groups {
            // A group of NICs is plugged into the leaf of its first.
            let first = group * template.nics / groups;
            let leaf = place(node as u32, first, before).min(tree.leaves - 1);
            let cable = growing.cable(growing.nic_vertices[at], leaves[leaf as usize], link);
            growing.nics[at].network = Some(cable);
            growing.nics[at].leaf = leaf;
            at += 1;
        }
        before += template.nics;
    }
    Scale::Tree(tree)
}

/// The cable of a group of NICs.
pub(super) fn nic_link(template: &Template, groups: u32, latency: f64) -> Link {
    let rate = template.nic.as_ref().map_or(0.0, |n| n.bandwidth.get() * *n.efficiency);
    Link { capacity: rate * f64::from(template.nics) / f64::from(groups.max(1)), latency, kind: LinkKind::Nic }
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
    Some(Template {
        name: input.name.value.clone(),
        accelerator: accelerator.clone(),
        accelerators: *input.accelerators as u32,
        kind,
        domain_size,
        torus,
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

/// How the accelerators of a template are wired into domains.
fn domain(input: &NodeInput, part: &crate::hardware::Accelerator, diags: &mut Diagnostics) -> Option<(DomainKind, u32, Vec<u32>)> {
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
    if kind != DomainKind::Torus && !torus.is_empty() {
        return refuse(input.torus.span, "`torus` does nothing with this scale_up".into(), "set scale_up = \"torus\", or leave it out");
    }
    Some((kind, size as u32, torus))
}
