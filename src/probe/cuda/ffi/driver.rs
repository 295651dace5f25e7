//! CUDA's driver by `cudarc`, behind owners that free what they hold.

use super::{missing, open};
use core::ffi::{c_char, c_int, c_void};
use cudarc::driver::sys;
pub(in crate::probe::cuda) use cudarc::driver::sys::CUdevice_attribute as Attribute;
use std::rc::Rc;

/// The file that is named where the driver is missing.
pub(in crate::probe::cuda) const FILE: &str = "libcuda.so.1";

/// Everything that is called: `cudarc` panics at the first call of what is not there, so all of it is looked up first.
const SYMBOLS: [&str; 43] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetUuid",
    "cuDeviceTotalMem_v2",
    "cuDeviceGetAttribute",
    "cuDeviceGetPCIBusId",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemHostAlloc",
    "cuMemFreeHost",
    "cuMemcpyHtoD_v2",
    "cuMemcpyDtoH_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyPeerAsync",
    "cuDeviceCanAccessPeer",
    "cuCtxEnablePeerAccess",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuEventElapsedTime",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuModuleGetFunction",
    "cuLaunchKernel",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphExecDestroy",
];

/// Oldest driver: kernels are PTX 7.0.
const OLDEST: i32 = 11_000;

/// A symbol that only stand-ins for the driver have: whatever they measure is synthetic.
const STAND_IN: &str = "orrery_stand_in";

pub(super) type Answer<T> = Result<T, String>;

pub(super) fn check(call: &str, code: sys::CUresult) -> Answer<()> {
    match code {
        sys::CUresult::CUDA_SUCCESS => Ok(()),
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Err(format!("{call}: out of memory on the device")),
        other => Err(format!("{call}: {other:?}")),
    }
}

/// The driver, started: proof that all its symbols are there.
pub(in crate::probe::cuda) struct Driver {
    /// CUDA's version that it speaks, as `12040`.
    pub(in crate::probe::cuda) version: i32,
    /// Devices.
    pub(in crate::probe::cuda) devices: i32,
    /// Whether it only stands in for a driver.
    pub(in crate::probe::cuda) synthetic: bool,
}

impl Driver {
    pub(in crate::probe::cuda) fn open() -> Answer<Self> {
        let names: Vec<String> = ["cuda", "nvcuda"].iter().flat_map(|l| cudarc::get_lib_name_candidates(l)).collect();
        let library = open(&names).ok_or_else(|| format!("the library `{FILE}` is missing"))?;
        // SAFETY: only the presence of symbols is looked at; none is called.
        let has = |name: &str| unsafe { library.get::<*const c_void>(name.as_bytes()) }.is_ok();
        if let Some(name) = SYMBOLS.iter().chain(&["cuGraphDestroy"]).find(|n| !has(n)) {
            return Err(missing(FILE, name));
        }
        let synthetic = has(STAND_IN);
        // `cudarc` opens the same file under the same names; this handle keeps it loaded.
        std::mem::forget(library);
        let (mut version, mut devices) = (0, 0);
        // SAFETY: plain calls with places for their answers; `cuInit` comes first.
        unsafe {
            check("cuDriverGetVersion", sys::cuDriverGetVersion(&mut version))?;
            if version < OLDEST {
                return Err(format!("the driver is one for CUDA {}.{}, and 11.0 is needed", version / 1000, version % 1000 / 10));
            }
            check("cuInit", sys::cuInit(0))?;
            check("cuDeviceGetCount", sys::cuDeviceGetCount(&mut devices))?;
        }
        if devices < 1 {
            return Err("the driver is there and sees no device".into());
        }
        Ok(Self { version, devices, synthetic })
    }
}

/// The primary context of a device.
pub(in crate::probe::cuda) struct Context {
    device: sys::CUdevice,
    raw: sys::CUcontext,
}

impl Context {
    /// Of the device of a number; the driver is open.
    pub(in crate::probe::cuda) fn new(_: &Driver, ordinal: i32) -> Answer<Rc<Self>> {
        let (mut device, mut raw) = (0, std::ptr::null_mut());
        // SAFETY: the driver was started; the context is released once, when the owner goes.
        unsafe {
            check("cuDeviceGet", sys::cuDeviceGet(&mut device, ordinal))?;
            check("cuDevicePrimaryCtxRetain", sys::cuDevicePrimaryCtxRetain(&mut raw, device))?;
        }
        Ok(Rc::new(Self { device, raw }))
    }

    pub(super) const fn raw(&self) -> sys::CUcontext {
        self.raw
    }

    /// Makes it the one that calls of this thread go to.
    pub(in crate::probe::cuda) fn enter(&self) -> Answer<()> {
        // SAFETY: the context lives as long as its owner.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.raw) })
    }

    pub(in crate::probe::cuda) fn name(&self) -> Answer<String> {
        self.text("cuDeviceGetName", |p, n, d| {
            // SAFETY: the call writes at most n bytes.
            unsafe { sys::cuDeviceGetName(p, n, d) }
        })
    }

    pub(in crate::probe::cuda) fn bus(&self) -> Answer<String> {
        self.text("cuDeviceGetPCIBusId", |p, n, d| {
            // SAFETY: the call writes at most n bytes.
            unsafe { sys::cuDeviceGetPCIBusId(p, n, d) }
        })
    }

    fn text(&self, call: &str, get: impl Fn(*mut c_char, c_int, sys::CUdevice) -> sys::CUresult) -> Answer<String> {
        let mut bytes = [0u8; 256];
        check(call, get(bytes.as_mut_ptr().cast(), 255, self.device))?;
        Ok(String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or(&[])).into_owned())
    }

    pub(in crate::probe::cuda) fn uuid(&self) -> Answer<[u8; 16]> {
        let mut out = sys::CUuuid { bytes: [0; 16] };
        // SAFETY: a place of the right size.
        check("cuDeviceGetUuid", unsafe { sys::cuDeviceGetUuid(&mut out, self.device) })?;
        Ok(out.bytes.map(|b| b as u8))
    }

    pub(in crate::probe::cuda) fn attribute(&self, which: Attribute) -> Answer<i32> {
        let mut out = 0;
        // SAFETY: a place for the answer.
        check("cuDeviceGetAttribute", unsafe { sys::cuDeviceGetAttribute(&mut out, which, self.device) })?;
        Ok(out)
    }

    /// Bytes of memory: free, all.
    pub(in crate::probe::cuda) fn memory(&self) -> Answer<(u64, u64)> {
        self.enter()?;
        let (mut free, mut total, mut named) = (0, 0, 0);
        // SAFETY: places for the answers; a context is current.
        unsafe {
            check("cuMemGetInfo", sys::cuMemGetInfo_v2(&mut free, &mut total))?;
            check("cuDeviceTotalMem", sys::cuDeviceTotalMem_v2(&mut named, self.device))?;
        }
        Ok((free as u64, named.max(total) as u64))
    }

    /// Lets kernels and copies of this context reach another device's memory.
    pub(in crate::probe::cuda) fn reach(&self, other: &Self) -> Answer<bool> {
        let mut can = 0;
        self.enter()?;
        // SAFETY: both contexts live.
        unsafe {
            check("cuDeviceCanAccessPeer", sys::cuDeviceCanAccessPeer(&mut can, self.device, other.device))?;
            if can == 0 {
                return Ok(false);
            }
            match sys::cuCtxEnablePeerAccess(other.raw, 0) {
                sys::CUresult::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED => Ok(true),
                code => check("cuCtxEnablePeerAccess", code).map(|()| true),
            }
        }
    }

    /// Waits for everything.
    pub(in crate::probe::cuda) fn wait(&self) -> Answer<()> {
        self.enter()?;
        // SAFETY: a context is current.
        check("cuCtxSynchronize", unsafe { sys::cuCtxSynchronize() })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once, released once; buffers and streams hold the context, so none is left.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}
