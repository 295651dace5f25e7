//! The folder of a sweep's results: a manifest, a journal for each shard at work, a part for each shard that is done, and the
//! results of all.
//!
//! A journal gets one line for each scenario as it ends, in one write: a killed program loses what was in flight and at most leaves
//! half a line, which is cut off before work goes on. A part has the same lines in order of the scenarios; it is written under
//! another name and renamed, so it is whole or not there. Shard `k` of `n` has the scenarios `k`, `k + n`, `k + 2 n` …, so the bytes
//! of the results do not depend on how many shards there were, which of them died, and in which order scenarios ended.

mod collect;
mod manifest;
mod part;

pub use collect::{Collected, collect};
pub use manifest::Manifest;
pub use part::Part;

use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Why a folder of results cannot be used.
#[derive(Debug)]
pub enum StoreError {
    /// A file cannot be read or written.
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The folder holds something else.
    Foreign {
        /// Which file says so.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Results are there already, and nobody asked to go on with them.
    Started(PathBuf),
    /// Another process works on the shard.
    Busy(PathBuf),
    /// Shards that are not done.
    Missing(Vec<u64>),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, reason } => write!(f, "cannot use `{}`: {reason}", path.display()),
            Self::Foreign { path, reason } => write!(f, "`{}` {reason}", path.display()),
            Self::Started(path) => write!(f, "`{}` holds results of this sweep already", path.display()),
            Self::Busy(path) => write!(f, "another process writes `{}`", path.display()),
            Self::Missing(shards) => {
                let named: Vec<String> = shards.iter().take(20).map(u64::to_string).collect();
                let more = if shards.len() > 20 { ", …" } else { "" };
                write!(f, "{} shard{} not done: {}{more}", shards.len(), if shards.len() == 1 { " is" } else { "s are" }, named.join(", "))
            }
        }
    }
}
impl std::error::Error for StoreError {}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError + '_ {
    move |error| StoreError::Io { path: path.to_owned(), reason: crate::diag::reason(&error) }
}

/// Writes a file beside its target and renames it: it is whole or not there.
fn persist(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o644));
    }
    let file = builder.tempfile_in(folder).map_err(io(path))?;
    let mut out = BufWriter::new(file.as_file());
    write(&mut out).and_then(|()| out.flush()).map_err(io(path))?;
    drop(out);
    file.as_file().sync_all().map_err(io(path))?;
    file.persist(path).map_err(|e| io(path)(e.error))?;
    Ok(())
}

/// Cells as one line of CSV with its line break.
fn line(cells: &[String]) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::Any(b'\n')).from_writer(Vec::new());
    // Writing into memory has no way to fail, and every row has the length of the header.
    let _ = writer.write_record(cells);
    writer.into_inner().unwrap_or_default()
}

/// Number of cells of a line, and its first and last but one (the code of an error).
fn cells_of(line: &[u8]) -> Option<(usize, u64, bool)> {
    let mut record = csv::ByteRecord::new();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(line);
    if !reader.read_byte_record(&mut record).ok()? {
        return None;
    }
    let index = std::str::from_utf8(record.get(0)?).ok()?.parse().ok()?;
    Some((record.len(), index, record.get(record.len().checked_sub(2)?)?.is_empty()))
}
