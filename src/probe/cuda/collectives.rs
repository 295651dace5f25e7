//! Collectives by NCCL over the devices of this host, in one process: all of them, and fewer.

use super::clock::Timer;
use super::device::{FLOATS, Gpu, float};
use super::ffi::{Buffer, Exchange};
use super::{Ranked, Shared, at_level};
use crate::calibrate::What;
use crate::probe::Task;
use std::rc::Rc;

/// Buffer from which on sizes are left out whatever the memory holds.
const LARGEST: u64 = 8 << 30;

pub(super) fn tasks(gpus: &[Rc<Gpu>], shared: &Rc<Shared>, seconds: f64) -> Vec<Ranked> {
    let all = gpus.len();
    let mut counts: Vec<usize> = (1..).map(|i| 1 << i).take_while(|n| *n < all).collect();
    counts.push(all);
    counts.retain(|n| *n >= 2);
    let most = gpus.iter().map(|g| g.memory / 4).min().unwrap_or(0).min(LARGEST);
    let mut out = Vec::new();
    for ranks in counts {
        for (what, word) in Exchange::ALL {
            let sizes = (0..24u32).map(|i| 1024u64 << i).filter(|b| *b <= most);
            for (i, bytes) in sizes.enumerate() {
                let level = u8::from(i % 2 == 1) + u8::from(ranks < all);
                out.push(at_level(level, exchange(&gpus[..ranks], shared, (what, word), bytes as usize, seconds)));
            }
        }
    }
    out
}

fn seed(rank: usize) -> u64 {
    1000 + rank as u64
}

fn exchange(gpus: &[Rc<Gpu>], shared: &Rc<Shared>, (what, word): (Exchange, &'static str), bytes: usize, seconds: f64) -> Task {
    let (gpus, shared) = (gpus.to_vec(), Rc::clone(shared));
    let ranks = gpus.len();
    // Each rank's part holds whole floats.
    let bytes = bytes / (16 * ranks) * 16 * ranks;
    Task::device(format!("{word} over {ranks} GPUs {bytes} B"), move |stop| {
        let (communicator, places) = shared.exchange(&gpus, bytes)?;
        for (rank, (gpu, (from, _))) in gpus.iter().zip(&places).enumerate() {
            gpu.fill(from, seed(rank), FLOATS)?;
        }
        let streams = gpus.iter().map(|g| super::ffi::Stream::new(&g.context)).collect::<Result<Vec<_>, _>>()?;
        let gpu = &gpus[0];
        // Times are those of the first device's stream, which is ordered with the timer's.
        let (ready, done) = (super::ffi::Event::new(&gpu.context)?, super::ffi::Event::new(&gpu.context)?);
        let queue = |_| {
            ready.record(&gpu.stream)?;
            streams[0].after(&ready)?;
            communicator.queue(what, bytes, &places, &streams)?;
            done.record(&streams[0])?;
            gpu.stream.after(&done)
        };
        let timer = Timer { gpu, seconds, stop, held: false };
        let samples = timer.time(&queue)?;
        streams.iter().try_for_each(super::ffi::Stream::wait)?;
        verify(what, bytes / 4, &places)?;
        let what = What::Collective {
            op: word.into(),
            bytes: bytes as f64,
            ranks: ranks as u64,
            nodes: 1,
            library: "nccl".into(),
            launch: "single-process".into(),
            variant: String::new(),
        };
        let mut out = timer.record(what, samples, None);
        let version = shared.nccl.as_ref().map_or_else(|_| String::new(), |n| n.version.clone());
        out.iter_mut().for_each(|m| drop(m.conditions.insert("nccl".into(), version.clone())));
        Ok(out)
    })
}

/// A few floats of results against what they have to be.
fn verify(what: Exchange, count: usize, places: &[(Buffer, Buffer)]) -> Result<(), String> {
    let ranks = places.len();
    let part = count / ranks;
    let sum = |i: usize| (0..ranks).map(|r| f64::from(float(seed(r), i as u64))).sum::<f64>();
    for (rank, (_, to)) in places.iter().enumerate() {
        let filled = if what == Exchange::ReduceScatter { part } else { count };
        if what == Exchange::Reduce && rank > 0 {
            continue;
        }
        for i in [0, filled / 3, filled - 1] {
            let (of, inside) = (i / part, i % part);
            let want = match what {
                Exchange::AllReduce | Exchange::Reduce => sum(i),
                Exchange::ReduceScatter => sum(rank * part + i),
                Exchange::AllGather => f64::from(float(seed(of), inside as u64)),
                Exchange::AllToAll => f64::from(float(seed(of), (rank * part + inside) as u64)),
                Exchange::Broadcast => f64::from(float(seed(0), i as u64)),
            };
            let got = to.read(4 * i, 4)?;
            let got = f64::from(f32::from_le_bytes([got[0], got[1], got[2], got[3]]));
            if (got - want).abs() > 1e-5 * ranks as f64 {
                return Err("the collective gave a wrong result".into());
            }
        }
    }
    Ok(())
}
