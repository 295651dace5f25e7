//! Copies between host and device, pinned and pageable, each way and both at once, and between devices.

use super::clock::Timer;
use super::device::{BITS, Gpu, places, word};
use super::ffi::{Buffer, Pinned};
use super::{Ranked, at_level};
use crate::calibrate::{Measurement, Unit, What};
use crate::probe::{Stop, Task, median, samples};
use std::rc::Rc;
use std::time::Instant;

const SEED: u64 = 5;

/// Sizes from 1 KiB on, and others between them.
pub(super) fn sizes(most: u64) -> Vec<(u8, usize)> {
    let even = (0..12).map(|i| (u8::from(i % 2 == 1), 1024usize << (2 * i)));
    let between = (0..11).map(|i| (1, (2.3 * 1024.0 * libm::pow(3.9, f64::from(i))) as usize / 16 * 16));
    even.chain(between).filter(|(_, b)| *b as u64 <= most).collect()
}

pub(super) fn tasks(gpus: &[Rc<Gpu>], seconds: f64) -> Vec<Ranked> {
    let gpu = &gpus[0];
    let most = (gpu.memory / 8).min(1 << 30);
    let mut out = Vec::new();
    for (level, bytes) in sizes(most) {
        for to_device in [true, false] {
            out.push(at_level(level, pinned(gpu, to_device, bytes, seconds)));
        }
    }
    for bytes in [1 << 16, 1 << 20, 1 << 24, 1 << 26].into_iter().filter(|b| *b as u64 <= most) {
        for to_device in [true, false] {
            out.push(at_level(1, pageable(gpu, to_device, bytes, seconds)));
        }
    }
    out.push(at_level(1, both(gpu, (most as usize).min(1 << 26), seconds)));
    for (i, other) in gpus.iter().enumerate().skip(1) {
        for (level, bytes) in sizes(most).into_iter().filter(|(l, b)| i == 1 || (*l == 0 && *b >= 1 << 20)) {
            out.push(at_level(level, peer(gpu, other, bytes, seconds)));
        }
        if i == 1 {
            sizes(most).into_iter().filter(|(l, _)| *l == 0).for_each(|(_, b)| out.push(at_level(1, peer(other, gpu, b, seconds))));
        }
    }
    out
}

const fn path(to_device: bool) -> &'static str {
    if to_device { "host-to-device" } else { "device-to-host" }
}

fn contents(bytes: usize) -> Vec<u8> {
    (0..bytes.div_ceil(8) as u64).flat_map(|i| word(SEED, i, BITS).to_le_bytes()).take(bytes).collect()
}

/// Whether what lies at a few places is what was sent.
fn verify(bytes: usize, read: impl Fn(usize, usize) -> Result<Vec<u8>, String>) -> Result<(), String> {
    for (at, count) in places(bytes) {
        let got = read(at, count)?;
        let want = |i: usize| word(SEED, i as u64 / 8, BITS).to_le_bytes()[i % 8];
        if got.len() != count || got.iter().enumerate().any(|(i, b)| *b != want(at + i)) {
            return Err("the copy gave a wrong result".into());
        }
    }
    Ok(())
}

fn pinned(gpu: &Rc<Gpu>, to_device: bool, bytes: usize, seconds: f64) -> Task {
    let gpu = Rc::clone(gpu);
    Task::device(format!("GPU {} copy {} {bytes} B", gpu.ordinal, path(to_device)), move |stop| {
        let (buffer, host) = (Buffer::new(&gpu.context, bytes)?, Pinned::new(&gpu.context, bytes)?);
        if to_device {
            host.set(&contents(bytes))?;
        } else {
            gpu.fill(&buffer, SEED, BITS)?;
        }
        let timer = Timer { gpu: &gpu, seconds, stop, held: true };
        let queue = |_| if to_device { buffer.write_from(&host, bytes, &gpu.stream) } else { buffer.read_to(&host, bytes, &gpu.stream) };
        let samples = timer.time(&queue)?;
        verify(bytes, |at, n| if to_device { buffer.read(at, n) } else { host.get(at, n) })?;
        Ok(timer.record(What::Link { path: path(to_device).into(), bytes: bytes as f64, streamed: false }, samples, None))
    })
}

/// Copies of pageable memory wait by themselves: the host's clock tells how long.
fn pageable(gpu: &Rc<Gpu>, to_device: bool, bytes: usize, seconds: f64) -> Task {
    let gpu = Rc::clone(gpu);
    Task::device(format!("GPU {} pageable copy {} {bytes} B", gpu.ordinal, path(to_device)), move |stop: &Stop| {
        let buffer = Buffer::new(&gpu.context, bytes)?;
        let host = contents(bytes);
        gpu.fill(&buffer, SEED, BITS)?;
        let mut failure = None;
        let times = samples(seconds, 20, stop, || {
            let start = Instant::now();
            let done = if to_device { buffer.write(0, &host) } else { buffer.read(0, bytes).map(drop) };
            failure = failure.take().or(done.err());
            start.elapsed().as_secs_f64()
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        verify(bytes, |at, n| buffer.read(at, n))?;
        if times.len() < 20 {
            return Ok(Vec::new());
        }
        let what = What::Metric { name: format!("time of a pageable copy {} of {bytes} B, s", path(to_device)) };
        Ok(vec![gpu.record(what, median(&times), Unit::Seconds, times)])
    })
}

/// One way while the other way is busy.
fn both(gpu: &Rc<Gpu>, bytes: usize, seconds: f64) -> Task {
    let gpu = Rc::clone(gpu);
    Task::device(format!("GPU {} copies both ways {bytes} B", gpu.ordinal), move |stop| {
        let (down, up) = (Buffer::new(&gpu.context, bytes)?, Buffer::new(&gpu.context, bytes)?);
        let (from, to) = (Pinned::new(&gpu.context, bytes)?, Pinned::new(&gpu.context, bytes)?);
        from.set(&contents(bytes))?;
        gpu.fill(&up, SEED, BITS)?;
        let timer = Timer { gpu: &gpu, seconds, stop, held: false };
        let before = || (0..3).try_for_each(|_| up.read_to(&to, bytes, &gpu.second));
        let samples = timer.time_after(&before, &|_| down.write_from(&from, bytes, &gpu.stream))?;
        gpu.second.wait()?;
        verify(bytes, |at, n| down.read(at, n))?;
        verify(bytes, |at, n| to.get(at, n))?;
        let what = What::Metric { name: format!("host-to-device of {bytes} B while the other way is busy, B/s") };
        Ok(timer.record(what, samples, Some(bytes as f64)))
    })
}

fn peer(from: &Rc<Gpu>, to: &Rc<Gpu>, bytes: usize, seconds: f64) -> Task {
    let (from, to) = (Rc::clone(from), Rc::clone(to));
    Task::device(format!("GPU {} copy to GPU {} {bytes} B", from.ordinal, to.ordinal), move |stop| {
        if !from.context.reach(&to.context)? {
            return Err("the two devices cannot reach each other's memory".into());
        }
        let (source, target) = (Buffer::new(&from.context, bytes)?, Buffer::new(&to.context, bytes)?);
        from.fill(&source, SEED, BITS)?;
        let timer = Timer { gpu: &from, seconds, stop, held: true };
        let samples = timer.time(&|_| target.write_peer(&source, bytes, &from.stream))?;
        verify(bytes, |at, n| target.read(at, n))?;
        let mut out: Vec<Measurement> =
            timer.record(What::Link { path: "peer".into(), bytes: bytes as f64, streamed: false }, samples, None);
        out.iter_mut().for_each(|m| m.peer = format!("GPU {}", to.ordinal));
        Ok(out)
    })
}
