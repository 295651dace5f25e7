//! A device that computes while communication takes a part of it: compute units that its kernels hold, memory bandwidth that they draw.

/// Least rate of compute under communication; it cannot hold the whole device.
const LEAST_RATE: f64 = 0.1;

/// A compute task in progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    pub(super) task: u32,
    /// Share of it that memory bounds.
    pub(super) memory: f64,
    /// Seconds alone that are left at `since`.
    pub(super) remaining: f64,
    pub(super) since: f64,
    pub(super) generation: u32,
}

/// What communication leaves to compute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pace {
    /// Of the compute units.
    units: f64,
    /// Of what memory-bound kernels reach: their units set the pace, or memory does.
    memory: f64,
}

impl Pace {
    /// Rate of a task of which memory bounds a share, over its rate alone.
    pub(super) fn rate(&self, memory: f64) -> f64 {
        1.0 / ((1.0 - memory) / self.units + memory / self.memory)
    }
}

/// A device and what computes on it.
#[derive(Debug, Clone, Default)]
pub(super) struct Device {
    /// Shares held by communication kernels: sum and count, so that the sum returns to exactly 0.
    held: f64,
    holders: u32,
    /// Shares of memory that transfers draw on: sum and count.
    drawn: f64,
    draws: u32,
    pub(super) running: Vec<Running>,
}

impl Device {
    pub(super) fn pace(&self) -> Pace {
        let units = (1.0 - self.held).max(LEAST_RATE);
        Pace { units, memory: units.min((1.0 - self.drawn).max(LEAST_RATE)) }
    }

    pub(super) fn rate(&self, memory: f64) -> f64 {
        self.pace().rate(memory)
    }

    /// Takes a share of the compute units; a negative one gives it back.
    pub(super) fn hold(&mut self, share: f64) {
        if share > 0.0 {
            self.holders += 1;
        } else {
            self.holders -= 1;
        }
        self.held = if self.holders == 0 { 0.0 } else { self.held + share };
    }

    /// A transfer draws on another share of memory than before.
    pub(super) fn draw(&mut self, before: f64, now: f64) {
        match (before > 0.0, now > 0.0) {
            (false, true) => self.draws += 1,
            (true, false) => self.draws -= 1,
            _ => {}
        }
        self.drawn = if self.draws == 0 { 0.0 } else { self.drawn + now - before };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_slow_everything_and_memory_what_it_bounds() {
        let mut device = Device::default();
        assert_eq!(device.rate(0.5), 1.0);
        device.hold(0.2);
        assert!((device.rate(0.0) - 0.8).abs() < 1e-12 && (device.rate(1.0) - 0.8).abs() < 1e-12);
        // Memory bounds only once it leaves less than the units do.
        device.draw(0.0, 0.1);
        assert!((device.rate(1.0) - 0.8).abs() < 1e-12);
        device.draw(0.1, 0.5);
        assert!((device.rate(0.0) - 0.8).abs() < 1e-12 && (device.rate(1.0) - 0.5).abs() < 1e-12);
        assert!((device.rate(0.25) - 1.0 / (0.75 / 0.8 + 0.25 / 0.5)).abs() < 1e-12);
        // Copy engines hold no units.
        device.hold(-0.2);
        assert!((device.rate(0.0) - 1.0).abs() < 1e-12 && (device.rate(1.0) - 0.5).abs() < 1e-12);
        device.draw(0.5, 0.0);
        assert_eq!(device.rate(1.0), 1.0);
    }

    #[test]
    fn something_is_always_left() {
        let mut device = Device::default();
        (0..9).for_each(|_| device.draw(0.0, 0.4));
        (0..9).for_each(|_| device.hold(0.4));
        assert!((device.rate(1.0) - LEAST_RATE).abs() < 1e-12 && (device.rate(0.0) - LEAST_RATE).abs() < 1e-12);
    }
}
