//! Contents of memory as formulas, evaluated where somebody reads.

use std::sync::Arc as Rc;

/// What lies at a range.
#[derive(Clone)]
pub enum Source {
    Bytes(Rc<Vec<u8>>),
    /// The kernel `orrery_fill`: seed, bits kept, bits set.
    Fill(u64, u64, u64),
    /// The kernel `orrery_circle` over so many lines.
    Circle(u64),
    /// `b + s c` and `s b`.
    Triad(Snap, Snap, f32),
    Scale(Snap, f32),
    /// Another content from an offset on.
    View(Snap, u64),
    /// Sums of floats of several contents from an offset on.
    Sum(Vec<Snap>, u64),
    /// A product: weights and inputs with their offsets, width and inner dimension, format; wrong by so much.
    Product {
        weights: (Snap, u64),
        inputs: (Snap, u64),
        n: u64,
        k: u64,
        format: usize,
        wrong: f64,
    },
}

/// A range of a content: start, bytes, what lies there. Later ones lie over earlier ones.
pub type Patch = (u64, u64, Source);

/// A content at a moment.
pub type Snap = Rc<Vec<Patch>>;

/// Puts a patch over a content; what it covers wholly is dropped.
pub fn put(content: &mut Snap, start: u64, bytes: u64, source: Source) {
    let list = Rc::make_mut(content);
    list.retain(|(s, b, _)| *s < start || s + b > start + bytes);
    list.push((start, bytes, source));
}

/// Bytes of a content from an offset on; zeros where nothing was written.
pub fn read(content: &Snap, at: u64, count: usize) -> Vec<u8> {
    let mut out = vec![0u8; count];
    for (start, bytes, source) in content.iter() {
        let (from, to) = ((*start).max(at), (start + bytes).min(at + count as u64));
        if from < to {
            let part = &mut out[(from - at) as usize..(to - at) as usize];
            evaluate(source, from - start, part);
        }
    }
    out
}

fn evaluate(source: &Source, at: u64, out: &mut [u8]) {
    let count = out.len();
    match source {
        Source::Bytes(b) => out.copy_from_slice(&b[at as usize..at as usize + count]),
        Source::Fill(seed, keep, set) => {
            let mut i = at;
            while i < at + count as u64 {
                let word = word(*seed, i / 8, *keep, *set).to_le_bytes();
                let inside = (i % 8) as usize;
                let n = (8 - inside).min((at + count as u64 - i) as usize);
                out[(i - at) as usize..][..n].copy_from_slice(&word[inside..inside + n]);
                i += n as u64;
            }
        }
        Source::Circle(lines) => {
            for (j, byte) in out.iter_mut().enumerate() {
                let i = at + j as u64;
                let next = ((i / 128 * 5 + 12345) & (lines - 1)) as u32 * 32;
                *byte = if i % 128 < 4 { next.to_le_bytes()[(i % 128) as usize] } else { 0 };
            }
        }
        Source::View(content, offset) => out.copy_from_slice(&read(content, at + offset, count)),
        Source::Triad(b, c, s) => floats(at, out, |i| float(b, i) + s * float(c, i)),
        Source::Scale(b, s) => floats(at, out, |i| s * float(b, i)),
        Source::Sum(all, offset) => floats(at, out, |i| all.iter().map(|c| float(c, i + offset)).sum()),
        Source::Product { .. } => product(source, at, out),
    }
}

/// The word of `orrery_fill`, after the text of the kernel.
fn word(seed: u64, i: u64, keep: u64, set: u64) -> u64 {
    let x = seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) & keep) | set
}

/// The exclusive or of words of a content.
pub fn xor(content: &Snap, words: u64) -> u64 {
    if let [(0, _, Source::Fill(seed, keep, set))] = content[..] {
        return (0..words).fold(0, |all, i| all ^ word(seed, i, keep, set));
    }
    read(content, 0, 8 * words as usize).chunks_exact(8).fold(0, |all, w| all ^ u64::from_le_bytes(w.try_into().unwrap_or_default()))
}

/// A 32-bit word at an offset of bytes.
pub fn word32(content: &Snap, at: u64) -> u32 {
    u32::from_le_bytes(read(content, at, 4).try_into().unwrap_or_default())
}

fn float(content: &Snap, at: u64) -> f32 {
    f32::from_bits(word32(content, at))
}

fn floats(at: u64, out: &mut [u8], value: impl Fn(u64) -> f32) {
    for (j, cell) in out.chunks_mut(4).enumerate() {
        let bytes = value(at + 4 * j as u64).to_le_bytes();
        cell.copy_from_slice(&bytes[..cell.len()]);
    }
}

/// Elements of a product that a range touches.
fn product(source: &Source, at: u64, out: &mut [u8]) {
    let Source::Product { weights, inputs, n, k, format, wrong } = source else { return };
    let size: u64 = if *format == 2 || *format == 4 { 4 } else { 2 };
    let operand: u64 = [2, 2, 4, 1, 1][*format];
    for (j, cell) in out.chunks_mut(size as usize).enumerate() {
        let i = at / size + j as u64;
        let (row, column) = (i / n, i % n);
        let w = read(&weights.0, weights.1 + column * k * operand, (k * operand) as usize);
        let x = read(&inputs.0, inputs.1 + row * k * operand, (k * operand) as usize);
        let sum: f64 = w
            .chunks_exact(operand as usize)
            .zip(x.chunks_exact(operand as usize))
            .map(|(a, b)| number(*format, a) * number(*format, b))
            .sum();
        let sum = sum + wrong;
        let bytes = match format {
            4 => (sum as i32).to_le_bytes().to_vec(),
            2 => (sum as f32).to_le_bytes().to_vec(),
            1 => half(sum).to_le_bytes().to_vec(),
            _ => (((sum as f32).to_bits().wrapping_add(0x8000) >> 16) as u16).to_le_bytes().to_vec(),
        };
        cell.copy_from_slice(&bytes[..cell.len()]);
    }
}

fn number(format: usize, b: &[u8]) -> f64 {
    let scaled = |sign: bool, exponent: i32, fraction: f64| {
        libm::copysign((1.0 + fraction) * libm::exp2(f64::from(exponent)), if sign { -1.0 } else { 1.0 })
    };
    match format {
        0 => f64::from(f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16)),
        1 => {
            let bits = u16::from_le_bytes([b[0], b[1]]);
            scaled(bits >> 15 == 1, i32::from(bits >> 10 & 31) - 15, f64::from(bits & 1023) / 1024.0)
        }
        3 => scaled(b[0] >> 7 == 1, i32::from(b[0] >> 3 & 15) - 7, f64::from(b[0] & 7) / 8.0),
        4 => f64::from(b[0] as i8),
        _ => f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
    }
}

/// A number as IEEE half precision, rounded; none here is too large or too small.
fn half(v: f64) -> u16 {
    if v == 0.0 {
        return 0;
    }
    let exponent = libm::log2(v.abs()).floor();
    let fraction = (v.abs() / libm::exp2(exponent) - 1.0) * 1024.0;
    let bits = ((exponent as i32 + 15) << 10) + fraction.round() as i32;
    u16::from(v < 0.0) << 15 | bits.clamp(0, 31743) as u16
}
