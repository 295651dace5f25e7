//! Measuring the CUDA devices of this host: memory, copies, launches, matrix products, collectives, and what slows what.
//!
//! Nothing here needs CUDA to be there: [`Cuda::open`] looks for the driver and says what is missing. Protocol: `clock.rs`.

mod clock;
mod collectives;
mod copies;
mod device;
mod ffi;
mod launches;
mod products;
mod streams;
mod sustained;
mod together;

use super::Task;
use crate::calibrate::{Unit, What};
use device::Gpu;
use ffi::{Blas, Buffer, Communicator, Driver, Monitor, Nccl};
use rand_pcg::rand_core::Rng;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A task with its level: lower ones come first.
type Ranked = (u8, Task);

const fn at_level(level: u8, task: Task) -> Ranked {
    (level, task)
}

/// Communicators and the memory of one process's collectives.
type Places = Vec<(Buffer, Buffer)>;

/// What tasks of several devices share: making a communicator takes seconds.
struct Shared {
    nccl: Result<Rc<Nccl>, String>,
    made: RefCell<BTreeMap<usize, Rc<Communicator>>>,
}

impl Shared {
    /// A communicator over devices, and for each a buffer to send and one to receive.
    fn exchange(&self, gpus: &[Rc<Gpu>], bytes: usize) -> Result<(Rc<Communicator>, Places), String> {
        let nccl = self.nccl.as_ref().map_err(Clone::clone)?;
        let places = gpus.iter().map(|g| Ok((Buffer::new(&g.context, bytes)?, Buffer::new(&g.context, bytes)?)));
        let places = places.collect::<Result<Places, String>>()?;
        if let Some(known) = self.made.borrow().get(&gpus.len()) {
            return Ok((Rc::clone(known), places));
        }
        let ordinals: Vec<i32> = gpus.iter().map(|g| g.ordinal).collect();
        let new = Rc::new(Communicator::new(nccl, &ordinals)?);
        self.made.borrow_mut().insert(gpus.len(), Rc::clone(&new));
        Ok((new, places))
    }
}

/// CUDA on this host.
pub struct Cuda {
    shared: Rc<Shared>,
    blas: Result<Rc<Blas>, String>,
    gpus: Vec<Rc<Gpu>>,
    /// What cannot be measured for want of a library.
    pub notes: Vec<String>,
}

impl Cuda {
    /// Starts the driver and looks at all devices.
    ///
    /// # Errors
    /// What is missing: a library, a symbol, a newer driver, a device.
    pub fn open() -> Result<Self, String> {
        let driver = Driver::open()?;
        let mut notes = Vec::new();
        let monitor = Monitor::open().map(Rc::new).map_err(|e| notes.push(format!("clocks and power are not recorded: {e}"))).ok();
        let gpus = (0..driver.devices).map(|i| Gpu::new(&driver, i, monitor.clone()).map(Rc::new)).collect::<Result<Vec<_>, _>>()?;
        let blas = Blas::open(&gpus[0].context);
        if let Err(e) = &blas {
            notes.push(format!("matrix products are not measured: {e}"));
        }
        let nccl = Nccl::open();
        match &nccl {
            Err(e) if gpus.len() > 1 => notes.push(format!("collectives are not measured: {e}")),
            _ => {}
        }
        let shared = Rc::new(Shared { nccl, made: RefCell::default() });
        Ok(Self { shared, blas, gpus, notes })
    }

    /// The devices by name.
    #[must_use]
    pub fn devices(&self) -> Vec<String> {
        self.gpus.iter().map(|g| g.name.clone()).collect()
    }

    /// All tasks for a time, the plain ones of each kind first, else in an order that is drawn: what drifts meanwhile falls on all alike.
    #[must_use]
    pub fn tasks(&self, budget: f64) -> Vec<Task> {
        // Counted first, as all share the time; setting up takes part of it.
        let count = self.ranked(0.0).len().max(1);
        let mut list = self.ranked((0.7 * budget / count as f64).clamp(0.002, 2.0));
        let mut stream = crate::engine::Streams::new(3).stream("order of tasks on devices");
        for i in (1..list.len()).rev() {
            list.swap(i, (stream.next_u64() % (i as u64 + 1)) as usize);
        }
        list.sort_by_key(|(level, _)| *level);
        list.into_iter().map(|(_, task)| task).collect()
    }

    fn ranked(&self, seconds: f64) -> Vec<Ranked> {
        let first = &self.gpus[0];
        let mut out: Vec<Ranked> = self.gpus.iter().map(inventory).collect();
        out.extend(streams::tasks(first, seconds));
        out.extend(copies::tasks(&self.gpus, seconds));
        out.extend(launches::tasks(first, seconds));
        if let Ok(blas) = &self.blas {
            out.extend(products::tasks(first, blas, seconds));
            out.extend(sustained::tasks(first, blas, seconds));
            out.extend(together::tasks(&self.gpus, &self.shared, blas, seconds));
        }
        if self.gpus.len() > 1 {
            out.extend(self.gpus.iter().map(|g| streams::compared(g, seconds)));
            // A handle of cuBLASLt belongs to the device that was current when it was made.
            if self.blas.is_ok() {
                let each = self.gpus.iter().filter_map(|g| products::compared(g, &Blas::open(&g.context).ok()?, seconds));
                out.extend(each);
            }
            if self.shared.nccl.is_ok() {
                out.extend(collectives::tasks(&self.gpus, &self.shared, seconds));
            }
        }
        out
    }
}

/// What a device says of itself.
fn inventory(gpu: &Rc<Gpu>) -> Ranked {
    let gpu = Rc::clone(gpu);
    let task = Task::device(format!("GPU {} inventory", gpu.ordinal), move |_| {
        let one = |name: &str, value: f64| gpu.record(What::Metric { name: name.into() }, value, Unit::Other, Vec::new());
        Ok(vec![
            one("free memory, B", gpu.memory as f64),
            one("last-level cache, B", gpu.cache as f64),
            one("compute units", f64::from(gpu.units)),
            one("compute capability", f64::from(gpu.capability) / 10.0),
        ])
    });
    at_level(0, task)
}
