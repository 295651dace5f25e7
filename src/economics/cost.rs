//! What a time on a cluster costs: rent, or a share of the purchase; energy with PUE; carbon by the grid.

use crate::metrics::CostOutcome;
use crate::units::{HOUR, KWH};

/// How the cluster is paid.
#[derive(Debug, Clone, PartialEq)]
pub enum Ownership {
    /// By accelerator and hour; power is part of the price.
    Rent {
        /// Dollars per accelerator and second.
        rate: f64,
        /// Where the price comes from.
        source: String,
    },
    /// Bought: the purchase price is spread over its life, power is paid apart.
    Owned {
        /// Dollars for the whole cluster.
        price: f64,
        /// Seconds of life.
        life: f64,
        /// Share of its life in which it works.
        utilization: f64,
        /// Where the prices come from.
        source: String,
    },
    /// No price is known for the part.
    Unknown,
}

/// Site and payment.
#[derive(Debug, Clone, PartialEq)]
pub struct CostPlan {
    /// Payment.
    pub ownership: Ownership,
    /// Power usage effectiveness of the site.
    pub pue: f64,
    /// Dollars per joule.
    pub electricity: f64,
    /// Kilograms of carbon dioxide per joule.
    pub carbon: f64,
}

/// What `seconds` on `accelerators` cost that draw `power` watts together (before PUE) and train or serve `tokens`; what comes to less than
/// one token costs by token as if it were one.
#[must_use]
pub fn cost(plan: &CostPlan, accelerators: f64, power: f64, seconds: f64, tokens: f64) -> CostOutcome {
    let site_power = power * plan.pue;
    let joules = site_power * seconds;
    let (parts, sources) = match &plan.ownership {
        Ownership::Rent { rate, source } => {
            (vec![("rent of accelerators".to_owned(), rate * accelerators * seconds)], vec![source.clone()])
        }
        Ownership::Owned { price, life, utilization, source } => (
            vec![
                ("purchase, amortised".to_owned(), price * seconds / (life * utilization)),
                ("electricity".to_owned(), joules * plan.electricity),
            ],
            vec![source.clone()],
        ),
        Ownership::Unknown => (Vec::new(), vec!["no price is known for this part; give [cost] rent".to_owned()]),
    };
    // The sum of nothing is a negative zero.
    let total = parts.iter().map(|p| p.1).sum::<f64>() + 0.0;
    CostOutcome {
        usd_total: total,
        usd_per_hour: total / seconds * HOUR,
        usd_per_million_tokens: total / tokens.max(1.0) * 1e6,
        energy_kwh: joules / KWH,
        carbon_kg: joules * plan.carbon,
        parts_usd: parts,
        average_power_w: site_power,
        sources,
    }
}

impl CostOutcome {
    /// Adds a part, for the same time and tokens.
    pub fn add(&mut self, name: &str, usd: f64, seconds: f64, tokens: f64) {
        if usd <= 0.0 {
            return;
        }
        self.parts_usd.push((name.to_owned(), usd));
        self.usd_total += usd;
        self.usd_per_hour = self.usd_total / seconds * HOUR;
        self.usd_per_million_tokens = self.usd_total / tokens.max(1.0) * 1e6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(ownership: Ownership) -> CostPlan {
        CostPlan { ownership, pue: 1.2, electricity: 0.1 / KWH, carbon: 0.4 / KWH }
    }

    #[test]
    fn rent_and_ownership() {
        let rented = cost(&plan(Ownership::Rent { rate: 2.0 / HOUR, source: String::new() }), 8.0, 8000.0, HOUR, 1e6);
        assert!((rented.usd_total - 16.0).abs() < 1e-9 && (rented.usd_per_million_tokens - 16.0).abs() < 1e-9);
        assert!((rented.energy_kwh - 9.6).abs() < 1e-9 && (rented.carbon_kg - 3.84).abs() < 1e-9);
        let idle = cost(&plan(Ownership::Rent { rate: 2.0 / HOUR, source: String::new() }), 8.0, 8000.0, HOUR, 0.0);
        assert!((idle.usd_per_million_tokens - 16.0e6).abs() < 1e-6);
        let owned = Ownership::Owned { price: 8760.0, life: 8760.0 * HOUR, utilization: 0.5, source: String::new() };
        let owned = cost(&plan(owned), 8.0, 8000.0, HOUR, 1e6);
        assert!((owned.usd_total - (2.0 + 0.96)).abs() < 1e-9, "{}", owned.usd_total);
    }
}
