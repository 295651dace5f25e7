//! The way of a request to its engine: through one process that takes requests in one after the other, writes their prompts as tokens, and
//! streams their answers.

use super::run::{Event, Run};
use crate::units::SimTime;

impl Run<'_, '_> {
    /// A request queues at a rank.
    pub(super) fn enqueue(&mut self, id: u32, replica: usize, now: f64) {
        if !self.replicas[replica].open {
            self.route(id, now);
            return;
        }
        self.replicas[replica].expect(id, self.requests);
        if !self.pass_front(id, replica, now) {
            self.replicas[replica].deliver(id, now);
            self.wake(replica, now);
        }
    }

    /// Lets a new request pass the process before its engine; false where the engine has none that takes time. Its answer keeps the process busy
    /// right behind it, so that the rate of requests is bounded as it is with answers streamed in between.
    fn pass_front(&mut self, id: u32, replica: usize, now: f64) -> bool {
        let engine = self.place_of(replica).0;
        let (request_s, token_s) = self.pool.engines[engine].limits.front;
        if request_s + token_s == 0.0 || !self.is_new(id) {
            return false;
        }
        let at = now.max(self.front_free[engine]) + request_s;
        self.front_free[engine] = at + token_s * f64::from(self.requests.list[id as usize].output);
        self.queue.push(SimTime::new(at), Event::Through(id, replica as u32, self.lives[engine]));
        true
    }

    /// A request has passed; where its engine has failed meanwhile, it goes elsewhere.
    pub(super) fn through(&mut self, id: u32, replica: usize, life: u16, now: f64) {
        if self.lives[self.place_of(replica).0] == life {
            self.replicas[replica].deliver(id, now);
            self.wake(replica, now);
        } else {
            self.route(id, now);
        }
    }
}
