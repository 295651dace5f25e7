//! The constants of the model clock, drawn from the seed: what a fit has to find again.

/// A small generator: splitmix64.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x9e37_79b9)
    }
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
    pub fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low * libm::pow(high / low, self.uniform())
    }
    pub fn normal(&mut self) -> f64 {
        (-2.0 * libm::log(self.uniform().max(1e-300))).sqrt() * libm::cos(std::f64::consts::TAU * self.uniform())
    }
}

/// Data sheet of the device that is modelled (H100 SXM): peaks by format, memory bandwidth, units.
pub const PEAK: [f64; 5] = [989e12, 989e12, 494.5e12, 1979e12, 1979e12];
pub const FORMATS: [&str; 5] = ["bf16", "fp16", "tf32", "fp8", "int8"];
pub const OPERAND_BYTES: [f64; 5] = [2.0, 2.0, 4.0, 1.0, 1.0];
pub const BANDWIDTH: f64 = 3350e9;
pub const UNITS: f64 = 132.0;
pub const CACHE: u64 = 4 << 20;
pub const COLLECTIVES: [&str; 6] = ["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "reduce"];

/// `start + bytes / rate`.
#[derive(Clone, Copy)]
pub struct Line {
    pub start: f64,
    pub rate: f64,
}

impl Line {
    pub fn time(self, bytes: f64) -> f64 {
        self.start + bytes / self.rate
    }
}

/// Constants of the tile model of matrix products (docs/models/kernels.md), written here a second time on purpose.
#[derive(Clone, Copy)]
pub struct Gemm {
    em: f64,
    q: f64,
    w: f64,
    t0: f64,
    ec: f64,
    kl: f64,
    ts: f64,
    wb: f64,
}

const TILES: [(f64, f64); 6] = [(16.0, 64.0), (64.0, 64.0), (64.0, 128.0), (128.0, 128.0), (128.0, 256.0), (256.0, 128.0)];

impl Gemm {
    pub fn time(&self, format: usize, m: f64, n: f64, k: f64) -> f64 {
        let b = OPERAND_BYTES[format];
        let memory = (b * (m * k + n * k) + 2.0 * m * n) / (BANDWIDTH * self.em);
        let rate = PEAK[format] / UNITS * self.ec;
        let mut best = f64::INFINITY;
        for (tm, tn) in TILES {
            let tiles = (m / tm).ceil() * (n / tn).ceil();
            let per_k = (2.0 * tm * tn / rate).max(self.kl * b / 256.0);
            for s in [1.0, 2.0, 4.0, 8.0, 16.0] {
                let inner = 64.0 * (k / s / 64.0).ceil();
                if s > 1.0 && inner < 256.0 {
                    break;
                }
                let load = tiles * s / UNITS;
                let waves = self.w * load.ceil() + (1.0 - self.w) * load.max(1.0);
                let compute = waves * inner * per_k;
                let extra = if s > 1.0 { self.ts + 8.0 * s * m * n / (3.0 * BANDWIDTH) } else { 0.0 };
                let large = compute.max(memory);
                let soft = large * libm::pow(1.0 + libm::pow(compute.min(memory) / large, self.q), 1.0 / self.q);
                best = best.min(soft + extra);
            }
        }
        self.t0 + best + self.wb * 2.0 * m * n / BANDWIDTH
    }
}

/// All constants.
pub struct Truth {
    pub to_device: Line,
    pub to_host: Line,
    pub peer: Line,
    pub cache: f64,
    pub memory: f64,
    pub latency: f64,
    pub launch: f64,
    pub node: f64,
    pub kernel: f64,
    pub gemm: [Gemm; 5],
    pub collective: [[Line; 2]; 6],
}

impl Truth {
    pub fn draw(seed: u64) -> Self {
        let mut d = Draw::new(seed);
        let line =
            |d: &mut Draw, start: f64, rate: f64| Line { start: d.between(0.6 * start, 1.6 * start), rate: d.between(0.7 * rate, rate) };
        let (to_device, to_host, peer) = (line(&mut d, 9e-6, 55e9), line(&mut d, 8e-6, 52e9), line(&mut d, 12e-6, 420e9));
        let (cache, memory) = (d.between(5e12, 8e12), d.between(2.6e12, 3.1e12));
        let gemm = std::array::from_fn(|_| Gemm {
            em: d.between(0.78, 0.92),
            q: d.between(1.8, 3.2),
            w: d.between(0.15, 0.8),
            t0: d.between(2e-6, 5e-6),
            ec: d.between(0.6, 0.85),
            kl: d.between(0.12e-6, 0.3e-6),
            ts: d.between(1.5e-6, 3e-6),
            wb: d.between(0.15, 1.0),
        });
        // A protocol with little latency for small buffers, one with a high rate for large ones: each is the better one somewhere.
        let collective = std::array::from_fn(|_| {
            let small = Line { start: d.between(15e-6, 30e-6), rate: d.between(25e9, 40e9) };
            [small, Line { start: d.between(55e-6, 100e-6), rate: d.between(180e9, 300e9) }]
        });
        let (latency, launch, node, kernel) = (d.between(4e-7, 8e-7), d.between(2e-6, 4e-6), d.between(1e-6, 1.6e-6), 2e-6);
        Self { to_device, to_host, peer, cache, memory, latency, launch, node, kernel, gemm, collective }
    }

    /// One `name value` a line, in the units of a profile (microseconds, GB/s).
    pub fn text(&self) -> String {
        let mut out = format!("memory cache {}\nmemory device {}\n", 1e-9 * self.cache, 1e-9 * self.memory);
        let mut line = |name: &str, l: &Line| out.push_str(&format!("{name} start {}\n{name} rate {}\n", 1e6 * l.start, 1e-9 * l.rate));
        line("link host-to-device 1", &self.to_device);
        line("link device-to-host 1", &self.to_host);
        line("link peer 1", &self.peer);
        for (name, lines) in COLLECTIVES.iter().zip(&self.collective) {
            lines.iter().enumerate().for_each(|(i, l)| line(&format!("collective {name} {}", i + 1), l));
        }
        for (format, g) in FORMATS.iter().zip(&self.gemm) {
            let all = [
                ("em", g.em),
                ("q", g.q),
                ("w", g.w),
                ("t0", 1e6 * g.t0),
                ("ec", g.ec),
                ("kl", 1e6 * g.kl),
                ("ts", 1e6 * g.ts),
                ("wb", g.wb),
            ];
            all.iter().for_each(|(name, v)| out.push_str(&format!("gemm {format} {name} {v}\n")));
        }
        out
    }
}
