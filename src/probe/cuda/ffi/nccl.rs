//! Collectives by NCCL among the devices of this process.

use super::functions;
use super::memory::Buffer;
use super::queue::Stream;
use core::ffi::{c_int, c_void};
use std::rc::Rc;

functions! { Functions: "libnccl.so.2";
    fn ncclGetVersion(*mut c_int);
    fn ncclCommInitAll(*mut *mut c_void, c_int, *const c_int);
    fn ncclCommDestroy(*mut c_void);
    fn ncclGroupStart();
    fn ncclGroupEnd();
    fn ncclAllReduce(u64, u64, usize, c_int, c_int, *mut c_void, *mut c_void);
    fn ncclAllGather(u64, u64, usize, c_int, *mut c_void, *mut c_void);
    fn ncclReduceScatter(u64, u64, usize, c_int, c_int, *mut c_void, *mut c_void);
    fn ncclBroadcast(u64, u64, usize, c_int, c_int, *mut c_void, *mut c_void);
    fn ncclReduce(u64, u64, usize, c_int, c_int, c_int, *mut c_void, *mut c_void);
    fn ncclSend(u64, usize, c_int, c_int, *mut c_void, *mut c_void);
    fn ncclRecv(u64, usize, c_int, c_int, *mut c_void, *mut c_void);
}

/// `ncclFloat32` and `ncclSum`.
const FLOAT: c_int = 7;
const SUM: c_int = 0;

fn check(call: &str, code: c_int) -> Result<(), String> {
    if code == 0 { Ok(()) } else { Err(format!("{call}: result {code} of NCCL")) }
}

/// NCCL.
pub(in crate::probe::cuda) struct Nccl {
    f: Functions,
    /// Version, as `2.27.3`.
    pub(in crate::probe::cuda) version: String,
}

impl Nccl {
    pub(in crate::probe::cuda) fn open() -> Result<Rc<Self>, String> {
        let f = Functions::load(&["libnccl.so.2".to_owned(), "libnccl.so".to_owned()])?;
        let mut v = 0;
        // SAFETY: a place for the answer.
        check("ncclGetVersion", unsafe { (f.ncclGetVersion)(&mut v) })?;
        Ok(Rc::new(Self { f, version: format!("{}.{}.{}", v / 10_000, v / 100 % 100, v % 100) }))
    }
}

/// What is exchanged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::probe::cuda) enum Exchange {
    AllReduce,
    AllGather,
    ReduceScatter,
    AllToAll,
    Broadcast,
    Reduce,
}

impl Exchange {
    /// All of them with the words of the records.
    pub(in crate::probe::cuda) const ALL: [(Self, &'static str); 6] = [
        (Self::AllReduce, "all_reduce"),
        (Self::AllGather, "all_gather"),
        (Self::ReduceScatter, "reduce_scatter"),
        (Self::AllToAll, "all_to_all"),
        (Self::Broadcast, "broadcast"),
        (Self::Reduce, "reduce"),
    ];
}

/// One communicator for each of some devices.
pub(in crate::probe::cuda) struct Communicator {
    nccl: Rc<Nccl>,
    raw: Vec<*mut c_void>,
}

impl Communicator {
    pub(in crate::probe::cuda) fn new(nccl: &Rc<Nccl>, devices: &[i32]) -> Result<Self, String> {
        let mut raw = vec![std::ptr::null_mut(); devices.len()];
        // SAFETY: as many places as devices; destroyed once.
        check("ncclCommInitAll", unsafe { (nccl.f.ncclCommInitAll)(raw.as_mut_ptr(), devices.len() as c_int, devices.as_ptr()) })?;
        Ok(Self { nccl: Rc::clone(nccl), raw })
    }

    /// Queues an exchange of `bytes` (of nccl-tests) on every device: from each first buffer to each second one, which both hold as much.
    pub(in crate::probe::cuda) fn queue(
        &self,
        what: Exchange,
        bytes: usize,
        places: &[(Buffer, Buffer)],
        streams: &[Stream],
    ) -> Result<(), String> {
        let n = self.raw.len();
        if places.len() != n || streams.len() != n || places.iter().any(|(a, b)| a.bytes().min(b.bytes()) < bytes) {
            return Err("an exchange does not fit into its buffers".into());
        }
        let f = &self.nccl.f;
        // SAFETY: a group is closed whatever happens inside; counts stay within the buffers, which were checked.
        unsafe {
            check("ncclGroupStart", (f.ncclGroupStart)())?;
            let queued = self
                .raw
                .iter()
                .zip(places)
                .zip(streams)
                .try_for_each(|((comm, (from, to)), stream)| self.one(what, bytes / 4, *comm, (from.at(0), to.at(0)), stream.raw()));
            let ended = check("ncclGroupEnd", (f.ncclGroupEnd)());
            queued.and(ended)
        }
    }

    /// # Safety
    /// Both places hold `count` floats, and a group is open.
    unsafe fn one(
        &self,
        what: Exchange,
        count: usize,
        comm: *mut c_void,
        (from, to): (u64, u64),
        stream: *mut c_void,
    ) -> Result<(), String> {
        let f = &self.nccl.f;
        let part = count / self.raw.len();
        // SAFETY: by the caller.
        unsafe {
            match what {
                Exchange::AllReduce => check("ncclAllReduce", (f.ncclAllReduce)(from, to, count, FLOAT, SUM, comm, stream)),
                Exchange::AllGather => check("ncclAllGather", (f.ncclAllGather)(from, to, part, FLOAT, comm, stream)),
                Exchange::ReduceScatter => check("ncclReduceScatter", (f.ncclReduceScatter)(from, to, part, FLOAT, SUM, comm, stream)),
                Exchange::Broadcast => check("ncclBroadcast", (f.ncclBroadcast)(from, to, count, FLOAT, 0, comm, stream)),
                Exchange::Reduce => check("ncclReduce", (f.ncclReduce)(from, to, count, FLOAT, SUM, 0, comm, stream)),
                Exchange::AllToAll => (0..self.raw.len()).try_for_each(|peer| {
                    let offset = (4 * peer * part) as u64;
                    check("ncclSend", (f.ncclSend)(from + offset, part, FLOAT, peer as c_int, comm, stream))?;
                    check("ncclRecv", (f.ncclRecv)(to + offset, part, FLOAT, peer as c_int, comm, stream))
                }),
            }
        }
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        for comm in self.raw.drain(..).filter(|c| !c.is_null()) {
            // SAFETY: created once, destroyed once.
            let _ = unsafe { (self.nccl.f.ncclCommDestroy)(comm) };
        }
    }
}
