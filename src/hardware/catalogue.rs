//! The catalogue: all parts by kind and id, read from embedded data files, with a user's parts over them.

use super::parts::{Accelerator, Drive, Host, LinkTechnology, Nic, Price, PriceKind, Switch};
use crate::diag::{At, Decode, Diagnostic, Diagnostics, List, Node, Style, codes, nearest, render};
use crate::record;
use indexmap::IndexMap;
use std::sync::OnceLock;

record! {
    /// Parts in a file: lists by kind, each of which may be absent.
    pub struct PartLists {
        /// Accelerators.
        pub accelerator: List<Accelerator> = Vec::new(),
        /// Link technologies.
        pub link: List<LinkTechnology> = Vec::new(),
        /// NICs.
        pub nic: List<Nic> = Vec::new(),
        /// Switches.
        pub switch: List<Switch> = Vec::new(),
        /// Hosts.
        pub host: List<Host> = Vec::new(),
        /// Drives.
        pub drive: List<Drive> = Vec::new(),
        /// Prices.
        pub price: List<Price> = Vec::new(),
    }
}

/// All parts by kind and id.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Accelerators by id.
    pub accelerators: IndexMap<String, Accelerator>,
    /// Link technologies by id.
    pub links: IndexMap<String, LinkTechnology>,
    /// NICs by id.
    pub nics: IndexMap<String, Nic>,
    /// Switches by id.
    pub switches: IndexMap<String, Switch>,
    /// Hosts by id.
    pub hosts: IndexMap<String, Host>,
    /// Drives by id.
    pub drives: IndexMap<String, Drive>,
    /// Prices, in order of reading.
    pub prices: Vec<Price>,
}

const FILES: &[(&str, &str)] = &[
    ("hardware/data/accelerators.toml", include_str!("data/accelerators.toml")),
    ("hardware/data/links.toml", include_str!("data/links.toml")),
    ("hardware/data/nics.toml", include_str!("data/nics.toml")),
    ("hardware/data/switches.toml", include_str!("data/switches.toml")),
    ("hardware/data/hosts.toml", include_str!("data/hosts.toml")),
    ("hardware/data/drives.toml", include_str!("data/drives.toml")),
    ("hardware/data/prices.toml", include_str!("data/prices.toml")),
];

impl Catalogue {
    /// The parts that ship with the program.
    pub fn embedded() -> &'static Self {
        static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
        CATALOGUE.get_or_init(|| {
            let mut diags = Diagnostics::new();
            let mut catalogue = Self::default();
            for (name, text) in FILES {
                let source = diags.add_source(*name, *text);
                if let Some(lists) = Node::parse(source, &mut diags).and_then(|node| PartLists::decode(&node, &mut diags)) {
                    catalogue.insert(lists, &mut diags);
                }
            }
            catalogue.check(&mut diags);
            assert!(!diags.has_errors(), "the embedded catalogue is faulty:\n{}", render(&diags, Style::Plain));
            catalogue
        })
    }

    /// Adds a user's parts; one with an id that is there already takes its place. Two of one id in one file are a fault.
    pub fn add(&mut self, lists: PartLists, diags: &mut Diagnostics) {
        self.insert(lists, diags);
        self.check(diags);
    }

    fn insert(&mut self, lists: PartLists, diags: &mut Diagnostics) {
        put(&mut self.accelerators, lists.accelerator.value, |p| &p.id, diags);
        put(&mut self.links, lists.link.value, |p| &p.id, diags);
        put(&mut self.nics, lists.nic.value, |p| &p.id, diags);
        put(&mut self.switches, lists.switch.value, |p| &p.id, diags);
        put(&mut self.hosts, lists.host.value, |p| &p.id, diags);
        put(&mut self.drives, lists.drive.value, |p| &p.id, diags);
        self.prices.extend(lists.price.value.into_iter().map(|p| p.value));
    }

    /// The newest price of a part.
    #[must_use]
    pub fn price(&self, part: &str, kind: PriceKind) -> Option<&Price> {
        self.prices.iter().filter(|p| p.part.value == part && p.kind.value == kind).max_by(|a, b| a.date.value.cmp(&b.date.value))
    }

    /// Reports parts that contradict themselves or name parts that are not there.
    fn check(&self, diags: &mut Diagnostics) {
        for part in self.accelerators.values() {
            if let (Some(link), span) = (&part.scale_up.value, part.scale_up.span) {
                find(&self.links, &At { value: link.clone(), span }, "link", diags);
            }
            find(&self.links, &part.host_link, "link", diags);
            if *part.idle_power > *part.tdp {
                diags.push(
                    Diagnostic::error(codes::CONFLICT, "the idle power is above the thermal design power")
                        .at(part.idle_power.span, "above tdp")
                        .at(part.tdp.span, "tdp"),
                );
            }
        }
        for host in self.hosts.values() {
            find(&self.links, &host.pcie, "link", diags);
        }
        for price in &self.prices {
            let rents = price.kind.value != PriceKind::Purchase;
            if price.rent.is_some() != rents || price.price.is_some() == rents {
                diags.push(
                    Diagnostic::error(codes::CONFLICT, format!("a price of kind \"{}\" has the wrong figure", price.kind.value))
                        .at(price.kind.span, "of this kind")
                        .hint(if rents { "give `rent` and no `price`" } else { "give `price` and no `rent`" }),
                );
            }
        }
    }
}

fn put<T>(into: &mut IndexMap<String, T>, parts: Vec<At<T>>, id: impl Fn(&T) -> &At<String>, diags: &mut Diagnostics) {
    let mut seen: IndexMap<String, crate::diag::Span> = IndexMap::new();
    for part in parts {
        let key = id(&part.value).value.clone();
        let span = id(&part.value).span;
        if let Some(first) = seen.insert(key.clone(), span) {
            diags.push(
                Diagnostic::error(codes::DUPLICATE_NAME, format!("there are two parts named `{key}`"))
                    .at(span, "second one")
                    .at(first, "first one"),
            );
        }
        into.insert(key, part.value);
    }
}

/// Finds a part by the name that a file gives, or reports it as unknown with the nearest name.
pub fn find<'a, T>(parts: &'a IndexMap<String, T>, name: &At<String>, what: &str, diags: &mut Diagnostics) -> Option<&'a T> {
    if let Some(part) = parts.get(&name.value) {
        return Some(part);
    }
    let mut diagnostic =
        Diagnostic::error(codes::UNKNOWN_PART, format!("there is no {what} named `{}`", name.value)).at(name.span, "in no catalogue");
    diagnostic = match nearest(name, parts.keys().map(String::as_str)) {
        Some(near) => diagnostic.hint(format!("did you mean \"{near}\"?")),
        None => diagnostic.hint("`orrery catalog` lists the parts; your own may be added in the topology file"),
    };
    diags.push(diagnostic);
    None
}
