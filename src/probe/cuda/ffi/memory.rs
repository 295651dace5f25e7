//! Memory of devices and pinned memory of the host, each freed by its owner.

use super::driver::{Answer, Context, check};
use super::queue::Stream;
use core::ffi::c_void;
use cudarc::driver::sys;
use std::rc::Rc;

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
        check("cuMemcpyHtoD", unsafe { sys::cuMemcpyHtoD_v2(self.at(offset), from.as_ptr().cast(), from.len()) })?;
        // Small copies may still be on their way.
        self.context.wait()
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
        check("cuMemcpyHtoDAsync", unsafe { sys::cuMemcpyHtoDAsync_v2(self.at, from.at.cast_const(), bytes, stream.handle()) })
    }

    /// Queues a copy of the first bytes to pinned memory.
    pub(in crate::probe::cuda) fn read_to(&self, to: &Pinned, bytes: usize, stream: &Stream) -> Answer<()> {
        self.inside(0, bytes)?;
        let bytes = bytes.min(to.bytes);
        // SAFETY: as for the other direction.
        check("cuMemcpyDtoHAsync", unsafe { sys::cuMemcpyDtoHAsync_v2(to.at, self.at, bytes, stream.handle()) })
    }

    /// Queues a copy of the first bytes from another device.
    pub(in crate::probe::cuda) fn write_peer(&self, from: &Self, bytes: usize, stream: &Stream) -> Answer<()> {
        from.inside(0, bytes)?;
        self.inside(0, bytes)?;
        stream.context().enter()?;
        // SAFETY: both ranges were checked.
        let code = unsafe { sys::cuMemcpyPeerAsync(self.at, self.context.raw(), from.at, from.context.raw(), bytes, stream.handle()) };
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
