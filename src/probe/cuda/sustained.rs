//! What is left of a product's rate when the device works without a pause: clocks fall to what its power and its cooling bear, and short
//! measurements do not see that.

use super::device::Gpu;
use super::ffi::{Blas, Format};
use super::products::{Work, bytes, has};
use super::{Ranked, at_level};
use crate::calibrate::{Unit, What, sustained_share};
use crate::probe::{Stop, Task, median};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Seconds of work at most; power is regulated within a tenth of a second, what heat does later is another few percent.
const MOST: f64 = 5.0;

/// Shares of a usual task's time.
const TASKS: f64 = 30.0;

/// Seconds of a sample, and of the start that is not under the power's limit yet.
const SAMPLE: f64 = 0.01;
const SHORT: f64 = 0.05;

pub(super) fn tasks(gpu: &Rc<Gpu>, blas: &Rc<Blas>, seconds: f64) -> Vec<Ranked> {
    let side = [8192, 4096, 2048, 1024].into_iter().find(|s| bytes(Format::ALL[0], (*s, *s, *s)) < gpu.memory as usize / 3);
    let formats = Format::ALL.into_iter().filter(|f| matches!(f.word, "bf16" | "fp16" | "fp8" | "int8") && has(gpu, *f));
    formats
        .filter_map(|f| Some(at_level(u8::from(f.word == "int8"), sustained(gpu, blas, f, side?, (TASKS * seconds).min(MOST)))))
        .collect()
}

fn sustained(gpu: &Rc<Gpu>, blas: &Rc<Blas>, format: Format, side: usize, length: f64) -> Task {
    let (gpu, blas) = (Rc::clone(gpu), Rc::clone(blas));
    Task::device(format!("GPU {} sustained products {}", gpu.ordinal, format.word), move |stop: &Stop| {
        let work = Work::new(&gpu, &blas, format, (side, side, side))?;
        let chunk = |count: usize| {
            gpu.start.record(&gpu.stream)?;
            (0..count).try_for_each(|i| work.queue(&gpu, i))?;
            gpu.stop.record(&gpu.stream)
        };
        chunk(1)?;
        gpu.stream.wait()?;
        // From rest, as short measurements begin.
        std::thread::sleep(Duration::from_secs_f64(length.min(1.0)));
        chunk(1)?;
        let one = gpu.stop.since(&gpu.start)?;
        if one <= 0.0 {
            return Err("the device's clock shows no time".into());
        }
        let count = ((SAMPLE / one).ceil() as usize).clamp(1, 1000);
        let (begin, mut spent, mut short, mut long) = (Instant::now(), 0.0, Vec::new(), Vec::new());
        while spent < length && begin.elapsed().as_secs_f64() < 2.0 * length && !stop.asked() && !stop.spent() {
            chunk(count)?;
            let seconds = gpu.stop.since(&gpu.start)?;
            spent += seconds;
            let each = seconds / count as f64;
            if spent < SHORT.min(0.1 * length) || short.len() < 3 {
                short.push(each);
            } else if spent > 0.5 * length {
                long.push(each);
            }
        }
        work.verify()?;
        if long.len() < 5 {
            return Ok(Vec::new());
        }
        // Clocks and power are asked for while the device works.
        chunk(count)?;
        let (first, flop) = (median(&short), 2.0 * (side as f64) * (side as f64) * (side as f64));
        let shares: Vec<f64> = long.iter().map(|s| first / s).collect();
        let what = What::Metric { name: sustained_share(format.word) };
        let mut out = gpu.record(what, median(&shares), Unit::Other, shares);
        let mut note = |key: &str, value: String| drop(out.conditions.insert(key.into(), value));
        note("short", format!("{:.1} TFLOP/s", 1e-12 * flop / first));
        note("sustained", format!("{:.1} TFLOP/s over {spent:.1} s", 1e-12 * flop / median(&long)));
        gpu.stream.wait()?;
        Ok(vec![out])
    })
}
