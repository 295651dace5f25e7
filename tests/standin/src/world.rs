//! The state of all devices: the model clock, streams, events, memory, faults.

use crate::memory::Snap;
use crate::truth::{Draw, Truth};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What kind of work drifts together from session to session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    Memory,
    Link,
    Product(usize),
    Exchange,
    Launch,
}

/// What goes wrong, by `fault=`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fault {
    None,
    /// Allocations above so many bytes fail.
    OutOfMemory(u64),
    OldDriver,
    /// After so many allocations the device slows down and says so.
    Throttle(u64),
    WrongResult,
    ZeroTime,
    Bimodal,
    /// The device of a number is slow.
    SlowDevice(usize),
}

pub struct Stream {
    pub device: usize,
    pub busy: f64,
    /// Nodes that were recorded, while it is recording.
    pub recorded: Option<usize>,
}

pub struct Allocation {
    pub bytes: u64,
    pub device: usize,
    pub content: Snap,
}

pub struct World {
    pub truth: Truth,
    pub fault: Fault,
    pub devices: usize,
    pub memory: u64,
    pub streams: HashMap<usize, Stream>,
    pub events: HashMap<usize, f64>,
    pub allocations: BTreeMap<u64, Allocation>,
    pub pinned: BTreeMap<usize, usize>,
    pub graphs: HashMap<usize, usize>,
    /// Operations that were done with the same arguments since memory last changed hands: their results lie there already.
    pub done: HashSet<(usize, Vec<u64>)>,
    pub current: usize,
    /// Allocations so far.
    pub allocated: u64,
    draw: Draw,
    session: u64,
    seed: u64,
    now: f64,
    next: usize,
    mode: f64,
}

fn setting(text: &str, key: &str) -> Option<String> {
    text.split(',').find_map(|p| p.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
}

impl World {
    fn new() -> Self {
        let text = std::env::var("ORRERY_STANDIN").unwrap_or_default();
        let number = |key: &str, default: u64| setting(&text, key).and_then(|v| v.parse().ok()).unwrap_or(default);
        let (seed, session) = (number("seed", 1), number("session", 0));
        let named = setting(&text, "fault").unwrap_or_default();
        let (word, value) = named.split_once(':').unwrap_or((&named, ""));
        let value: u64 = value.parse().unwrap_or(0);
        let fault = match word {
            "oom" => Fault::OutOfMemory(value),
            "old-driver" => Fault::OldDriver,
            "throttle" => Fault::Throttle(value),
            "wrong" => Fault::WrongResult,
            "zero" => Fault::ZeroTime,
            "bimodal" => Fault::Bimodal,
            "slow" => Fault::SlowDevice(value as usize),
            _ => Fault::None,
        };
        let truth = Truth::draw(seed);
        if let Ok(path) = std::env::var("ORRERY_STANDIN_TRUTH") {
            let _ = std::fs::write(path, truth.text());
        }
        Self {
            truth,
            fault,
            devices: number("devices", 2) as usize,
            memory: number("memory", 512) << 20,
            streams: HashMap::new(),
            events: HashMap::new(),
            allocations: BTreeMap::new(),
            pinned: BTreeMap::new(),
            graphs: HashMap::new(),
            done: HashSet::new(),
            current: 0,
            allocated: 0,
            draw: Draw::new(seed ^ session << 32 ^ 0x5555),
            session,
            seed,
            now: 0.0,
            next: 1,
            mode: 1.0,
        }
    }

    /// A handle that nothing else has.
    pub fn handle(&mut self) -> usize {
        self.next += 1;
        self.next
    }

    /// How much longer than its model an operation takes here and now.
    fn factor(&mut self, class: Class, device: usize) -> f64 {
        let tag =
            format!("{class:?}").bytes().fold(self.seed ^ self.session << 20, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let drift = libm::exp(0.01 * Draw::new(tag).normal());
        let noise = libm::exp(0.02 * self.draw.normal());
        let spike = if self.draw.uniform() < 0.01 { 1.0 + 2.0 * self.draw.uniform() } else { 1.0 };
        let slow = match self.fault {
            Fault::SlowDevice(d) if d == device => 1.3,
            Fault::Throttle(after) if self.allocated > after => 1.6,
            _ => 1.0,
        };
        drift * noise * spike * slow * self.mode
    }

    /// Whether a device holds itself back now.
    pub fn throttles(&self) -> bool {
        matches!(self.fault, Fault::Throttle(after) if self.allocated > after)
    }

    /// Work on a stream; recorded instead where the stream is recording.
    pub fn work(&mut self, stream: usize, class: Class, seconds: f64) {
        self.work_together(&[stream], class, seconds);
    }

    /// Work that begins when all streams are free and ends on all of them.
    pub fn work_together(&mut self, streams: &[usize], class: Class, seconds: f64) {
        let Some(device) = streams.first().and_then(|s| self.streams.get(s)).map(|s| s.device) else { return };
        if let Some(nodes) = self.streams.get_mut(&streams[0]).and_then(|s| s.recorded.as_mut()) {
            *nodes += 1;
            return;
        }
        let begin = streams.iter().filter_map(|s| self.streams.get(s)).map(|s| s.busy).fold(self.now, f64::max);
        // What else runs on the device takes a tenth.
        let others = self.streams.iter().any(|(h, s)| !streams.contains(h) && s.device == device && s.busy > begin);
        let shared = if others && matches!(class, Class::Product(_)) { 1.1 } else { 1.0 };
        let end = begin + seconds * shared * self.factor(class, device);
        for stream in streams {
            if let Some(s) = self.streams.get_mut(stream) {
                s.busy = end;
            }
        }
    }

    /// The time of a mark in a stream.
    pub fn mark(&mut self, stream: usize) -> f64 {
        if self.fault == Fault::Bimodal {
            self.mode = if self.draw.uniform() < 0.4 { 1.4 } else { 1.0 };
        }
        self.streams.get(&stream).map_or(self.now, |s| s.busy.max(self.now))
    }

    /// The host waits until then.
    pub fn wait(&mut self, until: f64) {
        self.now = self.now.max(until);
    }

    /// The allocation that a range lies in wholly, with its address.
    pub fn find(&mut self, at: u64, bytes: u64) -> Option<(u64, &mut Allocation)> {
        let (start, found) = self.allocations.range_mut(..=at).next_back()?;
        (at + bytes <= start + found.bytes).then_some((*start, found))
    }
}

/// The one world.
pub fn world() -> MutexGuard<'static, World> {
    static WORLD: OnceLock<Mutex<World>> = OnceLock::new();
    WORLD.get_or_init(|| Mutex::new(World::new())).lock().unwrap_or_else(PoisonError::into_inner)
}
