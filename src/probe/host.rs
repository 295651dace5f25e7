//! What this machine is: name, processor, memory, clock.

use crate::units::Date;
use std::time::{SystemTime, UNIX_EPOCH};

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The host's name.
pub(super) fn name() -> String {
    let name = read("/proc/sys/kernel/hostname").trim().to_owned();
    if name.is_empty() { std::env::var("HOSTNAME").unwrap_or_else(|_| "host".into()) } else { name }
}

/// What the processor calls itself.
pub(super) fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let model = text.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split_once(':')).map(|l| l.1.trim().to_owned());
    model.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Bytes of memory that are available.
pub(super) fn available() -> u64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:")).unwrap_or("");
    line.split_whitespace().next().and_then(|t| t.parse::<u64>().ok()).map_or(1 << 30, |k| k * 1024)
}

/// Threads that run at the same time.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The time as `2026-11-26T12:00:00Z`.
#[must_use]
pub fn now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    format!("{}T{:02}:{:02}:{:02}Z", Date::since_1970(days as i64).iso(), rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_has_its_form() {
        assert!(now().ends_with('Z') && now().len() == 20);
    }
}
