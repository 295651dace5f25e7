//! Streams through memory: a triad over working sets from the first cache to far beyond the last, on one thread, half and all of them.

use super::{ProbeOptions, Stop, Task, host, median, samples};
use crate::calibrate::{Measurement, Unit, What};
use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

pub(super) fn tasks(options: &ProbeOptions) -> Vec<Task> {
    let all = host::threads();
    let mut counts = vec![1, all, all / 2];
    counts.retain(|c| *c >= 1);
    counts.dedup();
    let most = options.memory_bytes.min(host::available() / 4);
    let sizes: Vec<u64> = (0..).map(|i| 24_576u64 << i).take_while(|b| *b <= most).collect();
    let seconds = options.seconds_each;
    let mut out = Vec::new();
    for threads in counts {
        // Largest first: the memory itself matters most.
        for &bytes in sizes.iter().rev() {
            out.push(Task::new(format!("memory triad {bytes} B by {threads}"), move |stop| triad(bytes, threads, seconds, stop)));
        }
    }
    out
}

/// `a = b + s c` over three arrays that fill the working set together, split evenly over threads.
fn triad(bytes: u64, threads: usize, seconds: f64, stop: &Stop) -> Result<Vec<Measurement>, String> {
    let elements = (bytes as usize / 24 / threads).max(16);
    // About a millisecond a sample, so that barriers do not count.
    let passes = (4_000_000 / elements).clamp(1, 100_000);
    let mut arrays: Vec<[Vec<f64>; 3]> =
        (0..threads).map(|_| [vec![0.0; elements], vec![1.25; elements], (0..elements).map(|i| i as f64).collect()]).collect();
    let rates = samples(seconds, 7, stop, || {
        let barrier = Barrier::new(threads + 1);
        let elapsed = std::thread::scope(|scope| {
            for set in &mut arrays {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    for _ in 0..passes {
                        let [a, b, c] = set;
                        for ((a, b), c) in a.iter_mut().zip(b.iter()).zip(c.iter()) {
                            *a = *b + 3.0 * *c;
                        }
                        black_box(&mut set[0]);
                    }
                    barrier.wait();
                });
            }
            barrier.wait();
            let start = Instant::now();
            barrier.wait();
            start.elapsed().as_secs_f64()
        });
        (24 * elements * threads * passes) as f64 / elapsed.max(1e-9)
    });
    let last = elements - 1;
    if arrays.iter().any(|[a, _, _]| (a[last] - (1.25 + 3.0 * last as f64)).abs() > 1e-9) {
        return Err("the triad gave a wrong result".into());
    }
    if rates.is_empty() {
        return Ok(Vec::new());
    }
    let what = What::Memory { kernel: "triad".into(), bytes: (24 * elements * threads) as f64, threads: threads as u64 };
    let mut one = Measurement::new(what, median(&rates), Unit::BytesPerSecond, "");
    one.part = "host".into();
    one.samples = rates;
    one.samples.truncate(50);
    Ok(vec![one])
}
