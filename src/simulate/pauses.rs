//! Rates of flows on lossless Ethernet without a rate control that is fast enough: pauses (PFC) hold back whole ports.
//!
//! A full queue pauses the ports that fill it, each as long as the others, and a paused port holds back all that it carries, wherever that
//! goes; its own queue fills, and the ports behind it are paused in turn. In the fluid limit:
//! 1. a link shares its rate evenly among the ports that feed it, not among flows, and a port that offers less than its share leaves the
//!    rest to others;
//! 2. what a port delivers keeps its mix (queues are in order), so the tightest of the links that it feeds slows all of it;
//! 3. a slowed port is itself a link of that rate to the ports before it.
//!
//! The rates are the fixed point of these three, found from open links by damped steps. There is no parameter.

/// Flows with one path each over links in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Pauses {
    capacities: Vec<f64>,
    /// Paths as links.
    paths: Vec<Vec<u32>>,
    /// Place of every link in an order in which a link comes before all that it feeds.
    rank: Vec<u32>,
}

/// One use of a link by a flow, by order of the link and the port that feeds it.
#[derive(Debug, Clone, Copy)]
struct Use {
    rank: u32,
    /// The link before, or one of its own for a flow that starts here.
    port: u64,
    flow: u32,
    link: u32,
}

/// Ports that start flows have numbers from here on.
const SOURCE: u64 = 1 << 32;
/// Steps after which the mean of the second half is taken (a fixed point that is circled), and what counts as standing still.
const MOST_STEPS: usize = 400;
const STILL: f64 = 1e-5;
/// Share of the way to its new rate that a link goes in one step.
const STEP: f64 = 0.5;

impl Pauses {
    pub(super) fn new(capacities: Vec<f64>, paths: Vec<Vec<u32>>) -> Self {
        let rank = ranks(capacities.len(), &paths);
        Self { capacities, paths, rank }
    }

    /// The rates of some flows, in the order given.
    pub(super) fn rates(&self, flows: &[u32]) -> Vec<f64> {
        let uses = self.uses(flows);
        let mut open = self.capacities.clone();
        let mut rate = vec![0.0; self.paths.len()];
        let (mut sum, mut counted) = (vec![0.0; self.paths.len()], 0.0);
        for step in 0..MOST_STEPS {
            for &f in flows {
                rate[f as usize] = self.paths[f as usize].first().map_or(f64::INFINITY, |&l| self.capacities[l as usize]);
            }
            if self.step(&uses, &mut open, &mut rate) < STILL {
                return flows.iter().map(|&f| rate[f as usize]).collect();
            }
            if step >= MOST_STEPS / 2 {
                flows.iter().for_each(|&f| sum[f as usize] += rate[f as usize]);
                counted += 1.0;
            }
        }
        flows.iter().map(|&f| sum[f as usize] / counted).collect()
    }

    fn uses(&self, flows: &[u32]) -> Vec<Use> {
        let mut out = Vec::new();
        for &flow in flows {
            let path = &self.paths[flow as usize];
            for (i, &link) in path.iter().enumerate() {
                let port = if i == 0 { SOURCE + u64::from(flow) } else { u64::from(path[i - 1]) };
                out.push(Use { rank: self.rank[link as usize], port, flow, link });
            }
        }
        out.sort_unstable_by_key(|u| (u.rank, u.port, u.flow));
        out
    }

    /// Sends everything through all links in order at the rates that they have open, then opens and closes them; returns the greatest
    /// change as a share of a link's capacity.
    fn step(&self, uses: &[Use], open: &mut [f64], rate: &mut [f64]) -> f64 {
        let mut carried = vec![0.0; open.len()];
        // How far the rate of a link could go up, or has to go down, for the tightest of those that it feeds.
        let mut factor = vec![f64::INFINITY; open.len()];
        let mut ports: Vec<(f64, u64)> = Vec::new();
        for at in uses.chunk_by(|a, b| a.rank == b.rank) {
            let link = at[0].link as usize;
            ports.clear();
            ports.extend(at.chunk_by(|a, b| a.port == b.port).map(|p| (p.iter().map(|u| rate[u.flow as usize]).sum(), p[0].port)));
            let offered: f64 = ports.iter().map(|p| p.0).sum();
            carried[link] = offered.min(open[link]);
            let level = if offered > open[link] { even_share(&ports, open[link]) } else { f64::INFINITY };
            for (port, &(own, number)) in at.chunk_by(|a, b| a.port == b.port).zip(&ports) {
                let granted = if level.is_finite() { level } else { own + open[link] - offered };
                if number < SOURCE && own > 0.0 {
                    let fed = &mut factor[number as usize];
                    *fed = fed.min(granted / own);
                }
                if own > level {
                    port.iter().for_each(|u| rate[u.flow as usize] *= level / own);
                }
            }
        }
        let mut most = 0.0f64;
        for at in uses.chunk_by(|a, b| a.rank == b.rank) {
            let link = at[0].link as usize;
            let capacity = self.capacities[link];
            let target = (factor[link] * carried[link]).min(capacity);
            let next = open[link] + STEP * (target - open[link]);
            // A link that is not full, and will not be, may open and close as it likes.
            if carried[link] >= open[link] * (1.0 - 1e-9) || target < carried[link] * (1.0 - 1e-9) {
                most = most.max((next - open[link]).abs() / capacity);
            }
            open[link] = next;
        }
        most
    }
}

/// The level at which offers cut to it sum to `capacity`.
fn even_share(offers: &[(f64, u64)], capacity: f64) -> f64 {
    let mut sorted: Vec<f64> = offers.iter().map(|o| o.0).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut left = capacity;
    for (i, &offer) in sorted.iter().enumerate() {
        let share = left / (sorted.len() - i) as f64;
        if offer > share {
            return share;
        }
        left -= offer;
    }
    f64::INFINITY
}

/// An order of links in which each comes before all that it feeds; links that feed themselves in a circle come last.
fn ranks(links: usize, paths: &[Vec<u32>]) -> Vec<u32> {
    let mut feeds: Vec<(u32, u32)> = paths.iter().flat_map(|p| p.windows(2).map(|w| (w[0], w[1]))).collect();
    feeds.sort_unstable();
    feeds.dedup();
    let mut waits = vec![0u32; links];
    feeds.iter().for_each(|&(_, to)| waits[to as usize] += 1);
    let mut order: Vec<u32> = (0..links as u32).filter(|&l| waits[l as usize] == 0).collect();
    let mut next = 0;
    while next < order.len() {
        let from = order[next];
        next += 1;
        let first = feeds.partition_point(|f| f.0 < from);
        for &(_, to) in feeds[first..].iter().take_while(|f| f.0 == from) {
            waits[to as usize] -= 1;
            if waits[to as usize] == 0 {
                order.push(to);
            }
        }
    }
    let mut rank = vec![u32::MAX; links];
    order.iter().enumerate().for_each(|(i, &l)| rank[l as usize] = i as u32);
    for (last, r) in (order.len() as u32..).zip(rank.iter_mut().filter(|r| **r == u32::MAX)) {
        *r = last;
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(got: &[f64], want: &[f64]) {
        assert!(got.iter().zip(want).all(|(g, w)| (g / w - 1.0).abs() < 1e-4), "{got:?} is not {want:?}");
    }

    /// Hosts a, b behind one uplink (link 3) and c beside the receiver (link 4): ports share evenly, so c gets half.
    #[test]
    fn ports_share_evenly_not_flows() {
        let pauses = Pauses::new(vec![12.0; 5], vec![vec![0, 3, 4], vec![1, 3, 4], vec![2, 4]]);
        near(&pauses.rates(&[0, 1, 2]), &[3.0, 3.0, 6.0]);
        near(&pauses.rates(&[0, 2]), &[6.0, 6.0]);
        near(&pauses.rates(&[1]), &[12.0]);
    }

    /// a and b share uplink 3; a goes to link 4 with c and d, b to the free link 5: b is held to a's third, where a fluid gives two.
    #[test]
    fn a_paused_port_holds_back_who_goes_elsewhere() {
        let paths = vec![vec![0, 3, 4], vec![1, 3, 5], vec![2, 4], vec![6, 4]];
        near(&Pauses::new(vec![12.0; 7], paths).rates(&[0, 1, 2, 3]), &[4.0; 4]);
    }

    /// The same two hops back: the pause reaches host 0, whose second flow shares nothing with the full link but its own port.
    #[test]
    fn pauses_spread_to_the_sender() {
        // Host 0 sends to full link 3 (with hosts 1 and 2) and to free link 4.
        let paths = vec![vec![0, 5, 3], vec![0, 4], vec![1, 3], vec![2, 3]];
        near(&Pauses::new(vec![12.0; 6], paths).rates(&[0, 1, 2, 3]), &[4.0; 4]);
    }

    /// Link 3 is not full when link 5 begins to pause it, on its way to host 0: two flows to the full link hold back the third one.
    #[test]
    fn a_pause_passes_a_link_that_was_not_full() {
        // Host 0: one flow to free link 4, two over link 3 to link 5, where host 1 takes half.
        let paths = vec![vec![0, 4], vec![0, 3, 5], vec![0, 3, 5], vec![1, 6, 5], vec![1, 7]];
        near(&Pauses::new(vec![12.0; 8], paths).rates(&[0, 1, 2, 3, 4]), &[3.0, 3.0, 3.0, 6.0, 6.0]);
    }

    /// A port that offers less than its share leaves the rest to others.
    #[test]
    fn a_slow_port_leaves_its_share() {
        let mut capacities = vec![12.0; 3];
        capacities[0] = 2.0;
        near(&Pauses::new(capacities, vec![vec![0, 2], vec![1, 2]]).rates(&[0, 1]), &[2.0, 10.0]);
    }

    #[test]
    fn links_in_a_circle_have_an_order_too() {
        let pauses = Pauses::new(vec![10.0; 3], vec![vec![0, 1], vec![1, 2], vec![2, 0]]);
        assert!(pauses.rates(&[0, 1, 2]).iter().all(|r| (0.0..=10.0).contains(r)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// On random two-level trees no link is above its capacity, every flow moves, and flows of one host's port keep its mix.
        #[test]
        fn feasible(flows in prop::collection::vec((0u32..8, 0u32..8, 0u32..2), 1..24)) {
            // Links: host up 0..8, leaf up 8..12 (two a leaf of four hosts), leaf down 12..16, host down 16..24.
            let path = |&(from, to, spine): &(u32, u32, u32)| {
                let (a, b) = (from / 4, to / 4);
                if a == b { vec![from, 16 + to] } else { vec![from, 8 + 2 * a + spine, 12 + 2 * b + spine, 16 + to] }
            };
            let paths: Vec<Vec<u32>> = flows.iter().map(path).collect();
            let all: Vec<u32> = (0..paths.len() as u32).collect();
            let rates = Pauses::new(vec![1.0; 24], paths.clone()).rates(&all);
            for link in 0..24 {
                let used: f64 = paths.iter().zip(&rates).filter(|(p, _)| p.contains(&link)).map(|(_, r)| r).sum();
                prop_assert!(used <= 1.0 + 1e-4, "link {link}: {used}");
            }
            prop_assert!(rates.iter().all(|r| *r > 1e-3), "{rates:?}");
            for host in 0..8 {
                let own: Vec<f64> = paths.iter().zip(&rates).filter(|(p, _)| p[0] == host).map(|(_, r)| *r).collect();
                prop_assert!(own.iter().all(|r| (r / own[0] - 1.0).abs() < 1e-2), "host {host}: {own:?}");
            }
        }
    }
}
