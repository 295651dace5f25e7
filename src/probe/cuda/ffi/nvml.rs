//! What a device does meanwhile, by NVML: clocks, power, temperature, why it throttles.

use super::functions;
use core::ffi::{c_char, c_int, c_uint, c_void};

functions! { Functions: "libnvidia-ml.so.1";
    fn nvmlInit_v2();
    fn nvmlShutdown();
    fn nvmlSystemGetDriverVersion(*mut c_char, c_uint);
    fn nvmlDeviceGetHandleByPciBusId_v2(*const c_char, *mut *mut c_void);
    fn nvmlDeviceGetUUID(*mut c_void, *mut c_char, c_uint);
    fn nvmlDeviceGetClockInfo(*mut c_void, c_int, *mut c_uint);
    fn nvmlDeviceGetPowerUsage(*mut c_void, *mut c_uint);
    fn nvmlDeviceGetTemperature(*mut c_void, c_int, *mut c_uint);
    fn nvmlDeviceGetCurrentClocksThrottleReasons(*mut c_void, *mut u64);
}

/// Reasons that make a measurement worthless: hardware slow-down, thermal slow-down by software and hardware, external brake. A cap of
/// power or of clocks that somebody set is how the device runs.
const SLOWED: u64 = 0x8 | 0x20 | 0x40 | 0x80;

/// A device at a moment; what it does not tell is absent.
#[derive(Clone, Copy, Default)]
pub(in crate::probe::cuda) struct State {
    pub(in crate::probe::cuda) clock_mhz: Option<u32>,
    pub(in crate::probe::cuda) memory_clock_mhz: Option<u32>,
    pub(in crate::probe::cuda) power_w: Option<f64>,
    pub(in crate::probe::cuda) temperature_c: Option<u32>,
    pub(in crate::probe::cuda) throttle: Option<u64>,
}

impl State {
    /// Whether the device holds itself back.
    pub(in crate::probe::cuda) fn slowed(&self) -> bool {
        self.throttle.is_some_and(|bits| bits & SLOWED != 0)
    }
}

/// NVML, started.
pub(in crate::probe::cuda) struct Monitor {
    f: Functions,
    /// The driver's version, as `550.54.15`.
    pub(in crate::probe::cuda) driver: String,
}

impl Monitor {
    pub(in crate::probe::cuda) fn open() -> Result<Self, String> {
        let f = Functions::load(&["libnvidia-ml.so.1".to_owned(), "libnvidia-ml.so".to_owned()])?;
        // SAFETY: the first call.
        if unsafe { (f.nvmlInit_v2)() } != 0 {
            return Err("NVML does not start".into());
        }
        // SAFETY: the call writes at most so many bytes.
        let driver = text(|p, n| unsafe { (f.nvmlSystemGetDriverVersion)(p, n) }).unwrap_or_default();
        Ok(Self { f, driver })
    }

    fn device(&self, bus: &str) -> Option<*mut c_void> {
        let (name, mut out) = (std::ffi::CString::new(bus).ok()?, std::ptr::null_mut());
        // SAFETY: text with its end, a place for the answer.
        (unsafe { (self.f.nvmlDeviceGetHandleByPciBusId_v2)(name.as_ptr(), &mut out) } == 0).then_some(out)
    }

    /// The UUID of the device at an address, as `GPU-…`.
    pub(in crate::probe::cuda) fn uuid(&self, bus: &str) -> Option<String> {
        let device = self.device(bus)?;
        // SAFETY: the call writes at most so many bytes.
        text(|p, n| unsafe { (self.f.nvmlDeviceGetUUID)(device, p, n) })
    }

    pub(in crate::probe::cuda) fn state(&self, bus: &str) -> State {
        let Some(device) = self.device(bus) else { return State::default() };
        let number = |get: &dyn Fn(*mut c_uint) -> c_int| {
            let mut out = 0;
            (get(&mut out) == 0).then_some(out)
        };
        let mut bits = 0u64;
        // SAFETY: a living device and places for the answers.
        unsafe {
            State {
                clock_mhz: number(&|p| (self.f.nvmlDeviceGetClockInfo)(device, 1, p)),
                memory_clock_mhz: number(&|p| (self.f.nvmlDeviceGetClockInfo)(device, 2, p)),
                power_w: number(&|p| (self.f.nvmlDeviceGetPowerUsage)(device, p)).map(|mw| 1e-3 * f64::from(mw)),
                temperature_c: number(&|p| (self.f.nvmlDeviceGetTemperature)(device, 0, p)),
                throttle: ((self.f.nvmlDeviceGetCurrentClocksThrottleReasons)(device, &mut bits) == 0).then_some(bits),
            }
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // SAFETY: started once, ended once.
        let _ = unsafe { (self.f.nvmlShutdown)() };
    }
}

fn text(get: impl Fn(*mut c_char, c_uint) -> c_int) -> Option<String> {
    let mut bytes = [0u8; 128];
    (get(bytes.as_mut_ptr().cast(), 127) == 0).then(|| String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or(&[])).into_owned())
}
