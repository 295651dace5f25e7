//! Requests through io_uring, so many in flight: the one place with `unsafe`, since the kernel reads and writes our buffers meanwhile.
#![allow(unsafe_code, reason = "the ring takes raw pointers; buffers outlive all requests, which are awaited before they are freed")]

use io_uring::{IoUring, opcode, types};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Instant;

/// Alignment of buffers that every drive takes.
const ALIGN: usize = 4096;

/// Runs requests of `bytes` for so many seconds with `depth` in flight; returns how many were done.
///
/// # Errors
/// When io_uring is not allowed here, or a request fails or is short.
pub(super) fn requests(
    file: &File,
    read: bool,
    bytes: usize,
    depth: usize,
    seconds: f64,
    next: &mut dyn FnMut() -> u64,
) -> io::Result<u64> {
    let mut ring = IoUring::new(depth.next_power_of_two() as u32)?;
    let mut memory = vec![0x5au8; bytes * depth + ALIGN];
    let first = memory.as_ptr().align_offset(ALIGN);
    let base = memory[first..].as_mut_ptr();
    let fd = types::Fd(file.as_raw_fd());
    let entry = |slot: usize, offset: u64| {
        let buffer = base.wrapping_add(slot * bytes);
        let made = if read {
            opcode::Read::new(fd, buffer, bytes as u32).offset(offset).build()
        } else {
            opcode::Write::new(fd, buffer, bytes as u32).offset(offset).build()
        };
        made.user_data(slot as u64)
    };
    let start = Instant::now();
    let (mut flying, mut done) = (0usize, 0u64);
    let mut failure: Option<io::Error> = None;
    let mut free: Vec<usize> = (0..depth).collect();
    loop {
        let going = failure.is_none() && start.elapsed().as_secs_f64() < seconds;
        while going && let Some(slot) = free.pop() {
            // SAFETY: the buffer of a slot lies inside `memory`, belongs to one request at a time, and `memory` is freed only after the loop
            // has seen the completion of every request that was pushed; the file is borrowed for as long.
            if unsafe { ring.submission().push(&entry(slot, next())) }.is_err() {
                free.push(slot);
                break;
            }
            flying += 1;
        }
        if flying == 0 {
            break;
        }
        if let Err(error) = ring.submit_and_wait(1) {
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            failure.get_or_insert(error);
        }
        for completion in ring.completion() {
            flying -= 1;
            free.push(completion.user_data() as usize);
            match completion.result() {
                n if n == bytes as i32 => done += 1,
                n if n < 0 => drop(failure.get_or_insert(io::Error::from_raw_os_error(-n))),
                n => drop(failure.get_or_insert(io::Error::other(format!("a request of {bytes} B moved {n} B")))),
            }
        }
    }
    drop(memory);
    failure.map_or(Ok(done), Err)
}
