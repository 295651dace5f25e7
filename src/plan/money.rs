//! What belongs to an answer beside the choice: where its money goes, what would change it, rent or purchase, what stands in the racks.

use super::load::TrainingPlan;
use super::outcome::{Assumption, Bill, BreakEven, Stage, StorageLine, Swing};
use super::site::Site;
use crate::economics::{CostPlan, Ownership};
use crate::fabric::TopologySummary;
use crate::units::{DAY, HOUR, KWH, Seconds, Watts, dollars, three};

/// Names that the cost model gives its parts.
const RENT: &str = "rent of accelerators";
const PURCHASE: &str = "purchase, amortised";
const ELECTRICITY: &str = "electricity";

/// Time for people.
pub(super) fn time(seconds: f64) -> String {
    if seconds >= 2.0 * DAY { format!("{} days", three(seconds / DAY)) } else { Seconds::new(seconds).to_string() }
}

/// What has to be paid at once for what is bought, beside its share of the time that an answer is about; nothing for what is rented.
pub(super) fn purchase(plan: &CostPlan) -> String {
    let Ownership::Owned { price, life, utilization, .. } = plan.ownership else { return String::new() };
    format!(
        " Buying takes {} at once; the cost above is the share of this time in {} years at {} % use, with electricity.",
        dollars(price),
        three(life / (365.0 * DAY)),
        three(100.0 * utilization)
    )
}

/// By how much a limit is exceeded, in words.
pub(super) fn beyond(ratio: f64, limit: &str) -> String {
    if ratio >= 2.0 { format!("{} times {limit}", three(ratio)) } else { format!("{} % over {limit}", three(100.0 * (ratio - 1.0))) }
}

/// The parts of a cost, with a purchase split by kind of part in proportion of their prices.
pub(super) fn split(parts: &[(String, f64)], summary: &TopologySummary) -> Vec<(String, f64)> {
    let priced: f64 = summary.purchase_by_kind_usd.iter().map(|k| k.1).sum();
    let mut out = Vec::new();
    for (name, usd) in parts {
        if name == PURCHASE && priced > 0.0 {
            out.extend(summary.purchase_by_kind_usd.iter().map(|(kind, price)| (format!("purchase of {kind}"), usd * price / priced)));
        } else {
            out.push((name.clone(), *usd));
        }
    }
    out
}

/// What prices do to the money: arithmetic on its parts.
pub(super) fn price_swings(parts: &[(String, f64)], plan: &CostPlan) -> Vec<Swing> {
    let total: f64 = parts.iter().map(|p| p.1).sum();
    let of = |name: &str| parts.iter().filter(|p| p.0 == name).map(|p| p.1).sum::<f64>();
    let (rent, purchase, electricity) = (of(RENT), of(PURCHASE), of(ELECTRICITY));
    let storage: f64 = parts.iter().filter(|p| p.0.starts_with("storage ")).map(|p| p.1).sum();
    let mut out = Vec::new();
    let mut add = |what: &str, part: f64, low: (&str, f64), high: (&str, f64)| {
        if part > 0.0 {
            let swing = |factor: f64| total + part * (factor - 1.0);
            out.push(Swing { what: what.into(), low: low.0.into(), high: high.0.into(), low_usd: swing(low.1), high_usd: swing(high.1) });
        }
    };
    add("price of rent", rent, ("20 % less", 0.8), ("20 % more", 1.2));
    add("purchase price", purchase, ("20 % less", 0.8), ("20 % more", 1.2));
    if let Ownership::Owned { life, utilization, .. } = &plan.ownership {
        let years = |factor: f64| format!("{} years", three(life * factor / (365.25 * DAY)));
        add("life of the cluster", purchase, (&years(1.25), 0.8), (&years(0.75), 1.0 / 0.75));
        let (more, less) = ((utilization + 0.1).min(1.0), (utilization - 0.1).max(0.05));
        let percent = |u: f64| format!("{} %", three(100.0 * u));
        add("share of its life in use", purchase, (&percent(more), utilization / more), (&percent(less), utilization / less));
    }
    add("price of electricity", electricity, ("half", 0.5), ("half as much again", 1.5));
    let pue = |by: f64| (plan.pue + by).max(1.0);
    add("PUE of the site", electricity, (&three(pue(-0.1)), pue(-0.1) / plan.pue), (&three(pue(0.1)), pue(0.1) / plan.pue));
    add("price of storage", storage, ("20 % less", 0.8), ("20 % more", 1.2));
    out
}

/// The greatest swing first.
pub(super) fn sorted(mut swings: Vec<Swing>) -> Vec<Swing> {
    let width = |s: &Swing| (s.high_usd - s.low_usd).abs();
    swings.sort_by(|a, b| width(b).total_cmp(&width(a)));
    swings
}

/// When buying beats renting, for a cluster that draws `power` watts with cooling while it works.
pub(super) fn break_even(owned: &CostPlan, rented: &CostPlan, way: &str, accelerators: f64, power: f64) -> Option<BreakEven> {
    let (Ownership::Owned { price, .. }, Ownership::Rent { rate, .. }) = (&owned.ownership, &rented.ownership) else { return None };
    let rent = rate * accelerators * HOUR;
    let electricity = power * HOUR * owned.electricity;
    let hours = (rent > electricity).then(|| price / (rent - electricity));
    let head = format!(
        "Buying costs {} and {} of electricity an hour, renting ({way}) {} an hour.",
        dollars(*price),
        dollars(electricity),
        dollars(rent)
    );
    let text = match hours {
        Some(hours) => format!("{head} Buying is cheaper from {} of work on.", time(hours * HOUR)),
        None => format!("{head} Renting is cheaper for ever: electricity alone costs more."),
    };
    Some(BreakEven { purchase_usd: *price, electricity_usd_per_hour: electricity, rent_usd_per_hour: rent, hours, text })
}

/// What a cluster consists of.
pub(super) fn bill(s: &TopologySummary, site: &Site, pue: f64) -> Bill {
    let storage = s.storage.iter().map(|t| StorageLine {
        name: t.name.clone(),
        kind: t.kind.into(),
        servers: t.servers,
        capacity_bytes: t.capacity_bytes,
        read_bytes_per_s: t.read_bytes_per_s,
        write_bytes_per_s: t.write_bytes_per_s,
    });
    Bill {
        nodes: s.nodes,
        accelerators: s.accelerators,
        nics: s.nics,
        switches: [s.leaf_switches, s.spine_switches, s.core_switches],
        cables: s.network_cables,
        drives: s.drives,
        scale_up_domains: s.scale_up_domains,
        // A node that needs more than a rack stands in one of its own.
        racks: site.racks_of(s).unwrap_or(s.nodes),
        rack_power_w: site.rack_power,
        power_w: s.power_w,
        site_power_w: s.power_w * pue,
        storage: storage.collect(),
        purchase_usd: s.purchase_usd,
        purchase_parts_usd: s.purchase_parts_usd.clone(),
        unpriced: s.unpriced.clone(),
    }
}

/// From the order of what is bought to the end of the work.
pub(super) fn timeline(site: &Site, owned: bool, work: &[(String, f64)]) -> Vec<Stage> {
    let mut out: Vec<Stage> = Vec::new();
    let mut now = 0.0;
    let before = [("order to delivery", site.delivery), ("installation and burn-in", site.installation)];
    let before = before.into_iter().filter(|s| owned && s.1 > 0.0).map(|s| (s.0.to_owned(), s.1));
    for (name, seconds) in before.chain(work.iter().cloned()) {
        out.push(Stage { name, start_s: now, end_s: now + seconds });
        now += seconds;
    }
    out
}

/// An assumption with its source.
pub(super) fn rests(what: impl Into<String>, source: impl Into<String>) -> Assumption {
    Assumption { what: what.into(), source: source.into() }
}

/// What every answer about money and sites rests on.
pub(super) fn assumptions(cost: &CostPlan, site: &Site, bill: &Bill) -> Vec<Assumption> {
    let price = match &cost.ownership {
        Ownership::Rent { rate, source } => {
            rests(format!("{} USD per accelerator and hour, power and network included", three(rate * HOUR)), source.as_str())
        }
        Ownership::Owned { price, life, utilization, source } => rests(
            format!(
                "{} for the cluster, spread over {} years at {} % use",
                dollars(*price),
                three(life / (365.25 * DAY)),
                three(100.0 * utilization)
            ),
            source.as_str(),
        ),
        Ownership::Unknown => rests("no price is known; money is not counted", "price list of the catalogue"),
    };
    let mut out = vec![price];
    if matches!(cost.ownership, Ownership::Owned { .. }) {
        out.push(rests(
            format!("electricity at {} USD/kWh", three(cost.electricity * KWH)),
            "the base scenario's [cost], else an order of magnitude",
        ));
        out.push(rests("no staff, building, financing or maintenance contract", "docs/models/cost.md"));
    }
    out.push(rests(
        format!("PUE {}, {} kg of carbon dioxide per kWh", three(cost.pue), three(cost.carbon * KWH)),
        "the base scenario's [cost], else docs/models/cost.md",
    ));
    out.push(rests(
        format!("racks of {}, filled with whole nodes; switches in racks of their own", Watts::new(bill.rack_power_w)),
        if site.rack_given { "the plan's [site]" } else { "planning figure of air-cooled racks, from memory, unverified" },
    ));
    if !bill.unpriced.is_empty() {
        out.push(rests(format!("without a purchase price: {}", bill.unpriced.join(", ")), "price list of the catalogue"));
    }
    out
}

/// Constants that were not measured on the part itself.
pub(super) fn extrapolated(profile: &[crate::metrics::ProfileUse]) -> Option<String> {
    let borrowed = |e: &&crate::metrics::ProfileUse| {
        ["borrowed", "not measured", "assumed"].iter().any(|w| e.entry.contains(w) || e.source.contains(w))
    };
    let names: Vec<&str> = profile.iter().filter(borrowed).map(|e| e.operator.as_str()).collect();
    (!names.is_empty()).then(|| format!("Extrapolated, not measured on this part: {}. See the table of constants.", names.join(", ")))
}

impl TrainingPlan {
    /// Clusters that the site can take.
    pub(super) fn admitted(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.clusters.len()).filter(|i| self.clusters[*i].0.excess.is_empty())
    }
}
