//! Measuring a host: memory by level and threads, matrix products on the CPU, storage, TCP, and its CUDA devices. The one room beside the
//! command line that reads clocks and touches devices: that is its work.
//!
//! A probe is a list of [`Task`]s. Each gives records of `calibrate`, so that a probe of another kind of device only has to add tasks.

#[cfg(target_os = "linux")]
mod cuda;
#[cfg(not(target_os = "linux"))]
mod cuda {
    //! No CUDA part: its libraries are loaded by the names that they have on Linux.

    /// CUDA on this host.
    pub struct Cuda {
        /// What cannot be measured for want of a library.
        pub notes: Vec<String>,
    }
    impl Cuda {
        /// Never opens.
        ///
        /// # Errors
        /// Always.
        pub fn open() -> Result<Self, String> {
            Err("CUDA devices are measured on Linux".into())
        }
        /// None.
        #[must_use]
        pub fn devices(&self) -> Vec<String> {
            Vec::new()
        }
        /// None.
        #[must_use]
        pub fn tasks(&self, _: f64) -> Vec<super::Task> {
            Vec::new()
        }
    }
}
mod disk;
mod host;
mod memory;
mod network;
mod products;
#[cfg(target_os = "linux")]
mod uring;

pub use cuda::Cuda;
pub use host::now;
pub use network::serve;

use crate::calibrate::Measurement;
use crate::measured::ValueOrigin;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What is probed.
#[derive(Debug, Clone)]
pub struct ProbeOptions {
    /// Folder for the file that storage is measured on; absent: storage is not measured.
    pub scratch: Option<PathBuf>,
    /// Another host that runs `calibrate probe --serve`, as `host:port`.
    pub peer: Option<String>,
    /// Seconds for one task, about.
    pub seconds_each: f64,
    /// Greatest size of the file on the scratch folder, bytes.
    pub file_bytes: u64,
    /// Greatest working set in memory, bytes.
    pub memory_bytes: u64,
}

/// A wish to stop, from outside or because time is up; tasks look at it between samples.
#[derive(Clone)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    end: Instant,
}

impl Stop {
    /// Stops when `asked` turns true or the budget is spent.
    #[must_use]
    pub fn new(asked: Arc<AtomicBool>, budget: Duration) -> Self {
        Self { asked, end: Instant::now() + budget }
    }
    /// Whether somebody asked to stop.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }
    /// Whether time is up.
    #[must_use]
    pub fn spent(&self) -> bool {
        Instant::now() >= self.end
    }
}

/// What a task measures: the records, or why it cannot.
type Run = Box<dyn Fn(&Stop) -> Result<Vec<Measurement>, String>>;

/// One thing to measure.
pub struct Task {
    /// Its name; what is done is known by it.
    pub id: String,
    run: Run,
    /// Whether its records say themselves of which device they are, and where their values come from.
    on_device: bool,
}

impl Task {
    fn new(id: impl Into<String>, run: impl Fn(&Stop) -> Result<Vec<Measurement>, String> + 'static) -> Self {
        Self { id: id.into(), run: Box::new(run), on_device: false }
    }

    /// A task whose records name their device and their origin.
    #[cfg(target_os = "linux")]
    fn device(id: impl Into<String>, run: impl Fn(&Stop) -> Result<Vec<Measurement>, String> + 'static) -> Self {
        Self { on_device: true, ..Self::new(id, run) }
    }

    /// Measures; records carry the task, the session, the host and the time.
    ///
    /// # Errors
    /// Why it cannot be measured here.
    pub fn measure(&self, session: &str, stop: &Stop) -> Result<Vec<Measurement>, String> {
        let mut list = (self.run)(stop)?;
        let (name, device, time) = (host::name(), host::processor(), now());
        for one in &mut list {
            if !self.on_device {
                one.origin = ValueOrigin::Host.word().into();
            }
            one.tool = concat!("orrery probe ", env!("CARGO_PKG_VERSION")).into();
            one.source = format!("probe: {}", self.id);
            one.session = session.into();
            one.time.clone_from(&time);
            one.host.clone_from(&name);
            if one.device.is_empty() {
                one.device.clone_from(&device);
            }
        }
        Ok(list)
    }
}

/// All tasks in an order that gives a rough picture early: of every kind the plain shapes first.
///
/// # Errors
/// What stands in the way of measuring storage: too little room, or a folder that is none.
pub fn tasks(options: &ProbeOptions) -> Result<Vec<Task>, String> {
    let kinds = [memory::tasks(options), products::tasks(options), disk::tasks(options)?, network::tasks(options)];
    let mut queues: Vec<std::collections::VecDeque<Task>> = kinds.into_iter().map(Into::into).collect();
    let mut out = Vec::new();
    while queues.iter().any(|q| !q.is_empty()) {
        out.extend(queues.iter_mut().filter_map(std::collections::VecDeque::pop_front));
    }
    Ok(out)
}

/// Samples of something for about so many seconds: at least `least`, after a warm-up by time.
fn samples(seconds: f64, least: usize, stop: &Stop, mut once: impl FnMut() -> f64) -> Vec<f64> {
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < 0.15 * seconds {
        once();
    }
    let mut out = Vec::new();
    while (out.len() < least || start.elapsed().as_secs_f64() < seconds) && !stop.asked() && out.len() < 2000 {
        out.push(once());
    }
    out
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
