//! Streams through a device's memory by working set, from inside its cache to far beyond it, and the latency of single reads.

use super::clock::Timer;
use super::device::{BITS, FLOATS, Gpu, Kernel, float, places, word};
use super::ffi::{Arg, Buffer};
use super::{Ranked, at_level};
use crate::calibrate::{Measurement, What};
use crate::probe::{Stop, Task};
use std::cell::Cell;
use std::rc::Rc;

/// Seconds that a kernel lasts, by passes over its working set: its start-up is then nothing.
const KERNEL: f64 = 1e-3;

/// Most passes.
const PASSES: f64 = 20_001.0;

pub(super) fn tasks(gpu: &Rc<Gpu>, seconds: f64) -> Vec<Ranked> {
    let mut out = Vec::new();
    let most = (gpu.memory / 4).min(8 << 30);
    let shapes = [(Kernel::Copy, "copy", 1.0), (Kernel::Triad, "triad", 1.31)];
    for (kernel, name, factor) in shapes {
        // Not powers of two, and other sets for other kernels: no alignment is special.
        let first = (gpu.cache / 16).max(1 << 19) as f64 * factor;
        let sizes = (0..).map(|i| (first * libm::pow(1.9, f64::from(i))) as u64).take_while(|b| *b <= most);
        for (i, bytes) in sizes.enumerate() {
            // The memory itself matters most, then the cache.
            let level = u8::from(bytes < 4 * gpu.cache) + u8::from(i % 2 == 1);
            out.push(at_level(level, stream(gpu, kernel, name, bytes, seconds)));
        }
    }
    for (kernel, name) in [(Kernel::Scale, "scale"), (Kernel::Read, "read")] {
        for part in [5, 7] {
            out.push(at_level(1, stream(gpu, kernel, name, most * part / 9, seconds)));
        }
    }
    for lines in [gpu.cache / 512, gpu.cache / 32, gpu.cache / 8].map(|l| 1u64 << (63 - l.max(2).leading_zeros())) {
        if 128 * lines <= most {
            out.push(at_level(1, chase(gpu, lines as u32, seconds)));
        }
    }
    out
}

fn stream(gpu: &Rc<Gpu>, kernel: Kernel, name: &'static str, bytes: u64, seconds: f64) -> Task {
    let gpu = Rc::clone(gpu);
    Task::device(format!("GPU {} memory {name} {bytes} B", gpu.ordinal), move |stop| {
        let stream = Stream::new(&gpu, kernel, bytes)?;
        let timer = Timer { gpu: &gpu, seconds, stop, held: true };
        let passes = stream.passes(&timer)?;
        let samples = timer.time(&|_| stream.queue(passes))?;
        stream.verify()?;
        let moved = stream.bytes() as f64 * f64::from(passes);
        let what = What::Memory { kernel: name.into(), bytes: stream.bytes() as f64, threads: 1 };
        Ok(timer.record(what, samples, Some(moved)))
    })
}

/// Every device for itself, to find the one that is out of line: a stream through memory.
pub(super) fn compared(gpu: &Rc<Gpu>, seconds: f64) -> Ranked {
    let gpu = Rc::clone(gpu);
    let bytes = (gpu.memory / 4).min(1 << 30);
    let task = Task::device(format!("GPU {} beside the others: memory", gpu.ordinal), move |stop| {
        let stream = Stream::new(&gpu, Kernel::Copy, bytes)?;
        let timer = Timer { gpu: &gpu, seconds, stop, held: true };
        let samples = timer.time(&|_| stream.queue(1))?;
        stream.verify()?;
        Ok(timer.record(What::Metric { name: "copy inside the memory of one GPU, B/s".into() }, samples, Some(stream.bytes() as f64)))
    });
    at_level(0, task)
}

/// Arrays of a kernel that fill a working set together.
struct Stream<'a> {
    gpu: &'a Gpu,
    kernel: Kernel,
    arrays: Vec<Buffer>,
}

const SEED: u64 = 77;
const FACTOR: f32 = 3.0;

impl<'a> Stream<'a> {
    fn new(gpu: &'a Gpu, kernel: Kernel, bytes: u64) -> Result<Self, String> {
        let count = match kernel {
            Kernel::Triad => 3,
            Kernel::Read => 1,
            _ => 2,
        };
        let each = (bytes / count / 16).max(1) as usize * 16;
        let mut arrays = (0..count).map(|_| Buffer::new(&gpu.context, each)).collect::<Result<Vec<_>, _>>()?;
        for (i, array) in arrays.iter().enumerate().skip(usize::from(count > 1)) {
            gpu.fill(array, SEED + i as u64, FLOATS)?;
        }
        if kernel == Kernel::Read {
            let result = Buffer::new(&gpu.context, 16)?;
            result.write(0, &[0; 16])?;
            arrays.push(result);
        }
        Ok(Self { gpu, kernel, arrays })
    }

    /// Bytes that one pass moves.
    fn bytes(&self) -> u64 {
        let streamed = if self.kernel == Kernel::Read { 1 } else { self.arrays.len() };
        (streamed * self.arrays[0].bytes()) as u64
    }

    fn queue(&self, passes: u32) -> Result<(), String> {
        let at = |i: usize| Arg::U64(self.arrays[i].at(0));
        let tail = [Arg::U64(self.arrays[0].bytes() as u64 / 16), Arg::U32(passes)];
        let args = match self.kernel {
            Kernel::Triad => vec![at(0), at(1), at(2), Arg::F32(FACTOR), tail[0], tail[1]],
            Kernel::Scale => vec![at(0), at(1), Arg::F32(FACTOR), tail[0], tail[1]],
            Kernel::Read => vec![at(0), tail[0], tail[1], at(1)],
            _ => vec![at(0), at(1), tail[0], tail[1]],
        };
        self.gpu.launch(self.kernel, &self.gpu.stream, &args)
    }

    /// Passes for about [`KERNEL`] seconds; odd, so that what reads leaves the same.
    fn passes(&self, timer: &Timer<'_>) -> Result<u32, String> {
        let mut passes = 1.0f64;
        for _ in 0..3 {
            let gpu = timer.gpu;
            gpu.start.record(&gpu.stream)?;
            self.queue(passes as u32)?;
            gpu.stop.record(&gpu.stream)?;
            let seconds = gpu.stop.since(&gpu.start)?;
            if seconds >= KERNEL {
                break;
            }
            passes = (passes * 1.2 * KERNEL / seconds.max(1e-7)).min(PASSES);
        }
        Ok(passes as u32 | 1)
    }

    fn verify(&self) -> Result<(), String> {
        let wrong = || Err("the stream gave a wrong result".to_owned());
        if self.kernel == Kernel::Read {
            let once = (0..self.arrays[0].bytes() as u64 / 8).fold(0, |all, i| all ^ word(SEED, i, FLOATS));
            let got = self.arrays[1].read(0, 8)?;
            // The result is added to by every kernel: after an even number nothing is left of it.
            let got = got.iter().rev().fold(0u64, |all, b| all << 8 | u64::from(*b));
            self.arrays[1].write(0, &[0; 16])?;
            self.queue(1)?;
            self.gpu.stream.wait()?;
            let again = self.arrays[1].read(0, 8)?.iter().rev().fold(0u64, |all, b| all << 8 | u64::from(*b));
            return if again == once && (got == 0 || got == once) { Ok(()) } else { wrong() };
        }
        for (at, bytes) in places(self.arrays[0].bytes()) {
            for (j, cell) in self.arrays[0].read(at, bytes)?.chunks_exact(4).enumerate() {
                let i = (at / 4 + j) as u64;
                let (b, c) = (float(SEED + 1, i), float(SEED + 2, i));
                let want = match self.kernel {
                    Kernel::Triad => b + FACTOR * c,
                    Kernel::Scale => FACTOR * b,
                    _ => b,
                };
                let got = f32::from_le_bytes([cell[0], cell[1], cell[2], cell[3]]);
                // One rounding less where the device multiplies and adds at once.
                if (got - want).abs() > 1e-6 * (b.abs() + FACTOR * c.abs()) {
                    return wrong();
                }
            }
        }
        Ok(())
    }
}

const STEPS: u32 = 4096;

/// Where a run of the chase from a line ends.
fn line_after(start: u32, lines: u32) -> u32 {
    (0..STEPS).fold(start, |j, _| (j.wrapping_mul(5).wrapping_add(12345)) & (lines - 1))
}

/// One read after the other along a circle through all lines.
fn chase(gpu: &Rc<Gpu>, lines: u32, seconds: f64) -> Task {
    let gpu = Rc::clone(gpu);
    Task::device(
        format!("GPU {} latency in {} B", gpu.ordinal, 128 * u64::from(lines)),
        move |stop: &Stop| -> Result<Vec<Measurement>, String> {
            let bytes = 128 * lines as usize;
            let (circle, end) = (Buffer::new(&gpu.context, bytes)?, Buffer::new(&gpu.context, 16)?);
            gpu.fill(&circle, SEED, BITS)?;
            gpu.launch(Kernel::Circle, &gpu.stream, &[Arg::U64(circle.at(0)), Arg::U32(lines)])?;
            gpu.stream.wait()?;
            let timer = Timer { gpu: &gpu, seconds, stop, held: true };
            let next = Cell::new(0);
            let queue = |_| {
                let args = [Arg::U64(circle.at(0)), Arg::U32(next.get()), Arg::U32(STEPS), Arg::U64(end.at(0))];
                next.set(line_after(next.get(), lines));
                gpu.launch(Kernel::Chase, &gpu.stream, &args)
            };
            let samples = timer.time(&queue)?;
            if end.read(0, 4)? != (32 * next.get()).to_le_bytes() {
                return Err("the chase ended at a wrong line".into());
            }
            let each = samples.into_iter().map(|s| s / f64::from(STEPS)).collect();
            Ok(timer.record(What::Metric { name: format!("latency of a read in {bytes} B, s") }, each, None))
        },
    )
}
