//! Money, energy and carbon over the numbers of a run: price book, power, amortisation.

mod cost;

pub use cost::{CostPlan, Ownership, cost};
