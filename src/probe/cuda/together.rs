//! What else runs slows a product: copies from the host beside it, and a collective.

use super::clock::Timer;
use super::device::Gpu;
use super::ffi::{Blas, Buffer, Exchange, Format, Pinned};
use super::products::Work;
use super::{Ranked, Shared, at_level};
use crate::calibrate::{Unit, What};
use crate::probe::{Task, median};
use std::rc::Rc;

/// The product: large enough to fill the device, small enough for any.
fn shape(gpu: &Gpu) -> (usize, usize, usize) {
    let side = [4096, 2048, 1024].into_iter().find(|s| 6 * s * s * 8 < gpu.memory as usize).unwrap_or(512);
    (side, side, side)
}

pub(super) fn tasks(gpus: &[Rc<Gpu>], shared: &Rc<Shared>, blas: &Rc<Blas>, seconds: f64) -> Vec<Ranked> {
    let mut out = Vec::new();
    let kinds: &[bool] = if gpus.len() > 1 && shared.nccl.is_ok() { &[false, true] } else { &[false] };
    for &collective in kinds {
        let (gpus, shared, blas) = (gpus.to_vec(), Rc::clone(shared), Rc::clone(blas));
        let beside = if collective { "an all-reduce" } else { "copies from the host" };
        let task = Task::device(format!("GPU {} product beside {beside}", gpus[0].ordinal), move |stop| {
            let gpu = &gpus[0];
            let format = if gpu.capability >= 80 { Format::ALL[0] } else { Format::ALL[2] };
            let work = Work::new(gpu, &blas, format, shape(gpu))?;
            let alone = Timer { gpu, seconds: seconds / 2.0, stop, held: true }.time(&|i| work.queue(gpu, i))?;
            let timer = Timer { gpu, seconds: seconds / 2.0, stop, held: false };
            let bytes = (gpu.memory as usize / 16).min(1 << 28);
            let together = if collective {
                let (communicator, places) = shared.exchange(&gpus, bytes)?;
                // On the second streams: a large one outlasts the products.
                let seconds: Vec<_> = gpus.iter().map(|g| super::ffi::Stream::new(&g.context)).collect::<Result<_, _>>()?;
                let list =
                    timer.time_after(&|| communicator.queue(Exchange::AllReduce, bytes, &places, &seconds), &|i| work.queue(gpu, i))?;
                seconds.iter().try_for_each(super::ffi::Stream::wait)?;
                list
            } else {
                let (buffer, host) = (Buffer::new(&gpu.context, bytes)?, Pinned::new(&gpu.context, bytes)?);
                let list = timer.time_after(&|| buffer.write_from(&host, bytes, &gpu.second), &|i| work.queue(gpu, i))?;
                gpu.second.wait()?;
                list
            };
            work.verify()?;
            if alone.is_empty() || together.is_empty() {
                return Ok(Vec::new());
            }
            let base = median(&alone);
            let ratios: Vec<f64> = together.iter().map(|t| t / base).collect();
            let what = What::Metric { name: format!("time of a product beside {beside} over that alone") };
            Ok(vec![gpu.record(what, median(&ratios), Unit::Other, ratios)])
        });
        out.push(at_level(1, task));
    }
    out
}
