//! A CUDA device that is measured: what it is, its kernels, its state, and whether what it says of itself is to be believed.

use super::ffi::{Arg, Attribute, Buffer, Context, Driver, Event, Function, Module, Monitor, Pinned, State, Stream};
use crate::calibrate::{Measurement, Unit, What, part_named};
use crate::measured::ValueOrigin;
use std::rc::Rc;

/// What `scripts/kernels.sh` made of `kernels.cu`.
const PTX: &str = include_str!("kernels.ptx");

/// Threads of a block of the streaming kernels.
const THREADS: u32 = 256;

/// Clock ticks after which a held stream goes on whatever happens: a second or two.
const MOST_TICKS: u64 = 2_000_000_000;

/// Words of the kernels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernel {
    Nop,
    Fill,
    Copy,
    Triad,
    Scale,
    Read,
    Circle,
    Chase,
    Hold,
}

const KERNELS: [&str; 9] = [
    "orrery_nop",
    "orrery_fill",
    "orrery_copy",
    "orrery_triad",
    "orrery_scale",
    "orrery_read",
    "orrery_circle",
    "orrery_chase",
    "orrery_hold",
];

/// A device with all that measuring needs.
pub(super) struct Gpu {
    pub(super) ordinal: i32,
    /// What it calls itself.
    pub(super) name: String,
    /// Bytes of its last-level cache.
    pub(super) cache: u64,
    /// Bytes of its memory.
    pub(super) memory: u64,
    /// Compute capability, as 90.
    pub(super) capability: i32,
    pub(super) units: u32,
    pub(super) stream: Stream,
    pub(super) second: Stream,
    pub(super) context: Rc<Context>,
    pub(super) start: Event,
    pub(super) stop: Event,
    flag: Pinned,
    functions: Vec<Function>,
    origin: ValueOrigin,
    uuid: String,
    bus: String,
    driver: String,
    monitor: Option<Rc<Monitor>>,
}

impl Gpu {
    pub(super) fn new(driver: &Driver, ordinal: i32, monitor: Option<Rc<Monitor>>) -> Result<Self, String> {
        let context = Context::new(driver, ordinal)?;
        let (name, bus, uuid) = (context.name()?, context.bus()?, context.uuid()?);
        let module = Module::new(&context, PTX)?;
        let attribute = |a| context.attribute(a).map(|v| v.max(0));
        let text = uuid_text(&uuid);
        let origin = if driver.synthetic || uuid == [0; 16] || name.starts_with("SYNTHETIC") {
            ValueOrigin::Synthetic
        } else if monitor.as_ref().and_then(|m| m.uuid(&bus)).is_some_and(|u| u.eq_ignore_ascii_case(&text)) {
            ValueOrigin::Hardware
        } else {
            // Nobody but the device itself says what it is.
            ValueOrigin::Imported
        };
        let cuda = format!("CUDA {}.{}", driver.version / 1000, driver.version % 1000 / 10);
        Ok(Self {
            ordinal,
            cache: u64::from(attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?.unsigned_abs()).max(1 << 20),
            memory: context.memory()?.0,
            capability: 10 * attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?
                + attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            units: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.unsigned_abs().max(1),
            stream: Stream::new(&context)?,
            second: Stream::new(&context)?,
            start: Event::new(&context)?,
            stop: Event::new(&context)?,
            flag: Pinned::new(&context, 4096)?,
            functions: KERNELS.iter().map(|k| module.function(k)).collect::<Result<_, _>>()?,
            driver: monitor.as_ref().map_or_else(|| cuda.clone(), |m| format!("{cuda}, {}", m.driver)),
            context,
            name,
            origin,
            uuid: text,
            bus,
            monitor,
        })
    }

    /// Queues a kernel over the whole device, or on one thread.
    pub(super) fn launch(&self, kernel: Kernel, stream: &Stream, args: &[Arg]) -> Result<(), String> {
        let one = matches!(kernel, Kernel::Nop | Kernel::Chase | Kernel::Hold);
        let (blocks, threads) = if one { (1, 1) } else { (8 * self.units, THREADS) };
        self.functions[kernel as usize].launch(blocks, threads, stream, args)
    }

    /// Fills a buffer with the words of a seed (see [`word`]), and waits.
    pub(super) fn fill(&self, buffer: &Buffer, seed: u64, (keep, set): (u64, u64)) -> Result<(), String> {
        let args = [buffer.at(0), buffer.bytes() as u64 / 8, seed, keep, set].map(Arg::U64);
        self.launch(Kernel::Fill, &self.stream, &args)?;
        self.stream.wait()
    }

    /// Holds the stream until [`Self::release`].
    pub(super) fn hold(&self) -> Result<(), String> {
        self.flag.signal(0);
        self.launch(Kernel::Hold, &self.stream, &[Arg::U64(self.flag.address()), Arg::U64(MOST_TICKS)])
    }

    pub(super) fn release(&self) {
        self.flag.signal(1);
    }

    pub(super) fn state(&self) -> State {
        self.monitor.as_ref().map_or_else(State::default, |m| m.state(&self.bus))
    }

    /// A record of this device with all that is known of it now.
    pub(super) fn record(&self, what: What, value: f64, unit: Unit, samples: Vec<f64>) -> Measurement {
        let mut one = Measurement::new(what, value, unit, "");
        one.samples = samples;
        one.origin = self.origin.word().into();
        one.device.clone_from(&self.name);
        one.part = part_named(&self.name).unwrap_or_default();
        let mut note = |key: &str, text: String| drop(one.conditions.insert(key.into(), text));
        note("driver", self.driver.clone());
        note("uuid", self.uuid.clone());
        note("pci", self.bus.clone());
        note("gpu", self.ordinal.to_string());
        let s = self.state();
        let known = [
            ("clock_mhz", s.clock_mhz.map(|v| v.to_string())),
            ("memory_clock_mhz", s.memory_clock_mhz.map(|v| v.to_string())),
            ("power_w", s.power_w.map(|v| format!("{v:.1}"))),
            ("temperature_c", s.temperature_c.map(|v| v.to_string())),
            ("throttle", s.throttle.map(|v| format!("{v:#x}"))),
        ];
        known.into_iter().filter_map(|(k, v)| Some((k, v?))).for_each(|(k, v)| note(k, v));
        if s.slowed() {
            note("slowed", "yes".into());
        }
        one
    }
}

fn uuid_text(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    format!("GPU-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Word i of what a buffer is filled with, the same as in `kernels.cu`.
pub(super) const fn word(seed: u64, i: u64, (keep, set): (u64, u64)) -> u64 {
    let x = seed.wrapping_add((i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) & keep) | set
}

/// Any bits.
pub(super) const BITS: (u64, u64) = (u64::MAX, 0);

/// Single-precision numbers between a half and one, of both signs.
pub(super) const FLOATS: (u64, u64) = (0x807f_ffff_807f_ffff, 0x3f00_0000_3f00_0000);

/// The float at a place of a buffer that was filled so.
pub(super) fn float(seed: u64, i: u64) -> f32 {
    f32::from_bits((word(seed, i / 2, FLOATS) >> (32 * (i % 2))) as u32)
}

/// Places of a buffer that results are looked at: a few pages at its start, its middle, its end.
pub(super) fn places(bytes: usize) -> [(usize, usize); 3] {
    let page = bytes.min(512);
    [0, (bytes / 2).saturating_sub(page / 2) / 16 * 16, (bytes - page) / 16 * 16].map(|at| (at, page.min(bytes - at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checked-in PTX has every kernel, and asks for no newer driver and device than the oldest that is served.
    #[test]
    fn the_kernels_are_those_of_the_source() {
        let source = include_str!("kernels.cu");
        assert_eq!((source.matches("KERNEL orrery_").count(), PTX.matches(".visible .entry").count()), (KERNELS.len(), KERNELS.len()));
        for kernel in KERNELS {
            assert!(PTX.contains(&format!(".entry {kernel}(")) && source.contains(&format!("KERNEL {kernel}(")), "{kernel}");
        }
        assert!(PTX.contains(".version 7.0") && PTX.contains(".target sm_70"));
    }

    #[test]
    fn floats_are_halves_of_words() {
        let all: Vec<f32> = (0..1000).map(|i| float(9, i)).collect();
        assert!(all.iter().all(|f| (0.5..1.0).contains(&f.abs())) && all.iter().any(|f| *f < 0.0) && all.iter().any(|f| *f > 0.0));
        assert_eq!(uuid_text(&[0xab; 16]), "GPU-abababab-abab-abab-abab-abababababab");
        assert_eq!(places(100), [(0, 100), (0, 100), (0, 100)]);
        assert!(places(1 << 20).iter().all(|(at, n)| at + n <= 1 << 20));
    }
}
