//! What a site can take: power, cooling, racks; how many racks a cluster fills; when what is ordered works.

use super::outcome::Binding;
use super::question::SiteInput;
use crate::diag::{At, Count, Decode, Pos};
use crate::fabric::TopologySummary;
use crate::units::{Seconds, Watts};

/// Power of a rack where the site names none: air-cooled racks of accelerators are planned for about 40 kW (from memory, unverified).
pub(super) const RACK_POWER: f64 = 40e3;

/// Limits of a site; infinite where none is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Site {
    power: f64,
    cooling: f64,
    /// Most power of a rack, watts.
    pub(super) rack_power: f64,
    /// Whether the site says it.
    pub(super) rack_given: bool,
    racks: f64,
    /// Seconds from order to delivery.
    pub(super) delivery: f64,
    /// Seconds from delivery to work.
    pub(super) installation: f64,
}

/// A limit that a cluster does not keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Excess {
    pub(super) constraint: &'static str,
    pub(super) limit: f64,
    pub(super) need: f64,
}

type Power = At<<Option<Pos<Watts>> as Decode>::Out>;
type Number = At<<Option<Count> as Decode>::Out>;

fn watts(given: &Power) -> f64 {
    given.map_or(f64::INFINITY, Watts::get)
}

fn number(given: &Number) -> f64 {
    given.map_or(f64::INFINITY, |n| n as f64)
}

impl Site {
    pub(super) fn of(input: Option<&SiteInput>) -> Self {
        input.map_or(
            Self {
                power: f64::INFINITY,
                cooling: f64::INFINITY,
                rack_power: RACK_POWER,
                rack_given: false,
                racks: f64::INFINITY,
                delivery: 0.0,
                installation: 0.0,
            },
            |s| Self {
                power: watts(&s.power),
                cooling: watts(&s.cooling),
                rack_power: s.rack_power.map_or(RACK_POWER, Watts::get),
                rack_given: s.rack_power.is_some(),
                racks: number(&s.racks),
                delivery: s.delivery.map_or(0.0, Seconds::get),
                installation: s.installation.map_or(0.0, Seconds::get),
            },
        )
    }

    /// Racks that a cluster fills: whole nodes up to the power of a rack, switches apart; `None` where a node needs more than a rack.
    pub(super) fn racks_of(&self, summary: &TopologySummary) -> Option<u64> {
        let node = node_power(summary);
        let each = (self.rack_power / node).floor();
        if each < 1.0 {
            return None;
        }
        let nodes = (summary.nodes as f64 / each).ceil();
        Some((nodes + (summary.switch_power_w / self.rack_power).ceil()) as u64)
    }

    /// The limits that a cluster does not keep.
    pub(super) fn excess(&self, summary: &TopologySummary, pue: f64) -> Vec<Excess> {
        let mut out = Vec::new();
        let mut over = |constraint, need: f64, limit: f64| {
            if need > limit {
                out.push(Excess { constraint, limit, need });
            }
        };
        over("power", summary.power_w * pue, self.power);
        over("cooling", summary.power_w, self.cooling);
        match self.racks_of(summary) {
            Some(racks) => over("racks", racks as f64, self.racks),
            None if self.rack_given => over("rack-power", node_power(summary), self.rack_power),
            None => {}
        }
        out
    }
}

fn node_power(summary: &TopologySummary) -> f64 {
    (summary.power_w - summary.switch_power_w) / summary.nodes.max(1) as f64
}

impl Excess {
    /// In words, without a name.
    pub(super) fn words(&self) -> String {
        let unit = |v: f64| if self.constraint == "racks" { format!("{v:.0} racks") } else { Watts::new(v).to_string() };
        let what = match self.constraint {
            "power" => "power with cooling",
            "cooling" => "heat",
            "rack-power" => "power of one node in a rack",
            _ => "room",
        };
        format!("{what}: {} ({})", unit(self.need), super::money::beyond(self.need / self.limit, &unit(self.limit)))
    }
}

/// The site's constraint that is nearest to being kept, over clusters that all break one.
pub(super) fn nearest<'a>(clusters: impl Iterator<Item = (&'a str, &'a [Excess])>) -> Option<Binding> {
    let worst = |e: &'a [Excess]| e.iter().max_by(|a, b| (a.need / a.limit).total_cmp(&(b.need / b.limit)));
    let all = clusters.filter_map(|(name, e)| worst(e).map(|w| (name, w)));
    let (name, least) = all.min_by(|a, b| (a.1.need / a.1.limit).total_cmp(&(b.1.need / b.1.limit)))?;
    Some(Binding {
        constraint: least.constraint.into(),
        limit: least.limit,
        nearest: least.need,
        over: least.need / least.limit - 1.0,
        text: format!("Site: {name}, which comes nearest, asks for {}.", least.words()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::{Diagnostics, Node};
    use crate::scenario::load_topology;

    #[test]
    fn racks_power_and_heat_of_a_cluster() {
        let mut diags = Diagnostics::new();
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/dgx-h100-ndr.toml");
        let (fabric, catalogue) = load_topology(&path, &["fabric.nodes=8".into()], &mut diags).unwrap();
        let summary = fabric.summary(&catalogue);
        let site = |text: &str| {
            let mut diags = Diagnostics::new();
            let source = diags.add_source("site", text.to_owned());
            let node = Node::parse(source, &mut diags).unwrap();
            Site::of(SiteInput::decode(&node, &mut diags).as_ref())
        };
        // A DGX H100 draws about 10 kW: four in a rack of 45 kW.
        let node = (summary.power_w - summary.switch_power_w) / 8.0;
        assert!((7e3..11.3e3).contains(&node), "{node}");
        let per = (45e3 / node).floor() as u64;
        let network = (summary.switch_power_w / 45e3).ceil() as u64;
        assert_eq!(site("rack_power = \"45 kW\"").racks_of(&summary), Some(8u64.div_ceil(per) + network));
        let tight = site("power = \"50 kW\"\ncooling = \"50 kW\"\nrack_power = \"5 kW\"");
        let found: Vec<_> = tight.excess(&summary, 1.3).iter().map(|e| (e.constraint, e.need)).collect();
        assert_eq!(found, [("power", 1.3 * summary.power_w), ("cooling", summary.power_w), ("rack-power", node)]);
        assert!(Site::of(None).excess(&summary, 1.3).is_empty());
    }
}
