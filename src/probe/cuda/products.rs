//! Matrix products by cuBLASLt: shapes of layers of real models at many batches, and a set that fills the space between.

use super::clock::Timer;
use super::device::Gpu;
use super::ffi::{Blas, Buffer, Format, Product};
use super::{Ranked, at_level};
use crate::calibrate::{OperatorTable, What};
use crate::probe::Task;
use std::rc::Rc;

/// Width and inner dimension of layers: Llama 3 8B and 70B (attention in, attention out, gate and up, down), whole and in eight parts;
/// GPT-3 13B; an expert of DeepSeek-V3.
const LAYERS: [(usize, usize); 12] = [
    (4096, 4096),
    (6144, 4096),
    (28_672, 4096),
    (4096, 14_336),
    (1280, 8192),
    (8192, 1024),
    (7168, 8192),
    (8192, 3584),
    (10_240, 8192),
    (15_360, 5120),
    (4096, 7168),
    (7168, 2048),
];

/// Tokens beside each other.
const TOKENS: [usize; 5] = [16, 128, 8192, 1024, 4096];

/// Shapes of the set between.
const BETWEEN: usize = 48;

/// Greatest share of the memory for operands.
const SHARE: u64 = 3;

const SEED: u64 = 31;

/// `m`, `n`, `k` of everything, plain ones first.
fn shapes() -> Vec<(u8, (usize, usize, usize))> {
    let layers = TOKENS.iter().enumerate().flat_map(|(t, &m)| {
        LAYERS.iter().enumerate().map(move |(i, &(n, k))| (if (t + i) % 3 == 0 { 0 } else { 1 + (t as u8 & 1) }, (m, n, k)))
    });
    // Halton's sequence over the logarithms: 16 to 16,384 rows, 128 to 16,384 columns, 128 to 16,384 inside.
    let halton = |mut i: usize, base: usize| {
        let (mut value, mut part) = (0.0, 1.0);
        while i > 0 {
            part /= base as f64;
            value += part * (i % base) as f64;
            i /= base;
        }
        value
    };
    let size = |least: f64, share: f64| (least * libm::pow(16_384.0 / least, share) / 16.0).round() as usize * 16;
    let between = (1..=BETWEEN).map(move |i| (1, (size(16.0, halton(i, 2)), size(128.0, halton(i, 3)), size(128.0, halton(i, 5)))));
    layers.chain(between).collect()
}

/// Operands begin at multiples of 256 bytes.
const fn up(bytes: usize) -> usize {
    bytes.div_ceil(256) * 256
}

pub(super) const fn bytes(format: Format, (m, n, k): (usize, usize, usize)) -> usize {
    up(n * k * format.bytes) + up(m * k * format.bytes) + up(m * n * format.result_bytes)
}

/// Whether a device has matrix units for a format.
pub(super) fn has(gpu: &Gpu, format: Format) -> bool {
    let needs = match format.word {
        "fp8" => 89,
        "bf16" | "tf32" => 80,
        "int8" => 75,
        _ => 70,
    };
    gpu.capability >= needs
}

pub(super) fn tasks(gpu: &Rc<Gpu>, blas: &Rc<Blas>, seconds: f64) -> Vec<Ranked> {
    let mut out = Vec::new();
    for format in Format::ALL.into_iter().filter(|f| has(gpu, *f)) {
        for (level, shape) in shapes() {
            if bytes(format, shape) as u64 <= gpu.memory / SHARE {
                out.push(at_level(level, product(gpu, blas, format, shape, seconds, false)));
            }
        }
    }
    out
}

/// Every device for itself, to find the one that is out of line: a large product.
pub(super) fn compared(gpu: &Rc<Gpu>, blas: &Rc<Blas>, seconds: f64) -> Option<Ranked> {
    let format = Format::ALL.into_iter().find(|f| has(gpu, *f))?;
    let side = [8192, 4096, 2048, 1024].into_iter().find(|s| bytes(format, (*s, *s, *s)) as u64 <= gpu.memory / SHARE)?;
    Some(at_level(0, product(gpu, blas, format, (side, side, side), seconds, true)))
}

/// A product with its operands, several sets of them where they would fit into the cache: each finds them cold.
pub(super) struct Work {
    product: Product,
    format: Format,
    shape: (usize, usize, usize),
    operands: Buffer,
    sets: usize,
}

impl Work {
    pub(super) fn new(gpu: &Gpu, blas: &Rc<Blas>, format: Format, shape: (usize, usize, usize)) -> Result<Self, String> {
        let product = Product::new(blas, &gpu.context, format, shape)?;
        let each = bytes(format, shape);
        let sets = (2 * gpu.cache as usize).div_ceil(each).clamp(1, 16).min((gpu.memory as usize / SHARE as usize / each).max(1));
        let operands = Buffer::new(&gpu.context, sets * each)?;
        gpu.fill(&operands, SEED, format.random)?;
        Ok(Self { product, format, shape, operands, sets })
    }

    /// Offsets of weights, inputs, results in a set.
    fn offsets(&self, set: usize) -> [usize; 3] {
        let (m, n, k) = self.shape;
        let first = set * bytes(self.format, self.shape);
        let second = first + up(n * k * self.format.bytes);
        [first, second, second + up(m * k * self.format.bytes)]
    }

    pub(super) fn queue(&self, gpu: &Gpu, repetition: usize) -> Result<(), String> {
        let [w, i, r] = self.offsets(repetition % self.sets);
        let b = &self.operands;
        self.product.queue((b, w), (b, i), (b, r), &gpu.stream)
    }

    /// Three elements of the first result against sums on the host.
    pub(super) fn verify(&self) -> Result<(), String> {
        let ((m, n, k), [w, i, r]) = (self.shape, self.offsets(0));
        let (b, f) = (self.format.bytes, self.format);
        for (row, column) in [(0, 0), (m - 1, n - 1), (m / 2, n / 3)] {
            let weights = self.operands.read(w + column * k * b, k * b)?;
            let inputs = self.operands.read(i + row * k * b, k * b)?;
            let result = self.operands.read(r + (row * n + column) * f.result_bytes, f.result_bytes)?;
            let want: f64 = weights.chunks_exact(b).zip(inputs.chunks_exact(b)).map(|(x, y)| number(f, x) * number(f, y)).sum();
            let got = if f.word == "int8" {
                f64::from(i32::from_le_bytes([result[0], result[1], result[2], result[3]]))
            } else {
                number(if f.word == "fp8" { Format::ALL[0] } else { f }, &result)
            };
            // Terms are at most one but for int8, where the sum is exact.
            let allowed = if f.word == "int8" { 0.5 } else { 0.01 * want.abs() + 0.01 * (k as f64).sqrt() };
            if (got - want).abs() > allowed {
                return Err("the product gave a wrong result".into());
            }
        }
        Ok(())
    }
}

fn number(format: Format, bytes: &[u8]) -> f64 {
    let half = || u32::from(u16::from_le_bytes([bytes[0], bytes[1]]));
    // Sign, exponent and mantissa of a small format as a number; zeros and denormals are not drawn and hardly result.
    let small = |bits: u32, exponent: u32, mantissa: u32, bias: i32| {
        let sign = if bits >> (exponent + mantissa) == 1 { -1.0 } else { 1.0 };
        let e = (bits >> mantissa & ((1 << exponent) - 1)) as i32;
        let fraction = f64::from(bits & ((1 << mantissa) - 1)) / f64::from(1 << mantissa);
        sign * if e == 0 { fraction * libm::exp2(f64::from(1 - bias)) } else { (1.0 + fraction) * libm::exp2(f64::from(e - bias)) }
    };
    match format.word {
        "bf16" => small(half(), 8, 7, 127),
        "fp16" => small(half(), 5, 10, 15),
        "fp8" => small(u32::from(bytes[0]), 4, 3, 7),
        "int8" => f64::from(bytes[0] as i8),
        _ => f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
    }
}

fn product(gpu: &Rc<Gpu>, blas: &Rc<Blas>, format: Format, shape: (usize, usize, usize), seconds: f64, compared: bool) -> Task {
    let (gpu, blas) = (Rc::clone(gpu), Rc::clone(blas));
    let (m, n, k) = shape;
    let what = if compared { "beside the others: product" } else { "product" };
    Task::device(format!("GPU {} {what} {} {m}x{n}x{k}", gpu.ordinal, format.word), move |stop| {
        let work = Work::new(&gpu, &blas, format, shape)?;
        let timer = Timer { gpu: &gpu, seconds, stop, held: true };
        let samples = timer.time(&|i| work.queue(&gpu, i))?;
        work.verify()?;
        if compared {
            let what = What::Metric { name: format!("{} product of one GPU, FLOP/s", format.word) };
            return Ok(timer.record(what, samples, Some(2.0 * (m * n * k) as f64)));
        }
        let cell = |name: &str, value: String| (name.to_owned(), value);
        let cells = [
            cell("m", m.to_string()),
            cell("n", n.to_string()),
            cell("k", k.to_string()),
            cell("dtype", format.word.into()),
            cell("framework", "cublaslt".into()),
        ];
        Ok(timer.record(What::Operator { table: OperatorTable::Gemm, cells: cells.into() }, samples, None))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_formats_are_read() {
        let [bf16, fp8, fp16, tf32, int8] = Format::ALL;
        assert!((number(bf16, &[0x40, 0xbf]) + 0.75).abs() < 1e-12);
        assert!((number(fp16, &[0x00, 0x3a]) - 0.75).abs() < 1e-12);
        assert!((number(fp8, &[0x34]) - 0.75).abs() < 1e-12 && (number(fp8, &[0xb0]) + 0.5).abs() < 1e-12);
        assert!((number(tf32, &1.5f32.to_le_bytes()) - 1.5).abs() < 1e-12);
        assert!((number(int8, &[0xff]) + 1.0).abs() < 1e-12);
    }

    #[test]
    fn shapes_fill_the_space_and_differ() {
        let all = shapes();
        let first = all.iter().filter(|s| s.0 == 0).count();
        let mut different: Vec<_> = all.iter().map(|s| s.1).collect();
        different.sort_unstable();
        different.dedup();
        assert!(different.len() == all.len() && all.len() > 100 && first >= 20, "{} of {}, {first} first", different.len(), all.len());
        assert!(all.iter().all(|(_, (m, n, k))| m % 16 == 0 && n % 16 == 0 && k % 16 == 0 && *m * *n * *k > 0));
    }
}
