//! Storage: reads and writes past the page cache, sequential and random, by request and queue depth, on a file that has no name any more
//! when the first request goes out, so that nothing is left behind however the program ends.

use super::{ProbeOptions, Task};

/// Direction, pattern, bytes, depth; plain shapes first.
#[cfg(target_os = "linux")]
const SHAPES: [(bool, bool, usize, usize); 16] = [
    (true, true, 4096, 1),
    (true, false, 1 << 20, 8),
    (true, true, 4096, 32),
    (false, false, 1 << 20, 8),
    (true, true, 4096, 8),
    (true, false, 1 << 20, 1),
    (false, true, 4096, 1),
    (true, true, 65536, 8),
    (false, true, 4096, 16),
    (true, true, 4096, 64),
    (true, false, 131_072, 4),
    (false, false, 1 << 20, 1),
    (true, true, 16384, 4),
    (true, true, 262_144, 16),
    (false, true, 65536, 8),
    (true, true, 4096, 2),
];

/// Room that always stays free, bytes.
const ROOM: u64 = 2 << 30;

/// Least useful file, bytes.
const LEAST: u64 = 64 << 20;

#[cfg(not(target_os = "linux"))]
pub(super) fn tasks(options: &ProbeOptions) -> Result<Vec<Task>, String> {
    match &options.scratch {
        Some(folder) => Err(format!("{}: storage is measured with O_DIRECT, which needs Linux", folder.display())),
        None => Ok(Vec::new()),
    }
}

#[cfg(target_os = "linux")]
pub(super) fn tasks(options: &ProbeOptions) -> Result<Vec<Task>, String> {
    let Some(folder) = &options.scratch else { return Ok(Vec::new()) };
    let stat = rustix::fs::statvfs(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let free = stat.f_bavail * stat.f_frsize;
    // A tenth of what is free at most, and never into the last 2 GiB.
    let bytes = options.file_bytes.min(free / 10).min(free.saturating_sub(ROOM)) / (4 << 20) * (4 << 20);
    if bytes < LEAST {
        return Err(format!(
            "{} has {} MiB free: a file of {} MiB would leave less than {} GiB",
            folder.display(),
            free >> 20,
            LEAST >> 20,
            ROOM >> 30
        ));
    }
    let (folder, seconds) = (folder.clone(), options.seconds_each.max(0.3));
    let file: std::rc::Rc<std::cell::OnceCell<Result<std::fs::File, String>>> = std::rc::Rc::default();
    let task = move |(read, random, request, depth): (bool, bool, usize, usize)| {
        let (file, folder) = (std::rc::Rc::clone(&file), folder.clone());
        let word = if read { "read" } else { "write" };
        let pattern = if random { "random" } else { "sequential" };
        Task::new(format!("storage {pattern} {word} {request} B at depth {depth}"), move |stop| {
            let file = file.get_or_init(|| linux::create(&folder, bytes)).as_ref().map_err(Clone::clone)?;
            let shape = linux::Shape { read, random, request, depth, bytes };
            linux::measure(file, shape, seconds, stop, &folder)
        })
    };
    Ok(SHAPES.into_iter().map(task).collect())
}

#[cfg(target_os = "linux")]
mod linux {
    use crate::calibrate::{Measurement, Unit, What};
    use crate::probe::{Stop, median, uring};
    use rand_pcg::rand_core::Rng;
    use std::fs::File;
    use std::os::unix::fs::{FileExt, OpenOptionsExt};
    use std::path::Path;
    use std::time::Instant;

    /// Alignment of buffers and offsets that every drive takes.
    pub(super) const ALIGN: usize = 4096;

    #[derive(Clone, Copy)]
    pub(super) struct Shape {
        pub(super) read: bool,
        pub(super) random: bool,
        pub(super) request: usize,
        pub(super) depth: usize,
        pub(super) bytes: u64,
    }

    /// A buffer whose bytes from the returned offset on are aligned.
    fn aligned(bytes: usize) -> (Vec<u8>, usize) {
        let buffer = vec![0u8; bytes + ALIGN];
        let offset = buffer.as_ptr().align_offset(ALIGN);
        (buffer, offset)
    }

    /// A file of random bytes, opened past the page cache, whose name is gone.
    pub(super) fn create(folder: &Path, bytes: u64) -> Result<File, String> {
        let path = folder.join(format!(".orrery-probe-{}", std::process::id()));
        let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
        let failed = |e: std::io::Error| format!("{}: {}", folder.display(), crate::diag::reason(&e));
        let file = File::options().read(true).write(true).create_new(true).custom_flags(direct).open(&path);
        let file = file.map_err(|e| format!("{} (a file past the page cache, O_DIRECT)", failed(e)));
        let gone = std::fs::remove_file(&path);
        let file = file?;
        gone.map_err(failed)?;
        let (mut buffer, at) = aligned(4 << 20);
        let mut stream = crate::engine::Streams::new(11).stream("bytes of a probed file");
        let part = &mut buffer[at..at + (4 << 20)];
        for chunk in part.chunks_exact_mut(8) {
            chunk.copy_from_slice(&stream.next_u64().to_le_bytes());
        }
        for offset in (0..bytes).step_by(4 << 20) {
            file.write_all_at(part, offset).map_err(failed)?;
        }
        file.sync_all().map_err(failed)?;
        Ok(file)
    }

    /// Offsets of requests one after the other.
    fn offsets(shape: Shape) -> impl FnMut() -> u64 {
        let places = shape.bytes / shape.request as u64;
        let mut stream = crate::engine::Streams::new(12).stream("offsets of requests");
        let mut next = 0;
        move || {
            let place = if shape.random { stream.next_u64() % places } else { next };
            next = (next + 1) % places;
            place * shape.request as u64
        }
    }

    pub(super) fn measure(file: &File, shape: Shape, seconds: f64, stop: &Stop, folder: &Path) -> Result<Vec<Measurement>, String> {
        // Rates of five parts: their median is not moved by one stall.
        let mut rates = Vec::new();
        let mut engine = "io_uring";
        let mut next = offsets(shape);
        for _ in 0..5 {
            if stop.asked() {
                break;
            }
            let start = Instant::now();
            let count = match uring::requests(file, shape.read, shape.request, shape.depth, seconds / 5.0, &mut next) {
                Ok(count) => count,
                // Not allowed here (seccomp, io_uring_disabled): threads, each with one request in flight.
                Err(_) => {
                    engine = "threads";
                    by_threads(file, shape, seconds / 5.0)?
                }
            };
            rates.push(count as f64 / start.elapsed().as_secs_f64());
        }
        if rates.is_empty() {
            return Ok(Vec::new());
        }
        let rate = median(&rates);
        let what = What::Storage {
            direction: if shape.read { "read" } else { "write" }.into(),
            pattern: if shape.random { "random" } else { "sequential" }.into(),
            bytes: shape.request as f64,
            depth: shape.depth as f64,
            engine: engine.into(),
            latency_s: shape.depth as f64 / rate,
        };
        let mut one = Measurement::new(what, rate, Unit::OperationsPerSecond, "");
        one.samples = rates;
        one.device = folder.display().to_string();
        Ok(vec![one])
    }

    fn by_threads(file: &File, shape: Shape, seconds: f64) -> Result<u64, String> {
        let start = Instant::now();
        let run = |worker: usize| -> Result<u64, String> {
            let (mut buffer, at) = aligned(shape.request);
            let mut next = offsets(shape);
            // Workers start at different places.
            for _ in 0..worker * 977 {
                let _ = next();
            }
            let mut count = 0;
            while start.elapsed().as_secs_f64() < seconds {
                let part = &mut buffer[at..at + shape.request];
                let done = if shape.read { file.read_exact_at(part, next()) } else { file.write_all_at(part, next()) };
                done.map_err(|e| crate::diag::reason(&e))?;
                count += 1;
            }
            Ok(count)
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..shape.depth).map(|w| scope.spawn(move || run(w))).collect();
            workers.into_iter().map(|w| w.join().unwrap_or_else(|_| Err("a worker ended".into()))).sum()
        })
    }
}
