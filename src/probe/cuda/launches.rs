//! What it costs to start a kernel: one after the other in a stream, as nodes of a graph, and one that the host waits for.

use super::clock::Timer;
use super::device::{Gpu, Kernel};
use super::{Ranked, at_level};
use crate::calibrate::{Unit, What};
use crate::probe::{Task, median, samples};
use std::rc::Rc;
use std::time::Instant;

/// Kernels in a row.
const ROW: usize = 200;

pub(super) fn tasks(gpu: &Rc<Gpu>, seconds: f64) -> Vec<Ranked> {
    let name = |what: &str| What::Metric { name: format!("time of {what}, s") };
    let each = |list: Vec<f64>| list.into_iter().map(|s| s / ROW as f64).collect::<Vec<f64>>();
    let row = |gpu: &Gpu| (0..ROW).try_for_each(|_| gpu.launch(Kernel::Nop, &gpu.stream, &[]));
    let plain = {
        let gpu = Rc::clone(gpu);
        Task::device(format!("GPU {} launches", gpu.ordinal), move |stop| {
            let timer = Timer { gpu: &gpu, seconds, stop, held: false };
            let list = each(timer.time(&|_| row(&gpu))?);
            Ok(timer.record(name("a kernel in a stream"), list, None))
        })
    };
    let graph = {
        let gpu = Rc::clone(gpu);
        Task::device(format!("GPU {} launches by graph", gpu.ordinal), move |stop| {
            row(&gpu)?;
            gpu.stream.wait()?;
            let recorded = gpu.stream.record(|| row(&gpu))?;
            let timer = Timer { gpu: &gpu, seconds, stop, held: true };
            let list = each(timer.time(&|_| recorded.launch(&gpu.stream))?);
            Ok(timer.record(name("a kernel in a graph"), list, None))
        })
    };
    let waited = {
        let gpu = Rc::clone(gpu);
        Task::device(format!("GPU {} launch and wait", gpu.ordinal), move |stop| {
            let mut failure = None;
            let list = samples(seconds, 20, stop, || {
                let start = Instant::now();
                let done = gpu.launch(Kernel::Nop, &gpu.stream, &[]).and_then(|()| gpu.stream.wait());
                failure = failure.take().or(done.err());
                start.elapsed().as_secs_f64()
            });
            match failure {
                Some(failure) => Err(failure),
                None if list.len() < 20 => Ok(Vec::new()),
                None => Ok(vec![gpu.record(name("a kernel that the host waits for"), median(&list), Unit::Seconds, list)]),
            }
        })
    };
    vec![at_level(0, plain), at_level(0, graph), at_level(1, waited)]
}
