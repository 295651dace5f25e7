//! Which engine a request goes to.

use super::replica::Replica;
use super::request::{NO_SESSION, Requests};
use crate::choice;
use rustc_hash::FxHashMap;

choice! {
    /// How requests are spread over replicas.
    pub enum RouterPolicy {
        /// One after the other.
        RoundRobin = "round-robin",
        /// To the replica with the fewest prompt and answer tokens of unfinished requests.
        LeastTokens = "least-tokens",
        /// To the replica with the least work once its cached prefix is taken off.
        PrefixAware = "prefix-aware",
        /// A session stays where its first request went, which is the replica with the fewest tokens.
        Session = "session",
    }
}

/// A router with its state.
pub(super) struct Router {
    policy: RouterPolicy,
    next: usize,
    sessions: FxHashMap<u32, usize>,
}

impl Router {
    pub(super) fn new(policy: RouterPolicy) -> Self {
        Self { policy, next: 0, sessions: FxHashMap::default() }
    }

    /// The replica for a request.
    pub(super) fn choose(&mut self, id: u32, requests: &Requests, replicas: &[Replica]) -> usize {
        match self.policy {
            RouterPolicy::RoundRobin => {
                self.next = (self.next + 1) % replicas.len();
                (self.next + replicas.len() - 1) % replicas.len()
            }
            RouterPolicy::LeastTokens => least(replicas, |r| r.outstanding),
            RouterPolicy::PrefixAware => {
                let whole = u64::from(requests.list[id as usize].input);
                least(replicas, |r| r.outstanding + whole - r.cached(requests, id))
            }
            RouterPolicy::Session => {
                let session = requests.list[id as usize].session;
                if session == NO_SESSION {
                    return least(replicas, |r| r.outstanding);
                }
                *self.sessions.entry(session).or_insert_with(|| least(replicas, |r| r.outstanding))
            }
        }
    }
}

/// The first replica with the least of something.
fn least(replicas: &[Replica], of: impl Fn(&Replica) -> u64) -> usize {
    replicas.iter().enumerate().min_by_key(|(i, r)| (of(r), *i)).map_or(0, |(i, _)| i)
}
