//! Requests out of distributions: Poisson, gamma, bursts, a day's swing, closed loops, sessions of several turns.

use super::lengths::{Length, exponential, gamma, uniform};
use super::request::{NO_SESSION, Request, Requests};
use crate::engine::Streams;

/// When requests of an open stream arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// All at time zero.
    Burst,
    /// Independent gaps of some coefficient of variation (1: Poisson).
    Gamma {
        /// Requests per second.
        rate: f64,
        /// Standard deviation of the gaps over their mean.
        cv: f64,
    },
    /// Poisson with a rate that switches between two levels.
    OnOff {
        /// Mean rate.
        rate: f64,
        /// Rate within bursts over the mean rate.
        peak: f64,
        /// Mean length of a burst, seconds.
        burst: f64,
        /// Share of the time within bursts.
        share: f64,
    },
    /// Poisson with a rate that swings as a sine.
    Swing {
        /// Mean rate.
        rate: f64,
        /// Swing over mean, 0 to 1.
        swing: f64,
        /// Seconds of a period.
        period: f64,
    },
}

/// A stream of requests by distributions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Synthetic {
    /// When they arrive (of no effect in a closed loop).
    pub pace: Pace,
    /// How many.
    pub requests: u64,
    /// Prompts.
    pub input: Length,
    /// Answers.
    pub output: Length,
    /// Tokens that all prompts begin with.
    pub common: u64,
}

/// Tokens of the blocks by which synthetic prompts are hashed.
pub(super) const HASH_TOKENS: u32 = 64;

/// Draws the requests of a stream. Lengths and arrivals have random streams of their own.
#[must_use]
pub fn synthesize(traffic: &Synthetic, streams: &Streams) -> Requests {
    let (mut arrivals, mut inputs, mut outputs) =
        (streams.stream("serving arrivals"), streams.stream("prompt lengths"), streams.stream("answer lengths"));
    let mut out = Requests { hash_tokens: if traffic.common > 0 { HASH_TOKENS } else { 0 }, ..Requests::default() };
    out.list.reserve_exact(traffic.requests as usize);
    let (mut now, mut burst_until, mut quiet_until) = (0.0, 0.0, 0.0);
    for i in 0..traffic.requests {
        match traffic.pace {
            Pace::Burst => {}
            Pace::Gamma { rate, cv } => now += gamma(&mut arrivals, 1.0 / (cv * cv)) / rate,
            Pace::Swing { rate, swing, period } => loop {
                // Thinning of a Poisson stream at the greatest rate.
                now += exponential(&mut arrivals) / (rate * (1.0 + swing));
                let level = 1.0 - swing * libm::cos(std::f64::consts::TAU * now / period);
                if uniform(&mut arrivals) * (1.0 + swing) < level {
                    break;
                }
            },
            Pace::OnOff { rate, peak, burst, share } => loop {
                let base = rate * (1.0 - peak * share) / (1.0 - share);
                let (level, until) = if now < burst_until { (rate * peak, burst_until) } else { (base, quiet_until) };
                let gap = if level > 0.0 { exponential(&mut arrivals) / level } else { f64::INFINITY };
                if now + gap < until {
                    now += gap;
                    break;
                }
                now = until;
                if until == quiet_until {
                    burst_until = now + burst * exponential(&mut arrivals);
                } else {
                    quiet_until = now + burst * (1.0 - share) / share * exponential(&mut arrivals);
                }
            },
        }
        let input = traffic.input.draw(&mut inputs).max(1);
        let first = out.hashes.len() as u32;
        if traffic.common > 0 {
            let shared = traffic.common.min(input) / u64::from(HASH_TOKENS);
            let all = input / u64::from(HASH_TOKENS);
            out.hashes.extend(0..shared);
            out.hashes.extend((shared..all).map(|block| (1 << 63) | (i << 24) | block));
        }
        out.list.push(Request {
            arrival: now,
            input: input as u32,
            output: traffic.output.draw(&mut outputs).max(1) as u32,
            session: NO_SESSION,
            hashes: (first, out.hashes.len() as u32),
        });
    }
    out
}
