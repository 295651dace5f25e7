//! `libnccl`: operations of a group are gathered, timed by the least of two lines, and their results are formulas.

use crate::memory::{Snap, Source, put};
use crate::truth::COLLECTIVES;
use crate::world::{Class, world};
use std::ffi::c_int;
use std::sync::{Arc, Mutex, PoisonError};

/// What one rank asked for.
struct Call {
    /// Its place in [`COLLECTIVES`]; sends and receives count as all-to-all.
    op: usize,
    /// Whether it is a receive.
    receives: bool,
    from: u64,
    to: u64,
    count: u64,
    peer: usize,
    rank: usize,
    ranks: usize,
    stream: usize,
}

static GROUP: Mutex<Vec<Call>> = Mutex::new(Vec::new());

#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclGetVersion(version: *mut c_int) -> c_int {
    unsafe { version.write(22_703) };
    0
}

/// A communicator is its rank and its ranks in one word.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ncclCommInitAll(comms: *mut usize, count: c_int, devices: *const c_int) -> c_int {
    let known = world().devices as c_int;
    for rank in 0..count as usize {
        if unsafe { *devices.add(rank) } >= known {
            return 4;
        }
        unsafe { comms.add(rank).write(1 << 32 | rank << 16 | count as usize) };
    }
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclCommDestroy(_: usize) -> c_int {
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclGroupStart() -> c_int {
    GROUP.lock().unwrap_or_else(PoisonError::into_inner).clear();
    0
}

fn ask(op: usize, (from, to): (u64, u64), count: usize, (peer, receives): (usize, bool), kind: c_int, comm: usize, stream: usize) -> c_int {
    if kind != 7 {
        return 4;
    }
    let (rank, ranks) = (comm >> 16 & 0xffff, comm & 0xffff);
    let call = Call { op, receives, from, to, count: count as u64, peer, rank, ranks, stream };
    GROUP.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    0
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclAllReduce(from: u64, to: u64, count: usize, kind: c_int, _: c_int, comm: usize, stream: usize) -> c_int {
    ask(0, (from, to), count, (0, false), kind, comm, stream)
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclAllGather(from: u64, to: u64, count: usize, kind: c_int, comm: usize, stream: usize) -> c_int {
    ask(1, (from, to), count, (0, false), kind, comm, stream)
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclReduceScatter(from: u64, to: u64, count: usize, kind: c_int, _: c_int, comm: usize, stream: usize) -> c_int {
    ask(2, (from, to), count, (0, false), kind, comm, stream)
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclBroadcast(from: u64, to: u64, count: usize, kind: c_int, root: c_int, comm: usize, stream: usize) -> c_int {
    ask(4, (from, to), count, (root as usize, false), kind, comm, stream)
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclReduce(from: u64, to: u64, count: usize, kind: c_int, _: c_int, root: c_int, comm: usize, stream: usize) -> c_int {
    ask(5, (from, to), count, (root as usize, false), kind, comm, stream)
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclSend(from: u64, count: usize, kind: c_int, peer: c_int, comm: usize, stream: usize) -> c_int {
    ask(3, (from, 0), count, (peer as usize, false), kind, comm, stream)
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclRecv(to: u64, count: usize, kind: c_int, peer: c_int, comm: usize, stream: usize) -> c_int {
    ask(3, (0, to), count, (peer as usize, true), kind, comm, stream)
}

#[unsafe(no_mangle)]
pub extern "C" fn ncclGroupEnd() -> c_int {
    let calls = std::mem::take(&mut *GROUP.lock().unwrap_or_else(PoisonError::into_inner));
    let Some(first) = calls.first() else { return 0 };
    let (op, ranks) = (first.op, first.ranks);
    // Every rank asks for the same, and of all-to-all for a message from and to each.
    let each = if op == 3 { 2 * ranks } else { 1 };
    if calls.len() != each * ranks || calls.iter().any(|c| c.op != op || c.count != first.count || c.ranks != ranks) {
        return 5;
    }
    let parts = if matches!(op, 1..=3) { ranks as u64 } else { 1 };
    let bytes = 4.0 * (first.count * parts) as f64;
    let mut streams: Vec<usize> = calls.iter().map(|c| c.stream).collect();
    streams.dedup();
    let mut w = world();
    let seconds = w.truth.collective[op].iter().map(|l| l.time(bytes)).fold(f64::INFINITY, f64::min);
    w.work_together(&streams, Class::Exchange, seconds);
    let key = [op as u64].into_iter().chain(calls.iter().flat_map(|c| [c.from, c.to, c.count])).collect();
    if !w.done.insert((6, key)) {
        return 0;
    }
    drop(w);
    if results(&calls, op, ranks).is_some() { 0 } else { 4 }
}

/// Writes what every rank gets; `None` where an address is none.
fn results(calls: &[Call], op: usize, ranks: usize) -> Option<()> {
    debug_assert!(op < COLLECTIVES.len());
    let snap = |at: u64, bytes: u64| -> Option<(Snap, u64)> {
        let mut w = world();
        let (start, found) = w.find(at, bytes)?;
        Some((Arc::clone(&found.content), at - start))
    };
    let set = |at: u64, bytes: u64, source: Source| -> Option<()> {
        let mut w = world();
        let (start, found) = w.find(at, bytes)?;
        put(&mut found.content, at - start, bytes, source);
        Some(())
    };
    let bytes = 4 * calls[0].count;
    if op == 3 {
        for to in calls.iter().filter(|c| c.receives) {
            // The message of that peer to this rank: sends are in order of ranks.
            let from = calls.iter().find(|c| !c.receives && c.rank == to.peer && c.peer == to.rank)?;
            let (content, offset) = snap(from.from, bytes)?;
            set(to.to, bytes, Source::View(content, offset))?;
        }
        return Some(());
    }
    let whole = if op == 2 { bytes * ranks as u64 } else { bytes };
    let sent = calls.iter().map(|c| snap(c.from, whole).filter(|s| s.1 == 0).map(|s| s.0)).collect::<Option<Vec<Snap>>>()?;
    for call in calls {
        match op {
            0 => set(call.to, bytes, Source::Sum(sent.clone(), 0))?,
            1 => sent.iter().enumerate().try_for_each(|(r, s)| set(call.to + r as u64 * bytes, bytes, Source::View(Arc::clone(s), 0)))?,
            2 => set(call.to, bytes, Source::Sum(sent.clone(), call.rank as u64 * bytes))?,
            4 => set(call.to, bytes, Source::View(Arc::clone(sent.get(call.peer)?), 0))?,
            _ if call.rank == call.peer => set(call.to, bytes, Source::Sum(sent.clone(), 0))?,
            _ => {}
        }
    }
    Some(())
}
