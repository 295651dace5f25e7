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

type Answer<T> = Result<T, String>;

fn check(call: &str, code: sys::CUresult) -> Answer<()> {
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

/// Memory of a device.
pub(in crate::probe::cuda) struct Buffer {
    context: Rc<Context>,
    at: sys::CUdeviceptr,
    bytes: usize,
}

impl Buffer {
    pub(in crate::probe::cuda) fn new(context: &Rc<Context>, bytes: usize) -> Answer<Self> {
        context.enter()?;
        let mut at = 0;
        // SAFETY: a place for the answer; freed once, when the owner goes.
        check(&format!("{bytes} B"), unsafe { sys::cuMemAlloc_v2(&mut at, bytes) })?;
        Ok(Self { context: Rc::clone(context), at, bytes })
    }

    /// Address on the device of a byte inside.
    pub(in crate::probe::cuda) const fn at(&self, offset: usize) -> u64 {
        self.at + if offset < self.bytes { offset as u64 } else { 0 }
    }

    pub(in crate::probe::cuda) const fn bytes(&self) -> usize {
        self.bytes
    }

    fn inside(&self, offset: usize, bytes: usize) -> Answer<()> {
        let ends = offset.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        if ends { self.context.enter() } else { Err(format!("{bytes} B at {offset} lie outside a buffer of {} B", self.bytes)) }
    }

    /// Copies from the host and waits.
    pub(in crate::probe::cuda) fn write(&self, offset: usize, from: &[u8]) -> Answer<()> {
        self.inside(offset, from.len())?;
        // SAFETY: both ranges were checked; the call returns when the source may be changed again.
        check("cuMemcpyHtoD", unsafe { sys::cuMemcpyHtoD_v2(self.at(offset), from.as_ptr().cast(), from.len()) })
    }

    /// Copies to the host and waits.
    pub(in crate::probe::cuda) fn read(&self, offset: usize, bytes: usize) -> Answer<Vec<u8>> {
        self.inside(offset, bytes)?;
        let mut out = vec![0u8; bytes];
        // SAFETY: both ranges were checked; the call returns when the copy is done.
        check("cuMemcpyDtoH", unsafe { sys::cuMemcpyDtoH_v2(out.as_mut_ptr().cast(), self.at(offset), bytes) })?;
        Ok(out)
    }

    /// Queues a copy of the first bytes from pinned memory.
    pub(in crate::probe::cuda) fn write_from(&self, from: &Pinned, bytes: usize, stream: &Stream) -> Answer<()> {
        self.inside(0, bytes)?;
        let bytes = bytes.min(from.bytes);
        // SAFETY: both ranges were checked; owners wait for their context before they free, so the ranges outlive the copy.
        check("cuMemcpyHtoDAsync", unsafe { sys::cuMemcpyHtoDAsync_v2(self.at, from.at.cast_const(), bytes, stream.raw) })
    }

    /// Queues a copy of the first bytes to pinned memory.
    pub(in crate::probe::cuda) fn read_to(&self, to: &Pinned, bytes: usize, stream: &Stream) -> Answer<()> {
        self.inside(0, bytes)?;
        let bytes = bytes.min(to.bytes);
        // SAFETY: as for the other direction.
        check("cuMemcpyDtoHAsync", unsafe { sys::cuMemcpyDtoHAsync_v2(to.at, self.at, bytes, stream.raw) })
    }

    /// Queues a copy of the first bytes from another device.
    pub(in crate::probe::cuda) fn write_peer(&self, from: &Self, bytes: usize, stream: &Stream) -> Answer<()> {
        from.inside(0, bytes)?;
        self.inside(0, bytes)?;
        stream.context.enter()?;
        // SAFETY: both ranges were checked.
        let code = unsafe { sys::cuMemcpyPeerAsync(self.at, self.context.raw, from.at, from.context.raw, bytes, stream.raw) };
        check("cuMemcpyPeerAsync", code)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let _ = self.context.wait();
        // SAFETY: allocated once, freed once; nothing runs on the device.
        let _ = unsafe { sys::cuMemFree_v2(self.at) };
    }
}

/// Pinned memory of the host, which devices reach.
pub(in crate::probe::cuda) struct Pinned {
    context: Rc<Context>,
    at: *mut c_void,
    bytes: usize,
}

impl Pinned {
    pub(in crate::probe::cuda) fn new(context: &Rc<Context>, bytes: usize) -> Answer<Self> {
        context.enter()?;
        let mut at = std::ptr::null_mut();
        // SAFETY: a place for the answer; 3: for all contexts, mapped; freed once, when the owner goes.
        check(&format!("{bytes} B of pinned memory"), unsafe { sys::cuMemHostAlloc(&mut at, bytes, 3) })?;
        let out = Self { context: Rc::clone(context), at, bytes };
        // SAFETY: the memory is the owner's, of that size.
        unsafe { std::ptr::write_bytes(at.cast::<u8>(), 0, bytes) };
        Ok(out)
    }

    /// The address, which is that of the device as well.
    pub(in crate::probe::cuda) fn address(&self) -> u64 {
        self.at as u64
    }

    /// Waits for the device, then writes bytes.
    pub(in crate::probe::cuda) fn set(&self, from: &[u8]) -> Answer<()> {
        self.context.wait()?;
        // SAFETY: nothing runs on the device; no more than the buffer holds.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.at.cast(), from.len().min(self.bytes)) };
        Ok(())
    }

    /// Waits for the device, then takes bytes out.
    pub(in crate::probe::cuda) fn get(&self, offset: usize, bytes: usize) -> Answer<Vec<u8>> {
        self.context.wait()?;
        let bytes = bytes.min(self.bytes.saturating_sub(offset));
        let mut out = vec![0u8; bytes];
        // SAFETY: nothing runs on the device; the range lies inside.
        unsafe { std::ptr::copy_nonoverlapping(self.at.cast::<u8>().add(offset), out.as_mut_ptr(), bytes) };
        Ok(out)
    }

    /// Sets the first word while the device may read it.
    pub(in crate::probe::cuda) fn signal(&self, value: u32) {
        // SAFETY: aligned memory of at least a page; the device only reads it.
        unsafe { self.at.cast::<u32>().write_volatile(value) };
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = self.context.wait();
        // SAFETY: allocated once, freed once; nothing runs on the device.
        let _ = unsafe { sys::cuMemFreeHost(self.at) };
    }
}

/// A stream of work.
pub(in crate::probe::cuda) struct Stream {
    context: Rc<Context>,
    raw: sys::CUstream,
}

impl Stream {
    pub(in crate::probe::cuda) fn new(context: &Rc<Context>) -> Answer<Self> {
        context.enter()?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: a place for the answer; 1: does not wait for the default stream; destroyed once.
        check("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut raw, 1) })?;
        Ok(Self { context: Rc::clone(context), raw })
    }

    pub(super) const fn raw(&self) -> *mut c_void {
        self.raw.cast()
    }

    pub(in crate::probe::cuda) fn context(&self) -> &Rc<Context> {
        &self.context
    }

    pub(in crate::probe::cuda) fn wait(&self) -> Answer<()> {
        self.context.enter()?;
        // SAFETY: the stream lives.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.raw) })
    }

    /// Whatever is queued from now on waits for an event.
    pub(in crate::probe::cuda) fn after(&self, event: &Event) -> Answer<()> {
        self.context.enter()?;
        // SAFETY: both live.
        check("cuStreamWaitEvent", unsafe { sys::cuStreamWaitEvent(self.raw, event.raw, 0) })
    }

    /// Records what `queue` queues as a graph of so many nodes.
    pub(in crate::probe::cuda) fn record(&self, queue: impl Fn() -> Answer<()>) -> Answer<Graph> {
        self.context.enter()?;
        let (mut graph, mut raw) = (std::ptr::null_mut(), std::ptr::null_mut());
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: capture begins and ends on this stream; the graph is destroyed once it is instantiated.
        unsafe {
            check("cuStreamBeginCapture", sys::cuStreamBeginCapture_v2(self.raw, mode))?;
            let queued = queue();
            check("cuStreamEndCapture", sys::cuStreamEndCapture(self.raw, &mut graph))?;
            let made = queued.and_then(|()| check("cuGraphInstantiate", sys::cuGraphInstantiateWithFlags(&mut raw, graph, 0)));
            let _ = sys::cuGraphDestroy(graph);
            made?;
        }
        Ok(Graph { context: Rc::clone(&self.context), raw })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.wait();
        // SAFETY: created once, destroyed once.
        let _ = unsafe { sys::cuStreamDestroy_v2(self.raw) };
    }
}

/// A graph, ready to run.
pub(in crate::probe::cuda) struct Graph {
    context: Rc<Context>,
    raw: sys::CUgraphExec,
}

impl Graph {
    pub(in crate::probe::cuda) fn launch(&self, stream: &Stream) -> Answer<()> {
        self.context.enter()?;
        // SAFETY: both live.
        check("cuGraphLaunch", unsafe { sys::cuGraphLaunch(self.raw, stream.raw) })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let _ = self.context.wait();
        // SAFETY: instantiated once, destroyed once.
        let _ = unsafe { sys::cuGraphExecDestroy(self.raw) };
    }
}

/// A mark in a stream, with its time.
pub(in crate::probe::cuda) struct Event {
    context: Rc<Context>,
    raw: sys::CUevent,
}

impl Event {
    pub(in crate::probe::cuda) fn new(context: &Rc<Context>) -> Answer<Self> {
        context.enter()?;
        let mut raw = std::ptr::null_mut();
        // SAFETY: a place for the answer; destroyed once.
        check("cuEventCreate", unsafe { sys::cuEventCreate(&mut raw, 0) })?;
        Ok(Self { context: Rc::clone(context), raw })
    }

    pub(in crate::probe::cuda) fn record(&self, stream: &Stream) -> Answer<()> {
        self.context.enter()?;
        // SAFETY: both live.
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.raw, stream.raw) })
    }

    /// Waits for this mark; seconds since an earlier one.
    pub(in crate::probe::cuda) fn since(&self, earlier: &Self) -> Answer<f64> {
        self.context.enter()?;
        let mut milliseconds = 0.0f32;
        // SAFETY: both live, both were recorded.
        unsafe {
            check("cuEventSynchronize", sys::cuEventSynchronize(self.raw))?;
            check("cuEventElapsedTime", sys::cuEventElapsedTime(&mut milliseconds, earlier.raw, self.raw))?;
        }
        Ok(1e-3 * f64::from(milliseconds))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: created once, destroyed once.
        let _ = unsafe { sys::cuEventDestroy_v2(self.raw) };
    }
}

/// Kernels, made from PTX by the driver.
pub(in crate::probe::cuda) struct Module {
    context: Rc<Context>,
    raw: sys::CUmodule,
}

impl Module {
    pub(in crate::probe::cuda) fn new(context: &Rc<Context>, ptx: &str) -> Answer<Rc<Self>> {
        context.enter()?;
        let mut raw = std::ptr::null_mut();
        let text = std::ffi::CString::new(ptx).map_err(|_| "the kernels are no text".to_owned())?;
        // SAFETY: text with its end; unloaded once.
        check("cuModuleLoadData", unsafe { sys::cuModuleLoadData(&mut raw, text.as_ptr().cast()) })?;
        Ok(Rc::new(Self { context: Rc::clone(context), raw }))
    }

    pub(in crate::probe::cuda) fn function(self: &Rc<Self>, name: &str) -> Answer<Function> {
        self.context.enter()?;
        let mut raw = std::ptr::null_mut();
        let text = std::ffi::CString::new(name).map_err(|_| "no name of a kernel".to_owned())?;
        // SAFETY: text with its end; the function lives as long as its module.
        check(name, unsafe { sys::cuModuleGetFunction(&mut raw, self.raw, text.as_ptr()) })?;
        Ok(Function { module: Rc::clone(self), raw })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        let _ = self.context.wait();
        // SAFETY: loaded once, unloaded once; functions hold the module.
        let _ = unsafe { sys::cuModuleUnload(self.raw) };
    }
}

/// An argument of a kernel.
#[derive(Clone, Copy)]
pub(in crate::probe::cuda) enum Arg {
    U32(u32),
    U64(u64),
    F32(f32),
}

/// A kernel.
pub(in crate::probe::cuda) struct Function {
    module: Rc<Module>,
    raw: sys::CUfunction,
}

impl Function {
    /// Queues the kernel; arguments are those of `kernels.cu`, in order.
    pub(in crate::probe::cuda) fn launch(&self, blocks: u32, threads: u32, stream: &Stream, args: &[Arg]) -> Answer<()> {
        self.module.context.enter()?;
        let mut places: Vec<*mut c_void> = args
            .iter()
            .map(|a| match a {
                Arg::U32(v) => std::ptr::from_ref(v).cast_mut().cast(),
                Arg::U64(v) => std::ptr::from_ref(v).cast_mut().cast(),
                Arg::F32(v) => std::ptr::from_ref(v).cast_mut().cast(),
            })
            .collect();
        let null = std::ptr::null_mut();
        // SAFETY: the call copies the arguments before it returns; the kernels reach device memory of buffers that wait before they are freed.
        let code = unsafe { sys::cuLaunchKernel(self.raw, blocks, 1, 1, threads, 1, 1, 0, stream.raw, places.as_mut_ptr(), null) };
        check("cuLaunchKernel", code)
    }
}
