//! `libnvidia-ml`: clocks, power, temperature, and heat where that is the fault.

use crate::world::world;
use std::ffi::{CStr, c_char, c_int, c_uint};

/// # Safety
/// As many bytes may be written.
unsafe fn give_text(place: *mut c_char, bytes: c_uint, text: &str) -> c_int {
    let n = text.len().min(bytes.saturating_sub(1) as usize);
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), place.cast(), n);
        place.add(n).write(0);
    }
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> c_int {
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> c_int {
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(text: *mut c_char, bytes: c_uint) -> c_int {
    unsafe { give_text(text, bytes, "0.0 (stand-in)") }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(bus: *const c_char, device: *mut usize) -> c_int {
    let text = unsafe { CStr::from_ptr(bus) }.to_string_lossy();
    let Some(number) = text.get(5..7).and_then(|t| usize::from_str_radix(t, 16).ok()).filter(|n| *n <= world().devices) else { return 6 };
    unsafe { device.write(number) };
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUUID(_: usize, text: *mut c_char, bytes: c_uint) -> c_int {
    unsafe { give_text(text, bytes, "GPU-00000000-0000-0000-0000-000000000000") }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetClockInfo(_: usize, kind: c_int, mhz: *mut c_uint) -> c_int {
    let sm = if world().throttles() { 1200 } else { 1980 };
    unsafe { mhz.write(if kind == 2 { 2619 } else { sm }) };
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetPowerUsage(_: usize, milliwatts: *mut c_uint) -> c_int {
    unsafe { milliwatts.write(412_000) };
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTemperature(_: usize, _: c_int, degrees: *mut c_uint) -> c_int {
    unsafe { degrees.write(if world().throttles() { 91 } else { 58 }) };
    0
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCurrentClocksThrottleReasons(_: usize, bits: *mut u64) -> c_int {
    // Hardware thermal slow-down, or a cap of power, which is how such a device runs.
    unsafe { bits.write(if world().throttles() { 0x40 } else { 0x4 }) };
    0
}
