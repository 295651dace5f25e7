//! `libcuda.so.1`: what the probe calls of it.

use crate::memory::{Source, put, read};
use crate::truth::{CACHE, UNITS};
use crate::world::{Class, Fault, Stream, world};
use std::ffi::{CStr, c_char, c_int, c_uint};
use std::sync::Arc;

pub const INVALID: c_int = 1;
const OUT_OF_MEMORY: c_int = 2;
pub const ILLEGAL_ADDRESS: c_int = 700;
pub const NOT_FOUND: c_int = 500;

/// # Safety
/// `place` is null or may be written.
pub unsafe fn give<T>(place: *mut T, value: T) -> c_int {
    if place.is_null() {
        return INVALID;
    }
    // SAFETY: by the caller.
    unsafe { place.write(value) };
    0
}

/// # Safety
/// As many bytes may be written.
unsafe fn give_text(place: *mut c_char, bytes: c_int, text: &str) -> c_int {
    let n = text.len().min((bytes - 1).max(0) as usize);
    // SAFETY: by the caller; room for the end was kept.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), place.cast(), n);
        place.add(n).write(0);
    }
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuInit(_: c_uint) -> c_int {
    drop(world());
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> c_int {
    let value = if world().fault == Fault::OldDriver { 10_020 } else { 12_040 };
    unsafe { give(version, value) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> c_int {
    unsafe { give(count, world().devices as c_int) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> c_int {
    if ordinal < 0 || ordinal as usize >= world().devices { 101 } else { unsafe { give(device, ordinal) } }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, bytes: c_int, _: c_int) -> c_int {
    unsafe { give_text(name, bytes, "SYNTHETIC (no GPU: modelled on H100 80GB)") }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetUuid(uuid: *mut [u8; 16], _: c_int) -> c_int {
    unsafe { give(uuid, [0; 16]) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _: c_int) -> c_int {
    unsafe { give(bytes, world().memory as usize) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, which: c_int, _: c_int) -> c_int {
    let answer = match which {
        16 => UNITS as c_int,
        38 => CACHE as c_int,
        75 => 9,
        76 => 0,
        _ => return INVALID,
    };
    unsafe { give(value, answer) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetPCIBusId(text: *mut c_char, bytes: c_int, device: c_int) -> c_int {
    unsafe { give_text(text, bytes, &format!("0000:{:02X}:00.0", device + 1)) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut usize, device: c_int) -> c_int {
    unsafe { give(context, device as usize + 1) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuDevicePrimaryCtxRelease_v2(_: c_int) -> c_int {
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSetCurrent(context: usize) -> c_int {
    let mut w = world();
    if context == 0 || context > w.devices {
        return INVALID;
    }
    w.current = context - 1;
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxSynchronize() -> c_int {
    let mut w = world();
    let device = w.current;
    let until = w.streams.values().filter(|s| s.device == device).map(|s| s.busy).fold(0.0, f64::max);
    w.wait(until);
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> c_int {
    let w = world();
    let used: u64 = w.allocations.values().filter(|a| a.device == w.current).map(|a| a.bytes).sum();
    unsafe { give(total, w.memory as usize) | give(free, (w.memory - used) as usize) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> c_int {
    let mut w = world();
    let (device, bytes) = (w.current, bytes as u64);
    let used: u64 = w.allocations.values().filter(|a| a.device == device).map(|a| a.bytes).sum();
    let refused = matches!(w.fault, Fault::OutOfMemory(most) if bytes > most);
    if bytes == 0 {
        return INVALID;
    }
    if refused || used + bytes > w.memory {
        return OUT_OF_MEMORY;
    }
    // Addresses of no memory at all: whoever takes them for the host's fails at once.
    let start = w.allocations.iter().next_back().map_or(0x7d_0000_0000_0000, |(at, a)| (at + a.bytes).next_multiple_of(512) + 512);
    w.done.clear();
    w.allocated += 1;
    w.allocations.insert(start, crate::world::Allocation { bytes, device, content: Arc::default() });
    unsafe { give(address, start) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemFree_v2(address: u64) -> c_int {
    let mut w = world();
    w.done.clear();
    if w.allocations.remove(&address).is_some() { 0 } else { INVALID }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostAlloc(address: *mut usize, bytes: usize, _: c_uint) -> c_int {
    // In words, so that it is aligned.
    let memory = vec![0u64; bytes.div_ceil(8)].leak().as_mut_ptr() as usize;
    let mut w = world();
    w.done.clear();
    w.pinned.insert(memory, bytes);
    unsafe { give(address, memory) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemFreeHost(address: usize) -> c_int {
    let mut w = world();
    w.done.clear();
    let Some(bytes) = w.pinned.remove(&address) else { return INVALID };
    // SAFETY: made so by `cuMemHostAlloc`, and given back once.
    drop(unsafe { Vec::from_raw_parts(address as *mut u64, bytes.div_ceil(8), bytes.div_ceil(8)) });
    0
}

/// # Safety
/// The source holds as many bytes.
unsafe fn upload(to: u64, from: *const u8, bytes: usize) -> c_int {
    let mut w = world();
    let Some((start, found)) = w.find(to, bytes as u64) else { return ILLEGAL_ADDRESS };
    // SAFETY: by the caller.
    let data = unsafe { std::slice::from_raw_parts(from, bytes) }.to_vec();
    put(&mut found.content, to - start, bytes as u64, Source::Bytes(Arc::new(data)));
    0
}

/// # Safety
/// The target takes as many bytes.
unsafe fn download(to: *mut u8, from: u64, bytes: usize) -> c_int {
    let mut w = world();
    let Some((start, found)) = w.find(from, bytes as u64) else { return ILLEGAL_ADDRESS };
    let data = read(&found.content, from - start, bytes);
    // SAFETY: by the caller.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), to, bytes) };
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const u8, bytes: usize) -> c_int {
    world().done.clear();
    unsafe { upload(to, from, bytes) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut u8, from: u64, bytes: usize) -> c_int {
    unsafe { download(to, from, bytes) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const u8, bytes: usize, stream: usize) -> c_int {
    let mut w = world();
    if !w.pinned.contains_key(&(from as usize)) {
        return INVALID;
    }
    let seconds = w.truth.to_device.time(bytes as f64);
    w.work(stream, Class::Link, seconds);
    let new = w.done.insert((1, vec![to, from as u64, bytes as u64]));
    drop(w);
    if new { unsafe { upload(to, from, bytes) } } else { 0 }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut u8, from: u64, bytes: usize, stream: usize) -> c_int {
    let mut w = world();
    if !w.pinned.contains_key(&(to as usize)) {
        return INVALID;
    }
    let seconds = w.truth.to_host.time(bytes as f64);
    w.work(stream, Class::Link, seconds);
    let new = w.done.insert((2, vec![to as u64, from, bytes as u64]));
    drop(w);
    if new { unsafe { download(to, from, bytes) } } else { 0 }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuMemcpyPeerAsync(to: u64, _: usize, from: u64, _: usize, bytes: usize, stream: usize) -> c_int {
    let mut w = world();
    let bytes = bytes as u64;
    let Some((start, source)) = w.find(from, bytes) else { return ILLEGAL_ADDRESS };
    let view = Source::View(Arc::clone(&source.content), from - start);
    let Some((start, target)) = w.find(to, bytes) else { return ILLEGAL_ADDRESS };
    put(&mut target.content, to - start, bytes, view);
    let seconds = w.truth.peer.time(bytes as f64);
    w.work(stream, Class::Link, seconds);
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceCanAccessPeer(can: *mut c_int, a: c_int, b: c_int) -> c_int {
    unsafe { give(can, c_int::from(a != b)) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuCtxEnablePeerAccess(_: usize, _: c_uint) -> c_int {
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreate(stream: *mut usize, _: c_uint) -> c_int {
    let mut w = world();
    let (handle, device) = (w.handle(), w.current);
    w.streams.insert(handle, Stream { device, busy: 0.0, recorded: None });
    unsafe { give(stream, handle) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamDestroy_v2(stream: usize) -> c_int {
    if world().streams.remove(&stream).is_some() { 0 } else { INVALID }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamSynchronize(stream: usize) -> c_int {
    let mut w = world();
    let Some(until) = w.streams.get(&stream).map(|s| s.busy) else { return INVALID };
    w.wait(until);
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamWaitEvent(stream: usize, event: usize, _: c_uint) -> c_int {
    let mut w = world();
    let Some(time) = w.events.get(&event).copied() else { return INVALID };
    let Some(s) = w.streams.get_mut(&stream) else { return INVALID };
    s.busy = s.busy.max(time);
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventCreate(event: *mut usize, _: c_uint) -> c_int {
    let mut w = world();
    let handle = w.handle();
    w.events.insert(handle, f64::NAN);
    unsafe { give(event, handle) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventDestroy_v2(event: usize) -> c_int {
    if world().events.remove(&event).is_some() { 0 } else { INVALID }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventRecord(event: usize, stream: usize) -> c_int {
    let mut w = world();
    if !w.streams.contains_key(&stream) || !w.events.contains_key(&event) {
        return INVALID;
    }
    let time = w.mark(stream);
    w.events.insert(event, time);
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuEventSynchronize(event: usize) -> c_int {
    let mut w = world();
    let Some(time) = w.events.get(&event).copied() else { return INVALID };
    w.wait(time);
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventElapsedTime(milliseconds: *mut f32, start: usize, end: usize) -> c_int {
    let w = world();
    let (Some(a), Some(b)) = (w.events.get(&start), w.events.get(&end)) else { return INVALID };
    let elapsed = if w.fault == Fault::ZeroTime { 0.0 } else { 1e3 * (b - a) };
    if elapsed.is_nan() { 600 } else { unsafe { give(milliseconds, elapsed as f32) } }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadData(module: *mut usize, image: *const c_char) -> c_int {
    let text = unsafe { CStr::from_ptr(image) }.to_string_lossy();
    if !text.contains(".version") || !text.contains(".target sm_") {
        return 218;
    }
    unsafe { give(module, 1) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuModuleUnload(_: usize) -> c_int {
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuStreamBeginCapture_v2(stream: usize, _: c_int) -> c_int {
    let mut w = world();
    let Some(s) = w.streams.get_mut(&stream) else { return INVALID };
    s.recorded = Some(0);
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamEndCapture(stream: usize, graph: *mut usize) -> c_int {
    let mut w = world();
    let Some(nodes) = w.streams.get_mut(&stream).and_then(|s| s.recorded.take()) else { return INVALID };
    let handle = w.handle();
    w.graphs.insert(handle, nodes);
    unsafe { give(graph, handle) }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGraphInstantiateWithFlags(ready: *mut usize, graph: usize, _: u64) -> c_int {
    let mut w = world();
    let Some(nodes) = w.graphs.get(&graph).copied() else { return INVALID };
    let handle = w.handle();
    w.graphs.insert(handle, nodes);
    unsafe { give(ready, handle) }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphLaunch(graph: usize, stream: usize) -> c_int {
    let mut w = world();
    let Some(nodes) = w.graphs.get(&graph).copied() else { return INVALID };
    let seconds = nodes as f64 * w.truth.node;
    w.work(stream, Class::Launch, seconds);
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphExecDestroy(graph: usize) -> c_int {
    if world().graphs.remove(&graph).is_some() { 0 } else { INVALID }
}

#[unsafe(no_mangle)]
pub extern "C" fn cuGraphDestroy(graph: usize) -> c_int {
    if world().graphs.remove(&graph).is_some() { 0 } else { INVALID }
}
