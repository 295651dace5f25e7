//! Feeding in closed form: fill, steady steps, supply, decoding.

use super::*;

fn unet3d() -> FeedPlan {
    FeedPlan {
        tier: crate::fabric::TierId(0),
        sample_bytes: 146_600_628.0,
        sample_spread: 0.0,
        samples_per_file: 1.0,
        samples: f64::INFINITY,
        order: Order::Sequential,
        workers: 4,
        prefetch: 2,
        decode: 0.0,
        overhead: 0.0,
        cache: 0.0,
        cache_tier: None,
        sharded: false,
    }
}

fn host(readers: u32, supply: f64) -> Host {
    Host { readers, batch: 7.0, compute: 0.323, supply, cores: 1e9, steps: 500 }
}

/// A tier of X GB/s sustains floor(X / 0.9 / demand) accelerators at 90 %.
#[test]
fn sustained_accelerators_follow_the_supply() {
    let demand = 7.0 * 146_600_628.0 / 0.323;
    for supply in [5e9f64, 10e9, 20e9, 50e9, 100e9] {
        let want = (supply / (0.9 * demand)).floor() as u32;
        let got = sustained(&unet3d(), host(1, supply), 0.9, 1);
        // The batches of the fill last a while: at a boundary one more may pass.
        assert!(got == want || got == want + 1, "{supply}: {got}, want {want}");
    }
}

/// The three terms: fill of the first step, steady steps, supply.
#[test]
fn a_feed_is_fill_and_steady_steps() {
    let batch = 7.0 * 146_600_628.0;
    let plenty = feed_host(&unet3d(), host(2, 100e9), 1);
    assert!((plenty.utilization - 1.0).abs() < 1e-9 && plenty.wait < 1e-9);
    // All workers of both accelerators fill at once: the first batches come together.
    let first = 2.0 * 4.0 * batch / 100e9;
    assert!((plenty.first / first - 1.0).abs() < 1e-6, "{} against {first}", plenty.first);
    let scarce = feed_host(&unet3d(), host(8, 12e9), 1);
    let want = 12e9 * 0.323 / (8.0 * batch);
    assert!((scarce.utilization / want - 1.0).abs() < 0.03, "{} against {want}", scarce.utilization);
    assert!(feed_host(&FeedPlan { overhead: 0.03, ..unet3d() }, host(1, 100e9), 1).utilization < 0.92);
}

#[test]
fn decoding_needs_cores() {
    let slow = FeedPlan { decode: 0.1, ..unet3d() };
    // Seven samples of 0.1 s on each of four workers: a batch every 0.175 s; with two cores for eight workers every 0.7 s.
    let wide = feed_host(&slow, Host { cores: 64.0, ..host(2, 1e12) }, 1);
    let narrow = feed_host(&slow, Host { cores: 2.0, ..host(2, 1e12) }, 1);
    assert!((wide.utilization - 1.0).abs() < 1e-6);
    assert!((narrow.step - 0.7).abs() < 0.01, "{}", narrow.step);
}
