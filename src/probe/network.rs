//! TCP between this host and itself or a given peer: ping-pong by size, and a stream.
//!
//! The peer runs `orrery calibrate probe --serve PORT`. A connection begins with 16 bytes: 0 and a size for ping-pong (every message comes
//! back), 1 and 0 for a stream (bytes are counted until the client closes its side, then the count comes back).

use super::{ProbeOptions, Stop, Task, median, samples};
use crate::calibrate::{Measurement, Unit, What};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Greatest message of a ping-pong that a server takes.
const MOST: u64 = 64 << 20;

const SIZES: [u64; 7] = [64, 1 << 20, 1024, 65536, 16384, 262_144, 4 << 20];

pub(super) fn tasks(options: &ProbeOptions) -> Vec<Task> {
    let seconds = options.seconds_each;
    let mut out = Vec::new();
    for peer in std::iter::once(None).chain(options.peer.clone().map(Some)) {
        let name = peer.clone().unwrap_or_else(|| "loopback".into());
        for size in SIZES {
            let peer = peer.clone();
            out.push(Task::new(format!("tcp ping-pong {size} B, {name}"), move |stop| {
                with_peer(peer.as_deref(), |s| ping_pong(s, size, seconds, stop))
            }));
        }
        out.push(Task::new(format!("tcp stream, {name}"), move |_| with_peer(peer.as_deref(), |s| stream(s, seconds))));
    }
    out
}

/// Serves probes of other hosts until the process ends.
///
/// # Errors
/// When the port is taken.
pub fn serve(port: u16) -> std::io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    for client in listener.incoming().flatten() {
        std::thread::spawn(move || answer(client));
    }
    Ok(())
}

fn answer(mut client: TcpStream) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut head = [0u8; 16];
    client.read_exact(&mut head)?;
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| head[at + i]));
    if word(0) == 0 {
        let mut buffer = vec![0; word(8).clamp(1, MOST) as usize];
        while client.read_exact(&mut buffer).is_ok() {
            client.write_all(&buffer)?;
        }
        return Ok(());
    }
    let (mut buffer, mut count) = (vec![0; 1 << 20], 0u64);
    loop {
        match client.read(&mut buffer)? {
            0 => return client.write_all(&count.to_le_bytes()),
            n => count += n as u64,
        }
    }
}

/// Runs a measurement against a peer, or against a server thread of its own.
fn with_peer(peer: Option<&str>, run: impl Fn(TcpStream) -> std::io::Result<Option<Measurement>>) -> Result<Vec<Measurement>, String> {
    let failed = |e: std::io::Error| format!("{}: {}", peer.unwrap_or("loopback"), crate::diag::reason(&e));
    let connect = || -> std::io::Result<TcpStream> {
        let Some(peer) = peer else {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            let address = listener.local_addr()?;
            std::thread::spawn(move || listener.accept().and_then(|(client, _)| answer(client)));
            return TcpStream::connect(address);
        };
        let address = peer.to_socket_addrs()?.next().ok_or_else(|| std::io::Error::other("no such address"))?;
        TcpStream::connect_timeout(&address, Duration::from_secs(5))
    };
    let measured = connect().and_then(run).map_err(failed)?;
    Ok(measured
        .map(|mut one| {
            one.part = if peer.is_some() { "tcp".into() } else { "loopback".into() };
            one.peer = peer.unwrap_or("").to_owned();
            one
        })
        .into_iter()
        .collect())
}

fn hello(server: &mut TcpStream, mode: u64, size: u64) -> std::io::Result<()> {
    server.set_nodelay(true)?;
    server.set_read_timeout(Some(Duration::from_secs(30)))?;
    server.write_all(&[mode.to_le_bytes(), size.to_le_bytes()].concat())
}

/// Half of the time until a message is back.
fn ping_pong(mut server: TcpStream, size: u64, seconds: f64, stop: &Stop) -> std::io::Result<Option<Measurement>> {
    hello(&mut server, 0, size)?;
    let mut buffer = vec![7u8; size as usize];
    let mut failure = None;
    let times = samples(seconds, 10, stop, || {
        let start = Instant::now();
        // Large messages come back while they still go out: a thread of its own would hide that, so send and receive in pieces.
        let mut exchange = || -> std::io::Result<()> {
            server.write_all(&buffer)?;
            server.read_exact(&mut buffer)
        };
        if failure.is_none() {
            failure = exchange().err();
        }
        start.elapsed().as_secs_f64() / 2.0
    });
    if let Some(error) = failure {
        return Err(error);
    }
    if times.is_empty() {
        return Ok(None);
    }
    let what = What::Link { path: "tcp".into(), bytes: size as f64, streamed: false };
    let mut one = Measurement::new(what, median(&times), Unit::Seconds, "");
    one.samples = times;
    one.samples.truncate(200);
    Ok(Some(one))
}

fn stream(mut server: TcpStream, seconds: f64) -> std::io::Result<Option<Measurement>> {
    hello(&mut server, 1, 0)?;
    let buffer = vec![7u8; 1 << 20];
    let start = Instant::now();
    let mut sent = 0u64;
    while start.elapsed().as_secs_f64() < seconds.max(0.3) {
        server.write_all(&buffer)?;
        sent += buffer.len() as u64;
    }
    server.shutdown(Shutdown::Write)?;
    let mut count = [0u8; 8];
    server.read_exact(&mut count)?;
    let elapsed = start.elapsed().as_secs_f64();
    if u64::from_le_bytes(count) != sent {
        return Err(std::io::Error::other("the peer did not get what was sent"));
    }
    let what = What::Link { path: "tcp".into(), bytes: sent as f64, streamed: true };
    Ok(Some(Measurement::new(what, elapsed, Unit::Seconds, "")))
}
