//! What a replay asks of whoever knows how fast jobs run where they lie: step times, and reads of the weights of services.

use super::grant::Grant;

/// How long the steps of jobs take on what they got.
pub trait StepTimes {
    /// A job with steps has started.
    fn place(&mut self, now: f64, job: u32, model: u16, grant: &Grant);
    /// It has stopped.
    fn remove(&mut self, now: f64, job: u32);
    /// Jobs whose step time has changed since the last call, with the new one in seconds.
    fn changed(&mut self, now: f64, out: &mut Vec<(u32, f64)>);
    /// A replica of a service reads its weights on the nodes that it got; returns whether there is anything to read.
    fn read(&mut self, _now: f64, _replica: u32, _service: u32, _grant: &Grant) -> bool {
        false
    }
    /// A replica that may be reading has stopped.
    fn stop_reading(&mut self, _now: f64, _replica: u32) {}
    /// When the next read ends, if nothing else happens.
    fn next_read(&mut self) -> Option<f64> {
        None
    }
    /// Replicas whose reads end by `now`, each with the seconds that it waits beside for the answers of the tier.
    fn finish_reads(&mut self, _now: f64, _out: &mut Vec<(u32, f64)>) {}
}

/// For jobs that are all given by their time.
#[derive(Debug, Clone, Copy)]
pub struct NoSteps;

impl StepTimes for NoSteps {
    fn place(&mut self, _: f64, _: u32, _: u16, _: &Grant) {}
    fn remove(&mut self, _: f64, _: u32) {}
    fn changed(&mut self, _: f64, _: &mut Vec<(u32, f64)>) {}
}
