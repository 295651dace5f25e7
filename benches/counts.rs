//! Fixed pieces of work whose instructions are counted: the event queue, the fair solver, rings of messages, one training step.
//!
//! `counts NAME` does one of them; `.ci/counts` runs each under `valgrind --tool=callgrind` and compares with `benches/counts.txt`.
//! Instruction counts repeat on any machine, however busy, where wall-clock times do not.

use orrery::diag::Diagnostics;
use orrery::engine::EventQueue;
use orrery::fair::Fair;
use orrery::scenario::{execute, load_text};
use orrery::units::SimTime;
use std::hint::black_box;

fn main() {
    // `cargo bench` and `cargo test` pass flags of their own: then there is nothing to count.
    for name in std::env::args().skip(1) {
        match name.as_str() {
            "queue" => queue(),
            "solver" => solver(),
            "messages" => scenario(include_str!("../scenarios/collective/explicit-ring-512.toml"), &["nodes=64"]),
            "step" => scenario(include_str!("../scenarios/training/gpt3-175b-a100-1024.toml"), &[]),
            _ => {}
        }
    }
}

/// A cheap sequence of numbers.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) + 1
}

/// A thousand pending events; pops the earliest and pushes one later, a hundred thousand times.
fn queue() {
    let (mut queue, mut state) = (EventQueue::new(), 1);
    (0..1000u64).for_each(|i| queue.push(SimTime::new(draw(&mut state) as f64), i));
    for _ in 0..100_000 {
        let Some((time, event)) = queue.pop() else { break };
        queue.push(time + draw(&mut state) as f64, event);
    }
    black_box(queue.len());
}

/// A thousand flows over three of 256 links each; stops one, starts one and solves, a thousand times.
fn solver() {
    let (mut fair, mut state) = (Fair::new(), 7);
    let links: Vec<_> = (0..256).map(|_| fair.add_resource(1e9)).collect();
    let mut flow = |fair: &mut Fair| {
        let uses = [(); 3].map(|()| links[draw(&mut state) as usize % 256]);
        let mut uses: Vec<_> = uses.into_iter().map(|link| (link, 1.0)).collect();
        uses.dedup_by_key(|u| u.0);
        fair.start(&uses, 1.0, f64::INFINITY)
    };
    let mut open: Vec<_> = (0..1000).map(|_| flow(&mut fair)).collect();
    fair.solve();
    for id in &mut open {
        fair.stop(*id);
        *id = flow(&mut fair);
        fair.solve();
    }
    black_box(fair.rate(open[0]));
}

fn scenario(text: &str, overrides: &[&str]) {
    let mut diags = Diagnostics::new();
    let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
    let scenario = load_text("(embedded) counts.toml", text, &overrides, None, &mut diags);
    black_box(scenario.and_then(|s| execute(&s, 600.0, &|| 0.0).ok()));
}
