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
    /// Where the next turn of each model begins.
    next: Vec<usize>,
    sessions: FxHashMap<u32, usize>,
}

impl Router {
    pub(super) fn new(policy: RouterPolicy) -> Self {
        Self { policy, next: Vec::new(), sessions: FxHashMap::default() }
    }

    /// The replica for a request; none where no engine is there.
    pub(super) fn choose(&mut self, id: u32, requests: &Requests, replicas: &[Replica]) -> Option<usize> {
        let model = requests.model_of(id);
        match self.policy {
            RouterPolicy::RoundRobin => {
                let n = replicas.len();
                if self.next.len() <= model as usize {
                    self.next.resize(model as usize + 1, 0);
                }
                let next = &mut self.next[model as usize];
                let turn = (0..n).map(|i| (*next + i) % n).find(|&r| replicas[r].serves(model))?;
                *next = (turn + 1) % n;
                Some(turn)
            }
            RouterPolicy::LeastTokens => least(replicas, model, |r| r.outstanding),
            RouterPolicy::PrefixAware => {
                let whole = u64::from(requests.list[id as usize].input);
                least(replicas, model, |r| r.outstanding + whole - r.cached(requests, id))
            }
            RouterPolicy::Session => {
                let session = requests.list[id as usize].session;
                if session == NO_SESSION {
                    return least(replicas, model, |r| r.outstanding);
                }
                if let Some(&r) = self.sessions.get(&session).filter(|&&r| replicas[r].serves(model)) {
                    return Some(r);
                }
                let r = least(replicas, model, |r| r.outstanding)?;
                self.sessions.insert(session, r);
                Some(r)
            }
        }
    }
}

/// The first open replica of a model with the least of something.
fn least(replicas: &[Replica], model: u16, of: impl Fn(&Replica) -> u64) -> Option<usize> {
    replicas.iter().enumerate().filter(|(_, r)| r.serves(model)).min_by_key(|(i, r)| (of(r), *i)).map(|(i, _)| i)
}
