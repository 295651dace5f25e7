//! The inside of a node: accelerators, PCIe switches, CPU sockets with memory, NICs, and scale-up domains.

use super::graph::{
    AcceleratorId, Cable, Domain, DomainId, DomainKind, Inside, Link, LinkId, LinkKind, NicSite, NodeId, Site, Template, Vertex,
};
use crate::hardware::Catalogue;
use crate::ids::Id;
use petgraph::graph::{DiGraph, NodeIndex};

/// NVLinks between the accelerators of a DGX-1 with V100 (by number on the node): two cubes with doubled edges.
const CUBE_MESH: [(usize, usize, u32); 16] = [
    (0, 1, 1),
    (0, 2, 1),
    (0, 3, 2),
    (0, 4, 2),
    (1, 2, 2),
    (1, 3, 1),
    (1, 5, 2),
    (2, 3, 2),
    (2, 6, 1),
    (3, 7, 1),
    (4, 5, 1),
    (4, 6, 1),
    (4, 7, 2),
    (5, 6, 2),
    (5, 7, 1),
    (6, 7, 2),
];

/// The graph while it grows.
pub(super) struct Growing {
    pub(super) graph: DiGraph<Vertex, Link, u32>,
    pub(super) sites: Vec<Site>,
    pub(super) domains: Vec<Domain>,
    pub(super) nics: Vec<NicSite>,
    pub(super) nic_vertices: Vec<NodeIndex<u32>>,
    pub(super) inside: Vec<Inside>,
    pub(super) node_template: Vec<u32>,
    vertices: Vec<NodeIndex<u32>>,
    domain_switch: Vec<NodeIndex<u32>>,
}

impl Growing {
    pub(super) fn new(accelerators: usize, nodes: usize) -> Self {
        Self {
            graph: DiGraph::with_capacity(accelerators * 3 + nodes * 9, accelerators * 8 + nodes * 20),
            sites: Vec::with_capacity(accelerators),
            domains: Vec::new(),
            nics: Vec::new(),
            nic_vertices: Vec::new(),
            inside: Vec::with_capacity(nodes),
            node_template: Vec::with_capacity(nodes),
            vertices: Vec::with_capacity(accelerators),
            domain_switch: Vec::new(),
        }
    }

    /// Two directed edges.
    pub(super) fn cable(&mut self, a: NodeIndex<u32>, b: NodeIndex<u32>, link: Link) -> Cable {
        let up = LinkId::from_index(self.graph.add_edge(a, b, link).index());
        let down = LinkId::from_index(self.graph.add_edge(b, a, link).index());
        Cable { up, down }
    }

    /// Adds one node of a template.
    pub(super) fn add_node(&mut self, template: &Template, number: u32, catalogue: &Catalogue) {
        let node = NodeId::from_index(self.node_template.len());
        self.node_template.push(number);
        let rate = |id: &str| catalogue.links.get(id).map_or((1e9, 0.0), |l| (l.bandwidth.get() * *l.efficiency, l.latency.get()));
        let (pcie_rate, pcie_latency) = rate(&template.host.pcie);
        let (card_rate, card_latency) = rate(&template.accelerator.host_link);
        let pcie = Link { capacity: pcie_rate, latency: pcie_latency, kind: LinkKind::Pcie };
        let card = Link { capacity: card_rate, latency: card_latency, kind: LinkKind::Pcie };
        let (sockets, memory) = self.add_sockets(template, node);
        let count = template.accelerators;
        let switch_count = (count / 2).clamp(1, 8).max(sockets.len() as u32).min(count.max(1));
        let mut inside = Inside { switches: Vec::new(), sockets: Vec::new(), socket_count: sockets.len() as u8, memory };
        let mut switches = Vec::new();
        for s in 0..switch_count {
            let vertex = self.graph.add_node(Vertex::PcieSwitch(node, s as u8));
            let socket = (s as usize * sockets.len() / switch_count as usize) as u8;
            inside.switches.push((self.cable(vertex, sockets[socket as usize], pcie), socket));
            switches.push(vertex);
        }
        self.link_sockets(template, &sockets, &mut inside);
        self.inside.push(inside);
        let first_nic = self.nics.len() as u32;
        let groups = nic_groups(template);
        for g in 0..groups {
            let switch = (g * switch_count / groups) as u8;
            let vertex = self.graph.add_node(Vertex::Nic(node, g as u8));
            // Several NICs that serve one accelerator have a PCIe port each.
            let ports = f64::from(template.nics / groups);
            let cable = self.cable(vertex, switches[switch as usize], Link { capacity: pcie.capacity * ports, ..pcie });
            let latency = template.nic.as_ref().map_or(0.0, |n| n.latency.get());
            self.nics.push(NicSite { pcie: cable, pcie_switch: switch, network: None, leaf: 0, plane: 0, rail: g, latency });
            self.nic_vertices.push(vertex);
        }
        for local in 0..count {
            let switch = (local * switch_count / count) as u8;
            let id = AcceleratorId::from_index(self.sites.len());
            let vertex = self.graph.add_node(Vertex::Accelerator(id));
            let cable = self.cable(vertex, switches[switch as usize], card);
            let (domain, scale_up) = self.join_domain(template, number, id, vertex);
            let nic = (groups > 0).then(|| first_nic + local * groups / count);
            self.vertices.push(vertex);
            self.sites.push(Site { own: id, node, local, domain, template: number, scale_up, pcie: cable, pcie_switch: switch, nic });
        }
    }

    /// CPU sockets and the cables to their memory.
    fn add_sockets(&mut self, template: &Template, node: NodeId) -> (Vec<NodeIndex<u32>>, Vec<Cable>) {
        let count = (*template.host.sockets).clamp(1, 8);
        let memory = Link { capacity: template.host.memory_bandwidth.get() / count as f64, latency: 1e-7, kind: LinkKind::HostMemory };
        (0..count)
            .map(|s| {
                let cpu = self.graph.add_node(Vertex::Cpu(node, s as u8));
                let dram = self.graph.add_node(Vertex::Memory(node, s as u8));
                (cpu, self.cable(cpu, dram, memory))
            })
            .unzip()
    }

    fn link_sockets(&mut self, template: &Template, sockets: &[NodeIndex<u32>], inside: &mut Inside) {
        let n = sockets.len();
        inside.sockets = vec![None; n * n];
        let link = Link { capacity: template.host.socket_link.get(), latency: 2e-7, kind: LinkKind::Socket };
        for i in 0..n {
            for j in i + 1..n {
                let cable = self.cable(sockets[i], sockets[j], link);
                inside.sockets[i * n + j] = Some(cable.up);
                inside.sockets[j * n + i] = Some(cable.down);
            }
        }
    }

    /// Adds an accelerator to its scale-up domain, opening a new one when the last is full.
    fn join_domain(&mut self, template: &Template, number: u32, id: AcceleratorId, vertex: NodeIndex<u32>) -> (DomainId, Option<Cable>) {
        let open = self.domains.last().is_some_and(|d| d.size < template.domain_size && self.sites[d.first.index()].template == number);
        if !open {
            let domain = Domain {
                kind: template.kind,
                first: id,
                size: 0,
                torus: template.torus.clone(),
                wrap: template.wrap,
                direct: Vec::new(),
                width: 0,
            };
            self.domains.push(domain);
            let opened = DomainId::from_index(self.domains.len() - 1);
            let switch = if template.kind == DomainKind::Switched { self.graph.add_node(Vertex::ScaleUpSwitch(opened)) } else { vertex };
            self.domain_switch.push(switch);
        }
        let number = DomainId::from_index(self.domains.len() - 1);
        self.domains[number.index()].size += 1;
        let scale_up = (template.kind == DomainKind::Switched).then(|| {
            let capacity = template.accelerator.scale_up_bandwidth.map_or(1e9, |b| b.get());
            let link = Link { capacity, latency: 2.5e-7, kind: LinkKind::ScaleUp };
            let switch = self.domain_switch[number.index()];
            self.cable(vertex, switch, link)
        });
        (number, scale_up)
    }

    /// Wires the domains that have direct links.
    pub(super) fn wire_domains(&mut self, templates: &[Template], catalogue: &Catalogue) {
        for d in 0..self.domains.len() {
            let first = self.domains[d].first;
            let template = &templates[self.sites[first.index()].template as usize];
            match self.domains[d].kind {
                DomainKind::CubeMesh => self.wire_cube(d, template, catalogue),
                DomainKind::FullMesh => self.wire_mesh(d, template, catalogue),
                DomainKind::Torus => self.wire_torus(d, template, catalogue),
                DomainKind::Switched | DomainKind::Pcie => {}
            }
        }
    }

    fn technology(template: &Template, catalogue: &Catalogue) -> (f64, f64) {
        let id = template.accelerator.scale_up.value.as_deref().unwrap_or("");
        catalogue.links.get(id).map_or((0.8, 1e-6), |l| (*l.efficiency, l.latency.get()))
    }

    fn wire_cube(&mut self, d: usize, template: &Template, catalogue: &Catalogue) {
        let size = self.domains[d].size as usize;
        let first = self.domains[d].first.index();
        let (efficiency, latency) = Self::technology(template, catalogue);
        let links = (*template.accelerator.scale_up_links).max(1) as f64;
        let one = template.accelerator.scale_up_bandwidth.map_or(0.0, |b| b.get()) * efficiency / links;
        let mut direct = vec![None; size * size];
        for (i, j, count) in CUBE_MESH.into_iter().filter(|&(i, j, _)| i < size && j < size) {
            let link = Link { capacity: one * f64::from(count), latency, kind: LinkKind::ScaleUp };
            let cable = self.cable(self.vertices[first + i], self.vertices[first + j], link);
            direct[i * size + j] = Some(cable.up);
            direct[j * size + i] = Some(cable.down);
        }
        self.domains[d].direct = direct;
        self.domains[d].width = size;
    }

    fn wire_mesh(&mut self, d: usize, template: &Template, catalogue: &Catalogue) {
        let size = self.domains[d].size as usize;
        let first = self.domains[d].first.index();
        let (efficiency, latency) = Self::technology(template, catalogue);
        let capacity = template.accelerator.scale_up_bandwidth.map_or(0.0, |b| b.get()) * efficiency / (size as f64 - 1.0).max(1.0);
        let mut direct = vec![None; size * size];
        for i in 0..size {
            for j in i + 1..size {
                let cable =
                    self.cable(self.vertices[first + i], self.vertices[first + j], Link { capacity, latency, kind: LinkKind::ScaleUp });
                direct[i * size + j] = Some(cable.up);
                direct[j * size + i] = Some(cable.down);
            }
        }
        self.domains[d].direct = direct;
        self.domains[d].width = size;
    }

    fn wire_torus(&mut self, d: usize, template: &Template, catalogue: &Catalogue) {
        let sides = self.domains[d].torus.clone();
        let (size, width) = (self.domains[d].size as usize, sides.len() * 2);
        let first = self.domains[d].first.index();
        let (efficiency, latency) = Self::technology(template, catalogue);
        let capacity = template.accelerator.scale_up_bandwidth.map_or(0.0, |b| b.get()) * efficiency / width as f64;
        let mut direct = vec![None; size * width];
        for i in 0..size {
            let mut stride = 1;
            for (dimension, &side) in sides.iter().enumerate() {
                let side = side as usize;
                let at = i / stride % side;
                let next = i + ((at + 1) % side) * stride - at * stride;
                if side > 1 && next < size && next != i && (self.domains[d].wrap || at + 1 < side) {
                    let cable = self.cable(
                        self.vertices[first + i],
                        self.vertices[first + next],
                        Link { capacity, latency, kind: LinkKind::ScaleUp },
                    );
                    direct[i * width + dimension * 2] = Some(cable.up);
                    direct[next * width + dimension * 2 + 1] = Some(cable.down);
                }
                stride *= side;
            }
        }
        self.domains[d].direct = direct;
        self.domains[d].width = width;
    }
}

/// NICs of a node as routes see them: at most one for each accelerator.
pub(super) fn nic_groups(template: &Template) -> u32 {
    template.nics.min(template.accelerators)
}
