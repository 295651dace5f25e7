//! What is queued on a device: streams, marks in them, graphs, kernels.

use super::driver::{Answer, Context, check};
use core::ffi::c_void;
use cudarc::driver::sys;
use std::rc::Rc;

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

    pub(super) const fn handle(&self) -> sys::CUstream {
        self.raw
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
