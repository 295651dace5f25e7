//! Requests out of distributions: Poisson, gamma, bursts, a day's swing, closed loops, sessions of several turns.

use super::lengths::{Length, exponential, gamma, uniform};
use super::request::{NO_SESSION, Request, Requests, Turn};
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

/// Sessions of several turns: each prompt is all that was said before and something new, sent some time after the last answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dialogue {
    /// Sessions that begin in a second (Poisson).
    pub rate: f64,
    /// Sessions.
    pub sessions: u64,
    /// Turns of a session.
    pub turns: Length,
    /// Mean pause between an answer and the next prompt, seconds (exponential).
    pub pause: f64,
    /// Tokens that all sessions begin with.
    pub common: u64,
    /// New tokens of a prompt.
    pub input: Length,
    /// Answers.
    pub output: Length,
    /// Longest prompt: a session ends before it.
    pub most: u64,
}

/// Draws sessions. First turns come in order of arrival, later ones after them.
#[must_use]
pub fn converse(d: &Dialogue, streams: &Streams) -> Requests {
    let names = ["serving arrivals", "prompt lengths", "answer lengths", "turns", "pauses"];
    let [mut arrivals, mut inputs, mut outputs, mut turns, mut pauses] = names.map(|n| streams.stream(n));
    let mut out = Requests { hash_tokens: HASH_TOKENS, answers: true, ..Requests::default() };
    let (mut now, mut later): (f64, Vec<(u32, Request)>) = (0.0, Vec::new());
    for session in 0..d.sessions as u32 {
        now += exponential(&mut arrivals) / d.rate;
        let first = out.hashes.len() as u32;
        let mut before = d.common;
        let count = d.turns.draw(&mut turns);
        for turn in 0..count {
            let input = before + d.input.draw(&mut inputs);
            let output = d.output.draw(&mut outputs);
            if turn > 0 && input > d.most {
                break;
            }
            before = input + output;
            let arrival = if turn == 0 { now } else { f64::INFINITY };
            let blocks = (before / u64::from(HASH_TOKENS)) as u32;
            let request = Request { arrival, input: input as u32, output: output as u32, session, hashes: (first, first + blocks) };
            if turn == 0 {
                out.list.push(request);
            } else {
                later.push((session, request));
            }
        }
        let common = d.common / u64::from(HASH_TOKENS);
        let own = |block: u64| if block < common { block } else { (1 << 63) | u64::from(session) << 24 | block };
        out.hashes.extend((0..before / u64::from(HASH_TOKENS)).map(own));
    }
    out.turns = vec![Turn { next: None, pause: 0.0 }; out.list.len() + later.len()];
    let mut last: Vec<u32> = (0..out.list.len() as u32).collect();
    for (session, request) in later {
        let id = out.list.len() as u32;
        let before = std::mem::replace(&mut last[session as usize], id);
        out.turns[before as usize] = Turn { next: Some(id), pause: d.pause * exponential(&mut pauses) };
        out.list.push(request);
    }
    out
}
