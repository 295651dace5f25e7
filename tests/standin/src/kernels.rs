//! The kernels of the probe: what they take, and what they leave behind.

use crate::driver::{ILLEGAL_ADDRESS, INVALID, NOT_FOUND, give};
use crate::memory::{Source, put, read, word32, xor};
use crate::truth::CACHE;
use crate::world::{Class, Fault, world};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::Arc;

const KERNELS: [&str; 9] = ["nop", "fill", "copy", "triad", "scale", "read", "circle", "chase", "hold"];

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetFunction(function: *mut usize, _: usize, name: *const c_char) -> c_int {
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    match KERNELS.iter().position(|k| name == format!("orrery_{k}")) {
        Some(i) => unsafe { give(function, i + 1) },
        None => NOT_FOUND,
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: usize,
    _: c_uint,
    _: c_uint,
    _: c_uint,
    _: c_uint,
    _: c_uint,
    _: c_uint,
    _: c_uint,
    stream: usize,
    arguments: *mut *mut c_void,
    _: *mut *mut c_void,
) -> c_int {
    // SAFETY: the caller gives as many arguments as the kernel has, of its types.
    let long = |i: usize| unsafe { (*arguments.add(i)).cast::<u64>().read_unaligned() };
    let short = |i: usize| unsafe { (*arguments.add(i)).cast::<u32>().read_unaligned() };
    let float = |i: usize| f32::from_bits(short(i));
    let Some(name) = KERNELS.get(function.wrapping_sub(1)) else { return INVALID };
    match *name {
        "nop" => {
            let mut w = world();
            let seconds = w.truth.launch;
            w.work(stream, Class::Launch, seconds);
            0
        }
        "hold" => 0,
        "fill" => fill(stream, [long(0), long(1), long(2), long(3), long(4)]),
        "copy" => flow(stream, &[long(0), long(1)], long(2), short(3), 0.0),
        "scale" => flow(stream, &[long(0), long(1)], long(3), short(4), float(2)),
        "triad" => flow(stream, &[long(0), long(1), long(2)], long(4), short(5), float(3)),
        "read" => fold(stream, long(0), long(1), short(2), long(3)),
        "circle" => circle(long(0), u64::from(short(1))),
        _ => chase(stream, long(0), (short(1), short(2)), long(3)),
    }
}

fn fill(stream: usize, [to, words, seed, keep, set]: [u64; 5]) -> c_int {
    let mut w = world();
    let Some((start, found)) = w.find(to, 8 * words) else { return ILLEGAL_ADDRESS };
    put(&mut found.content, to - start, 8 * words, Source::Fill(seed, keep, set));
    w.done.clear();
    let seconds = w.truth.kernel + 8.0 * words as f64 / w.truth.memory;
    w.work(stream, Class::Memory, seconds);
    0
}

/// Copy, scale and triad: the first place from the others.
fn flow(stream: usize, places: &[u64], sixteens: u64, passes: u32, factor: f32) -> c_int {
    let mut w = world();
    let bytes = 16 * sixteens;
    let new = w.done.insert((3, [places, &[bytes, u64::from(factor.to_bits())]].concat()));
    let mut sources = Vec::new();
    for at in &places[1..] {
        let Some((start, found)) = w.find(*at, bytes) else { return ILLEGAL_ADDRESS };
        let whole = *at == start;
        let content = Arc::clone(&found.content);
        sources.push(if whole { content } else { Arc::new(vec![(0, bytes, Source::View(content, at - start))]) });
    }
    let factor = if w.fault == Fault::WrongResult { factor + 1.0 } else { factor };
    let Some((start, found)) = w.find(places[0], bytes) else { return ILLEGAL_ADDRESS };
    if new {
        let mut sources = sources.into_iter();
        let (b, c) = (sources.next().unwrap_or_default(), sources.next());
        let source = match c {
            Some(c) => Source::Triad(b, c, factor),
            None if factor.to_bits() == 0 || factor.to_bits() == 1.0f32.to_bits() => Source::View(b, 0),
            None => Source::Scale(b, factor),
        };
        put(&mut found.content, places[0] - start, bytes, source);
    }
    streamed(&mut w, stream, (bytes * places.len() as u64) as f64, passes);
    0
}

fn streamed(w: &mut crate::world::World, stream: usize, bytes: f64, passes: u32) {
    let rate = if bytes <= CACHE as f64 { w.truth.cache } else { w.truth.memory };
    let seconds = w.truth.kernel + bytes * f64::from(passes) / rate;
    w.work(stream, Class::Memory, seconds);
}

fn fold(stream: usize, from: u64, sixteens: u64, passes: u32, to: u64) -> c_int {
    let mut w = world();
    let Some((_, found)) = w.find(from, 16 * sixteens) else { return ILLEGAL_ADDRESS };
    let content = Arc::clone(&found.content);
    let Some((start, target)) = w.find(to, 8) else { return ILLEGAL_ADDRESS };
    let old = read(&target.content, to - start, 8).try_into().map_or(0, u64::from_le_bytes);
    // The same word each time, so that twice leaves nothing.
    let value = match (passes % 2, old) {
        (0, old) => old,
        (_, 0) => xor(&content, 2 * sixteens),
        _ => 0,
    };
    put(&mut target.content, to - start, 8, Source::Bytes(Arc::new(value.to_le_bytes().to_vec())));
    streamed(&mut w, stream, 16.0 * sixteens as f64, passes);
    0
}

fn circle(to: u64, lines: u64) -> c_int {
    let mut w = world();
    let Some((start, found)) = w.find(to, 128 * lines) else { return ILLEGAL_ADDRESS };
    put(&mut found.content, to - start, 128 * lines, Source::Circle(lines));
    0
}

fn chase(stream: usize, lines: u64, (start, steps): (u32, u32), to: u64) -> c_int {
    let mut w = world();
    let Some((_, found)) = w.find(lines, 128) else { return ILLEGAL_ADDRESS };
    let content = Arc::clone(&found.content);
    let end = match content.first() {
        Some((0, _, Source::Circle(all))) => 32 * line_after(start, steps, *all as u32),
        _ => (0..steps).fold(32 * start, |at, _| word32(&content, 4 * u64::from(at))),
    };
    let Some((first, target)) = w.find(to, 4) else { return ILLEGAL_ADDRESS };
    put(&mut target.content, to - first, 4, Source::Bytes(Arc::new(end.to_le_bytes().to_vec())));
    let seconds = w.truth.kernel + f64::from(steps) * w.truth.latency;
    w.work(stream, Class::Memory, seconds);
    0
}

/// Where so many steps along the circle lead: steps are squared, not walked.
fn line_after(start: u32, mut steps: u32, lines: u32) -> u32 {
    let (mut at, mut factor, mut term) = (start, 5u32, 12345u32);
    while steps > 0 {
        if steps & 1 == 1 {
            at = at.wrapping_mul(factor).wrapping_add(term);
        }
        (term, factor) = (term.wrapping_mul(factor.wrapping_add(1)), factor.wrapping_mul(factor));
        steps >>= 1;
    }
    at & (lines - 1)
}
