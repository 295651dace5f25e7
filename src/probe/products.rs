//! Matrix products on the CPU, single precision, one thread: what a host does where no accelerator is.

use super::{ProbeOptions, Stop, Task, host, median, samples};
use crate::calibrate::{Measurement, OperatorTable, Unit, What, part_named};
use nalgebra::DMatrix;
use std::hint::black_box;
use std::time::Instant;

/// Squares, and the shapes of layers at small batches.
const SHAPES: [(usize, usize, usize); 24] = [
    (1024, 1024, 1024),
    (256, 256, 256),
    (512, 512, 512),
    (64, 64, 64),
    (128, 128, 128),
    (1, 1024, 1024),
    (16, 1024, 1024),
    (64, 1024, 1024),
    (256, 1024, 1024),
    (1, 4096, 1024),
    (16, 4096, 1024),
    (128, 4096, 1024),
    (1, 1024, 4096),
    (16, 1024, 4096),
    (128, 1024, 4096),
    (32, 32, 8192),
    (8, 256, 256),
    (96, 96, 96),
    (200, 300, 400),
    (768, 768, 768),
    (384, 1536, 384),
    (1, 256, 256),
    (2048, 64, 512),
    (1536, 1536, 512),
];

pub(super) fn tasks(options: &ProbeOptions) -> Vec<Task> {
    let seconds = options.seconds_each;
    SHAPES.iter().map(|&(m, n, k)| Task::new(format!("product {m}x{n}x{k}"), move |stop| product(m, n, k, seconds, stop))).collect()
}

fn product(m: usize, n: usize, k: usize, seconds: f64, stop: &Stop) -> Result<Vec<Measurement>, String> {
    let entry = |i: usize, j: usize| ((i * 31 + j * 17) % 13) as f32 - 6.0;
    let (a, b) = (DMatrix::<f32>::from_fn(m, k, entry), DMatrix::<f32>::from_fn(k, n, entry));
    let mut c = DMatrix::<f32>::zeros(m, n);
    // A sample lasts a millisecond at least: the clock has to be finer than what it measures.
    let repeat = (5e6 / (m * n * k) as f64).ceil().max(1.0) as usize;
    let times = samples(seconds, 5, stop, || {
        let start = Instant::now();
        for _ in 0..repeat {
            black_box(&a).mul_to(black_box(&b), &mut c);
        }
        start.elapsed().as_secs_f64() / repeat as f64
    });
    let want: f32 = (0..k).map(|i| a[(m - 1, i)] * b[(i, n - 1)]).sum();
    if (c[(m - 1, n - 1)] - want).abs() > 1e-2 * want.abs().max(1.0) {
        return Err("the product gave a wrong result".into());
    }
    if times.is_empty() {
        return Ok(Vec::new());
    }
    let cell = |name: &str, value: String| (name.to_owned(), value);
    let cells = [
        cell("m", m.to_string()),
        cell("n", n.to_string()),
        cell("k", k.to_string()),
        cell("dtype", "fp32".into()),
        cell("framework", "matrixmultiply".into()),
    ];
    let what = What::Operator { table: OperatorTable::Gemm, cells: cells.into() };
    let mut one = Measurement::new(what, median(&times), Unit::Seconds, "");
    one.part = part_named(&host::processor()).unwrap_or_default();
    one.samples = times;
    one.samples.truncate(50);
    Ok(vec![one])
}
