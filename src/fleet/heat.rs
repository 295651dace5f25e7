//! What the links of the fabric carry over time while jobs train: means of equal intervals, for a heat map.

use crate::fabric::{Fabric, LinkId, LinkKind};
use std::collections::BTreeMap;

/// Intervals at most; their length doubles when they become too many.
const BINS: usize = 128;

/// Bytes over links by interval.
#[derive(Debug, Clone)]
pub struct Heat {
    width: f64,
    links: BTreeMap<LinkId, Vec<f64>>,
}

/// A link over time.
#[derive(Debug, Clone, PartialEq)]
pub struct HotLink {
    /// What it connects.
    pub name: String,
    /// Bytes over capacity by interval.
    pub utilization: Vec<f64>,
}

impl Default for Heat {
    fn default() -> Self {
        Self { width: 1.0, links: BTreeMap::new() }
    }
}

impl Heat {
    /// A job trained from one time to another, a step in `step` seconds (0: not yet) with so many bytes over each link.
    pub(super) fn add(&mut self, fabric: &Fabric, from: f64, to: f64, step: f64, links: &[(LinkId, f64)]) {
        if step <= 0.0 || to <= from {
            return;
        }
        while to > self.width * BINS as f64 {
            self.width *= 2.0;
            for bins in self.links.values_mut() {
                *bins = bins.chunks(2).map(|pair| pair.iter().sum()).collect();
            }
        }
        let (first, last) = ((from / self.width) as usize, ((to / self.width) as usize).min(BINS - 1));
        let between = |k: LinkKind| matches!(k, LinkKind::Nic | LinkKind::Leaf | LinkKind::Spine | LinkKind::Wan);
        for &(link, bytes) in links.iter().filter(|l| l.1 > 0.0 && between(fabric.link(l.0).kind)) {
            let bins = self.links.entry(link).or_default();
            if bins.len() <= last {
                bins.resize(last + 1, 0.0);
            }
            for (bin, carried) in bins.iter_mut().enumerate().take(last + 1).skip(first) {
                let (low, high) = (bin as f64 * self.width, (bin + 1) as f64 * self.width);
                *carried += bytes / step * (to.min(high) - from.max(low)).max(0.0);
            }
        }
    }

    /// Seconds of an interval.
    #[must_use]
    pub const fn width(&self) -> f64 {
        self.width
    }

    /// The links that carry most for their capacity until `end`, at most so many, the fullest first.
    #[must_use]
    pub fn hottest(&self, fabric: &Fabric, end: f64, most: usize) -> Vec<HotLink> {
        let mut list: Vec<(f64, LinkId)> =
            self.links.iter().map(|(l, bins)| (bins.iter().sum::<f64>() / fabric.link(*l).capacity, *l)).collect();
        list.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let bins = ((end / self.width).ceil() as usize).clamp(1, BINS);
        let of = |&(_, link): &(f64, LinkId)| {
            let (capacity, carried) = (fabric.link(link).capacity, &self.links[&link]);
            let length = |bin: usize| (end - bin as f64 * self.width).clamp(f64::MIN_POSITIVE, self.width);
            let share = |bin: usize| carried.get(bin).map_or(0.0, |c| c / capacity / length(bin));
            HotLink { name: fabric.link_name(link), utilization: (0..bins).map(share).collect() }
        };
        list.iter().take(most).map(of).collect()
    }
}
