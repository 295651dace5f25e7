//! Exchange of tokens with the ranks of their experts (dispatch and combine) as DeepEP's kernels do it: who gets copies, and how long it
//! takes.
//!
//! The payload is what the tokens of one rank occupy, each once. The high-throughput kernels send one copy of a token to every domain
//! and, forwarded there, to every rank that holds an expert of it; the low-latency kernels send one message for every expert of it.
//! Constants: `constants.toml`, fitted to tables of H100 boxes with one 400 Gb/s NIC a rank (`tests/validation/exchange.csv`).

use super::communicator::Communicator;
use super::constants::{TokenRow, constants};
use super::edges::Emit;
use super::shape::Shape;
use super::timing::Line;
use super::{Algorithm, Op};

/// How tokens visit experts, which are spread evenly over the ranks of a group; routing is even.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Routing {
    /// Elements of a token.
    pub hidden: u64,
    /// Experts.
    pub experts: u64,
    /// Experts that a token visits.
    pub per_token: u64,
    /// Groups of experts, and how many of them a token visits.
    pub groups: Option<(u64, u64)>,
    /// Bytes of an element on the way to the experts; 1 comes with a scale of 4 bytes for every 128 elements. Back it is 2.
    pub dispatch_bytes: f64,
    /// Compute units (SMs) that the high-throughput kernels run on.
    pub compute_units: f64,
}

/// Compute units of the high-throughput kernels where nothing else is said: DeepEP's own default.
pub const TOKEN_KERNEL_UNITS: u64 = 20;

impl Routing {
    /// Whether it holds together: no more experts a token than it can choose from, even groups.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let choice = self.groups.map_or(self.experts, |(groups, chosen)| self.experts / groups.max(1) * chosen);
        let grouped =
            self.groups.is_none_or(|(groups, chosen)| groups > 0 && (1..=groups).contains(&chosen) && self.experts.is_multiple_of(groups));
        grouped && self.per_token >= 1 && self.per_token <= choice
    }

    /// Bytes of one token in one message.
    #[must_use]
    pub fn row(&self, op: Op, algorithm: Algorithm) -> f64 {
        let (h, k) = (self.hidden as f64, self.per_token as f64);
        let low = algorithm == Algorithm::LowLatency;
        match op {
            Op::Combine if low => 2.0 * h,
            // Weights of the experts.
            Op::Combine => 2.0 * h + 4.0 * k,
            _ => {
                let scales = if self.dispatch_bytes < 2.0 { h / 32.0 } else { 0.0 };
                // Where the token came from; or experts and weights.
                self.dispatch_bytes * h + scales + if low { 16.0 } else { 8.0 * k }
            }
        }
    }

    /// Chance that a token visits one of `own` experts that lie side by side.
    #[must_use]
    pub fn reached(&self, own: f64) -> f64 {
        let (all, k) = (self.experts as f64, self.per_token);
        let Some((groups, chosen)) = self.groups else { return 1.0 - missed(all, own, k) };
        let (each, open) = (all / groups as f64, all / groups as f64 * chosen as f64);
        if own <= each {
            return chosen as f64 / groups as f64 * (1.0 - missed(open, own, k));
        }
        // So many of its own groups are among the chosen ones.
        let held = ((own / each).round() as u64).min(groups);
        let missed_all: f64 = (0..=held.min(chosen)).map(|j| among(groups, held, chosen, j) * missed(open, j as f64 * each, k)).sum();
        1.0 - missed_all
    }
}

/// Chance that none of `own` things is among `chosen` of `all`.
fn missed(all: f64, own: f64, chosen: u64) -> f64 {
    (0..chosen).map(|i| (all - i as f64 - own).max(0.0) / (all - i as f64)).product()
}

/// Chance that exactly `hits` of `own` things are among `chosen` of `all`.
fn among(all: u64, own: u64, chosen: u64, hits: u64) -> f64 {
    if chosen - hits > all - own {
        return 0.0;
    }
    libm::exp(choose(own, hits) + choose(all - own, chosen - hits) - choose(all, chosen))
}

/// Logarithm of the number of ways to choose.
fn choose(n: u64, k: u64) -> f64 {
    let factorial = |x: u64| libm::lgamma(x as f64 + 1.0);
    factorial(n) - factorial(k) - factorial(n - k)
}

/// Copies of one token that leave its rank: over the network, and inside domains (forwarded ones included).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Copies {
    pub(super) across: f64,
    pub(super) inside: f64,
}

/// The mean copies of a token over all ranks of a group.
pub(super) fn copies(shape: &Shape, routing: &Routing, op: Op, algorithm: Algorithm) -> Copies {
    let domain_of: Vec<usize> = shape.domains.iter().enumerate().flat_map(|(d, range)| range.clone().map(move |_| d)).collect();
    let mut out = Copies { across: 0.0, inside: 0.0 };
    token_edges(shape, routing, op, algorithm, &mut |from, to, share| {
        let at = if domain_of[from] == domain_of[to] { &mut out.inside } else { &mut out.across };
        *at += share / shape.ranks as f64;
    });
    out
}

/// Who sends how many copies of a token to whom. The way back is the way there.
pub(super) fn token_edges(shape: &Shape, routing: &Routing, op: Op, algorithm: Algorithm, emit: Emit<'_>) {
    let n = shape.ranks;
    let back = op == Op::Combine;
    let mut send = |from: usize, to: usize, share: f64| if back { emit(to, from, share) } else { emit(from, to, share) };
    if algorithm == Algorithm::LowLatency {
        let each = routing.per_token as f64 / n as f64;
        for from in 0..n {
            (1..n).for_each(|step| send(from, (from + step) % n, each));
        }
        return;
    }
    let each = routing.experts as f64 / n as f64;
    let one = routing.reached(each);
    let mut known: Vec<(usize, f64)> = Vec::new();
    for own in &shape.domains {
        if known.iter().all(|k| k.0 != own.len()) {
            known.push((own.len(), routing.reached(each * own.len() as f64)));
        }
    }
    let reached = |domain: usize| known.iter().find(|k| k.0 == domain).map_or(0.0, |k| k.1);
    for own in &shape.domains {
        for from in own.clone() {
            own.clone().filter(|&to| to != from).for_each(|to| send(from, to, one));
            for other in shape.domains.iter().filter(|o| o.start != own.start) {
                // The rank at the same place of the other domain takes the copy and passes it on.
                let gate = other.start + (from - own.start) * other.len() / own.len();
                send(from, gate, reached(other.len()));
                other.clone().filter(|&to| to != gate).for_each(|to| send(gate, to, one));
            }
        }
    }
}

impl Communicator<'_> {
    /// The routing, where it exchanges tokens.
    #[must_use]
    pub const fn routing(&self) -> Option<&Routing> {
        self.routing.as_ref()
    }

    /// Bus bandwidth over algorithm bandwidth: nccl-tests' factor; for an exchange of tokens the copies of a token on the links between
    /// domains, or inside where there is one domain.
    #[must_use]
    pub fn busbw_factor(&self, op: Op, algorithm: Algorithm) -> f64 {
        match self.routing {
            Some(routing) if op.moves_tokens() => {
                let copies = copies(&self.shape, &routing, op, algorithm);
                if self.shape.count() > 1 { copies.across } else { copies.inside }
            }
            _ => super::busbw_factor(op, self.ranks()),
        }
    }

    /// The line of an exchange of tokens; `None` where nothing says how they visit experts.
    pub(super) fn token_line(&self, op: Op, algorithm: Algorithm) -> Option<Line> {
        let (routing, row) = (self.routing?, constants().tokens(op)?);
        if let Some(&known) = self.token_lines.borrow().get(&(op, algorithm)) {
            return Some(known);
        }
        let line = match algorithm {
            Algorithm::OneCopy => self.one_copy(op, &routing, row),
            Algorithm::LowLatency => self.low_latency(op, &routing, row),
            _ => return None,
        };
        self.token_lines.borrow_mut().insert((op, algorithm), line);
        Some(line)
    }

    /// High throughput: what the kernels' compute units need for a token and what the links need add up by a norm.
    fn one_copy(&self, op: Op, routing: &Routing, row: &TokenRow) -> Line {
        let algorithm = Algorithm::OneCopy;
        let (bytes, domains) = (routing.row(op, algorithm), self.shape.count() as f64);
        let copies = copies(&self.shape, routing, op, algorithm);
        let doublings = libm::log2(domains / 2.0);
        let (start, units) = if domains > 1.0 {
            let notify = row.notify.get() * libm::pow(domains / 2.0, *row.notify_growth);
            let start = row.start_across.get() + row.start_doubling.get() * doublings + notify;
            (start, row.unit_across.get() + (row.unit_copy.get() * (copies.across - 1.0)).max(-0.5 * row.unit_across.get()))
        } else {
            (row.start.get(), row.unit.get() * copies.inside / MEASURED_COPIES)
        };
        let wide = row.start_hidden.get() * (routing.hidden as f64 / 7168.0 - 1.0);
        let on_units = (units * bytes / row.row.get() + row.unit_fixed.get()) / (self.unit_speed() * routing.compute_units);
        let inside = copies.inside * bytes / (*row.scale_up_share * self.lines.rate);
        let across = bytes / (*row.network_share * self.rate_outside(op, algorithm));
        let (p, links) = (*row.sharpness, inside.max(across));
        let each = libm::pow(libm::pow(on_units, p) + libm::pow(links, p), 1.0 / p);
        Line { latency: (start + wide).max(0.5 * start), rate: bytes / each }
    }

    /// Speed of a compute unit over that of an H100. Kernels keep pace with their links: 24 units of a B200, whose links are 1.95 times as
    /// fast, reach 643 to 675 GB/s (listing of DeepEP 2), where 24 of an H100 could reach 450.
    fn unit_speed(&self) -> f64 {
        let per_link = |technology: &str| constants().lines(technology).map(|l| l.per_link.get());
        per_link(&self.technology).zip(per_link("nvlink4")).map_or(1.0, |(own, measured)| (own / measured).max(1.0))
    }

    /// Low latency: a message for every expert, paced by the slower of the senders and the links.
    fn low_latency(&self, op: Op, routing: &Routing, row: &TokenRow) -> Line {
        let algorithm = Algorithm::LowLatency;
        let (bytes, domains) = (routing.row(op, algorithm), self.shape.count() as f64);
        let far = if domains > 1.0 { row.fast_across.get() * (1.0 + libm::log2(domains) / 3.0) } else { 0.0 };
        let latency = row.fast_start.get() + far + row.fast_expert.get() * routing.experts as f64;
        let senders = (*row.fast_scale_up_share * self.lines.rate).min(row.fast_expert_rate.get() * routing.experts as f64);
        let within = routing.per_token as f64 * bytes / senders;
        let across = bytes / (*row.fast_network_share * self.rate_outside(op, algorithm));
        // Every copy over the network is a message of its own.
        let messages = routing.per_token as f64 * (1.0 - 1.0 / domains) / self.fabric.message_rate(self.groups()[0][0]);
        Line { latency, rate: bytes / within.max(across).max(messages) }
    }

    /// The faster kernels for a payload of `bytes`; none without routing.
    pub(super) fn token_choice(&self, op: Op, bytes: f64) -> Option<(Line, Algorithm)> {
        let routing = self.routing?;
        let tokens = bytes / routing.row(op, Algorithm::OneCopy);
        let time = |line: &Line, a: Algorithm| {
            let payload = tokens * routing.row(op, a);
            line.latency + payload / line.rate.min(self.link_rate(op, a))
        };
        let all = [Algorithm::LowLatency, Algorithm::OneCopy].map(|a| self.token_line(op, a).map(|line| (time(&line, a), line, a)));
        all.into_iter().flatten().min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, line, a)| (line, a))
    }
}

/// Where the constants of an exchange of tokens come from; nothing of another operation.
#[must_use]
pub fn token_source(op: Op) -> Option<&'static str> {
    constants().tokens(op).map(|row| row.source.value.as_str())
}

/// Copies inside a box of eight at which the compute units' time a token was measured (8 of 256 experts a token: 7 × (1 − C(224, 8) / C(256, 8))).
const MEASURED_COPIES: f64 = 4.6;

#[cfg(test)]
mod tests {
    use super::*;

    fn routing(groups: Option<(u64, u64)>) -> Routing {
        Routing { hidden: 7168, experts: 256, per_token: 8, groups, dispatch_bytes: 1.0, compute_units: 20.0 }
    }

    #[test]
    fn copies_by_closed_form() {
        // Eight ranks: 7 others, each reached unless all 8 of its 32 experts are missed.
        assert!((7.0 * routing(None).reached(32.0) - 4.64).abs() < 0.02);
        // Two, then four domains: 1.00 and 2.71 others; four of eight groups, one a domain: 3.17 of 7.
        assert!((routing(None).reached(128.0) - 1.0).abs() < 0.005);
        assert!((3.0 * routing(None).reached(64.0) - 2.71).abs() < 0.01);
        let limited = routing(Some((8, 4)));
        let missed_in = (0..8).map(|i| f64::from(96 - i) / f64::from(128 - i)).product::<f64>();
        assert!((limited.reached(32.0) - 0.5 * (1.0 - missed_in)).abs() < 1e-12);
        // Two groups a domain are missed with 15 of 70 choices of groups, or by all eight choices of experts.
        let (one, two) = (40.0 / 70.0 * missed_in, 15.0 / 70.0 * (0..8).map(|i| f64::from(64 - i) / f64::from(128 - i)).product::<f64>());
        assert!((limited.reached(64.0) - (1.0 - 15.0 / 70.0 - one - two)).abs() < 1e-9);
        assert!((limited.reached(256.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn chances_sum_to_one() {
        for (all, own, chosen) in [(8, 2, 4), (8, 4, 4), (16, 5, 3), (4, 4, 2), (4096, 2048, 2000)] {
            let sum: f64 = (0..=own.min(chosen)).map(|j| among(all, own, chosen, j)).sum();
            assert!((sum - 1.0).abs() < 1e-9, "{all} {own} {chosen}: {sum}");
        }
    }

    #[test]
    fn sound_routing() {
        assert!(routing(None).is_sound() && routing(Some((8, 4))).is_sound());
        assert!(!routing(Some((7, 4))).is_sound() && !routing(Some((8, 9))).is_sound() && !routing(Some((0, 0))).is_sound());
        assert!(!Routing { per_token: 257, ..routing(None) }.is_sound() && !Routing { per_token: 0, ..routing(None) }.is_sound());
        assert!(!Routing { per_token: 33, ..routing(Some((8, 1))) }.is_sound());
    }

    #[test]
    fn rows_in_bytes() {
        let r = routing(None);
        assert_eq!(r.row(Op::Dispatch, Algorithm::OneCopy), 7168.0 + 224.0 + 64.0);
        assert_eq!(r.row(Op::Combine, Algorithm::OneCopy), 14336.0 + 32.0);
        assert_eq!(r.row(Op::Dispatch, Algorithm::LowLatency), 7168.0 + 224.0 + 16.0);
        assert_eq!(Routing { dispatch_bytes: 2.0, ..r }.row(Op::Dispatch, Algorithm::OneCopy), 14336.0 + 64.0);
    }
}
