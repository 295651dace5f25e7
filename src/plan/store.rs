//! The folder of a sweep's results: a manifest, a journal for each shard at work, a part for each shard that is done, and the
//! results of all.
//!
//! A journal gets one line for each scenario as it ends, in one write: a killed program loses what was in flight and at most leaves
//! half a line, which is cut off before work goes on. A part has the same lines in order of the scenarios; it is written under
//! another name and renamed, so it is whole or not there. Shard `k` of `n` has the scenarios `k`, `k + n`, `k + 2 n` …, so the bytes
//! of the results do not depend on how many shards there were, which of them died, and in which order scenarios ended.

use super::sweep::Row;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Lines of all parts that are held at once while parts are merged.
const MERGED_AT_ONCE: u64 = 100_000;

/// What a folder of results says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub format: u64,
    /// Version of the program: results of two versions are not mixed.
    pub orrery: String,
    /// Title of the sweep.
    pub title: String,
    /// Hash of program, sweep, base and topologies.
    pub sweep: String,
    /// Scenarios.
    pub scenarios: u64,
    /// Shards.
    pub shards: u64,
    /// Columns of the results.
    pub header: Vec<String>,
}

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

/// What was merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collected {
    /// The file.
    pub path: PathBuf,
    /// Scenarios with an outcome.
    pub sound: u64,
    /// Scenarios with an error instead.
    pub refused: u64,
    /// Columns that are empty in every row with an outcome.
    pub empty: Vec<String>,
}

impl Manifest {
    /// Reads the manifest of a folder; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is no manifest.
    pub fn read(folder: &Path) -> Result<Option<Self>, StoreError> {
        let path = folder.join("manifest.json");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(&path)(error)),
        };
        let foreign = |reason: String| StoreError::Foreign { path: path.clone(), reason };
        let manifest: Self = serde_json::from_str(&text).map_err(|e| foreign(format!("is no manifest of a sweep: {e}")))?;
        if manifest.format != 1 || manifest.shards == 0 || manifest.header.len() < 3 {
            return Err(foreign("is no manifest that this program can read".into()));
        }
        Ok(Some(manifest))
    }

    /// Makes the folder and writes the manifest, or checks that the one that is there says the same.
    ///
    /// # Errors
    /// When the folder cannot be written or holds another sweep.
    pub fn place(&self, folder: &Path) -> Result<(), StoreError> {
        std::fs::create_dir_all(folder).map_err(io(folder))?;
        match Self::read(folder)? {
            Some(there) if there == *self => Ok(()),
            Some(there) => {
                let reason = if there.sweep != self.sweep {
                    "is of another sweep, or of another version of the sweep, its base, its topology or this program".into()
                } else {
                    format!("plans {} shards, not {}", there.shards, self.shards)
                };
                Err(StoreError::Foreign { path: folder.join("manifest.json"), reason })
            }
            None => {
                let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
                persist(&folder.join("manifest.json"), |out| out.write_all(text.as_bytes()))
            }
        }
    }

    /// The file of a shard that is done; of the only shard, the results themselves.
    #[must_use]
    pub fn part_path(&self, folder: &Path, shard: u64) -> PathBuf {
        if self.shards == 1 {
            folder.join("results.csv")
        } else {
            folder.join("parts").join(format!("{shard:05}-of-{:05}.csv", self.shards))
        }
    }

    fn journal_path(&self, folder: &Path, shard: u64) -> PathBuf {
        self.part_path(folder, shard).with_extension("journal")
    }

    /// Scenarios of a shard.
    #[must_use]
    pub const fn scenarios_of(&self, shard: u64) -> u64 {
        if shard >= self.scenarios { 0 } else { (self.scenarios - shard).div_ceil(self.shards) }
    }

    /// Shards that are not done.
    #[must_use]
    pub fn missing(&self, folder: &Path) -> Vec<u64> {
        (0..self.shards).filter(|&k| !self.part_path(folder, k).exists()).collect()
    }
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

/// A shard at work.
pub struct Part {
    manifest: Manifest,
    folder: PathBuf,
    shard: u64,
    journal: File,
    end: u64,
    /// Where the line of every scenario starts in the journal; `None` where it is not there yet.
    lines: Vec<Option<u64>>,
}

impl Part {
    /// Opens the journal of a shard, or `None` where the shard is done. What is in a journal is kept; half a line is cut off.
    ///
    /// # Errors
    /// When files cannot be used, another process has them, or results are there and `resume` is false.
    pub fn open(manifest: &Manifest, folder: &Path, shard: u64, resume: bool) -> Result<Option<Self>, StoreError> {
        let part = manifest.part_path(folder, shard);
        let path = manifest.journal_path(folder, shard);
        if !resume && (part.exists() || path.exists()) {
            return Err(StoreError::Started(folder.to_owned()));
        }
        if part.exists() {
            return Ok(None);
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(io(parent))?;
        }
        let journal = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(io(&path))?;
        // Some network file systems know no locks: there the scheduler alone sees to it that a shard runs once.
        if let Err(std::fs::TryLockError::WouldBlock) = journal.try_lock() {
            return Err(StoreError::Busy(path));
        }
        let lines = vec![None; manifest.scenarios_of(shard) as usize];
        let mut opened = Self { manifest: manifest.clone(), folder: folder.to_owned(), shard, journal, end: 0, lines };
        opened.replay().map_err(io(&path))?;
        Ok(Some(opened))
    }

    /// Reads what is there up to the first line that is not whole, and cuts off the rest.
    fn replay(&mut self) -> std::io::Result<()> {
        let head = format!("# {}\n", self.manifest.sweep);
        let mut reader = BufReader::new(&self.journal);
        let mut text = Vec::new();
        reader.read_until(b'\n', &mut text)?;
        let mut end = 0;
        if text == head.as_bytes() {
            end = text.len() as u64;
            loop {
                text.clear();
                reader.read_until(b'\n', &mut text)?;
                let whole = text.last() == Some(&b'\n');
                let Some((cells, index, _)) = cells_of(&text).filter(|_| whole) else { break };
                let place = self.place(index);
                let Some(slot) = place.filter(|_| cells == self.manifest.header.len()).and_then(|p| self.lines.get_mut(p)) else { break };
                *slot = Some(end);
                end += text.len() as u64;
            }
        }
        drop(reader);
        self.journal.set_len(end)?;
        self.journal.seek(SeekFrom::Start(end))?;
        if end == 0 {
            self.journal.write_all(head.as_bytes())?;
            end = head.len() as u64;
        }
        self.end = end;
        Ok(())
    }

    fn place(&self, index: u64) -> Option<usize> {
        let n = self.manifest.shards;
        (index % n == self.shard).then_some((index / n) as usize)
    }

    /// Scenarios that are left, in order.
    #[must_use]
    pub fn left(&self) -> Vec<u64> {
        let at = |(p, line): (usize, &Option<u64>)| line.is_none().then_some(self.shard + p as u64 * self.manifest.shards);
        self.lines.iter().enumerate().filter_map(at).collect()
    }

    /// Scenarios of the shard.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Adds the row of a scenario.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn add(&mut self, index: u64, row: &Row) -> Result<(), StoreError> {
        let line = line(&row.cells);
        let path = self.manifest.journal_path(&self.folder, self.shard);
        self.journal.write_all(&line).map_err(io(&path))?;
        if let Some(slot) = self.place(index).and_then(|p| self.lines.get_mut(p)) {
            *slot = Some(self.end);
        }
        self.end += line.len() as u64;
        Ok(())
    }

    /// Writes the part from the journal, in order of the scenarios, and drops the journal.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn finish(self) -> Result<(), StoreError> {
        let path = self.manifest.part_path(&self.folder, self.shard);
        let mut reader = BufReader::new(&self.journal);
        let mut at = reader.seek(SeekFrom::Start(0)).map_err(io(&path))?;
        let header = line(&self.manifest.header);
        persist(&path, |out| {
            out.write_all(&header)?;
            let mut text = Vec::new();
            for start in self.lines.iter().flatten() {
                // Lines are nearly in order: most steps stay inside the buffer.
                reader.seek_relative(*start as i64 - at as i64)?;
                text.clear();
                reader.read_until(b'\n', &mut text)?;
                at = start + text.len() as u64;
                out.write_all(&text)?;
            }
            Ok(())
        })?;
        let journal = self.manifest.journal_path(&self.folder, self.shard);
        std::fs::remove_file(&journal).map_err(io(&journal))
    }
}

/// Merges the parts of all shards into the results, in order of the scenarios.
///
/// # Errors
/// When shards are missing, or files cannot be read or written.
pub fn collect(folder: &Path) -> Result<Collected, StoreError> {
    let Some(manifest) = Manifest::read(folder)? else {
        return Err(StoreError::Foreign { path: folder.to_owned(), reason: "holds no manifest of a sweep".into() });
    };
    let missing = manifest.missing(folder);
    if !missing.is_empty() {
        return Err(StoreError::Missing(missing));
    }
    let path = folder.join("results.csv");
    let mut tally = Tally { filled: vec![false; manifest.header.len()], sound: 0, refused: 0 };
    if manifest.shards == 1 {
        let mut reader = BufReader::new(File::open(&path).map_err(io(&path))?);
        let mut text = Vec::new();
        while reader.read_until(b'\n', &mut text).map_err(io(&path))? > 0 {
            tally.see(&text);
            text.clear();
        }
    } else {
        let header = line(&manifest.header);
        persist(&path, |out| {
            out.write_all(&header)?;
            merge(&manifest, folder, out, &mut tally)
        })?;
    }
    #[cfg(feature = "parquet")]
    persist(&folder.join("results.parquet"), |out| super::parquet::write(&path, out).map_err(std::io::Error::other))?;
    let names = manifest.header.iter().zip(&tally.filled);
    let empty = names.filter(|(name, filled)| !**filled && !["error", "message"].contains(&name.as_str())).map(|(name, _)| name.clone());
    let empty = if tally.sound > 0 { empty.collect() } else { Vec::new() };
    Ok(Collected { path, sound: tally.sound, refused: tally.refused, empty })
}

struct Tally {
    filled: Vec<bool>,
    sound: u64,
    refused: u64,
}

impl Tally {
    fn see(&mut self, line: &[u8]) {
        let Some((_, _, sound)) = cells_of(line) else { return };
        if !sound {
            self.refused += 1;
            return;
        }
        self.sound += 1;
        if self.filled.iter().all(|f| *f) {
            return;
        }
        let mut record = csv::ByteRecord::new();
        if csv::ReaderBuilder::new().has_headers(false).from_reader(line).read_byte_record(&mut record).unwrap_or(false) {
            self.filled.iter_mut().zip(record.iter()).for_each(|(filled, cell)| *filled |= !cell.is_empty());
        }
    }
}

/// Lines of all parts in turn; each part is opened again for every window, so any number of shards needs one open file.
fn merge(manifest: &Manifest, folder: &Path, out: &mut impl Write, tally: &mut Tally) -> std::io::Result<()> {
    let shards = manifest.shards as usize;
    let rows = (MERGED_AT_ONCE / manifest.shards).max(1);
    let mut places: Vec<u64> = vec![line(&manifest.header).len() as u64; shards];
    let mut next = 0;
    while next < manifest.scenarios {
        let mut window: Vec<std::vec::IntoIter<Vec<u8>>> = Vec::with_capacity(shards);
        for (shard, place) in places.iter_mut().enumerate() {
            window.push(lines_from(&manifest.part_path(folder, shard as u64), place, rows)?.into_iter());
        }
        let until = manifest.scenarios.min(next + rows * manifest.shards);
        while next < until {
            let line = window[(next % manifest.shards) as usize].next();
            let Some(line) = line.filter(|l| cells_of(l).is_some_and(|c| c.1 == next)) else {
                let name = manifest.part_path(folder, next % manifest.shards);
                return Err(std::io::Error::other(format!("`{}` lacks scenario {next}", name.display())));
            };
            tally.see(&line);
            out.write_all(&line)?;
            next += 1;
        }
    }
    Ok(())
}

fn lines_from(path: &Path, place: &mut u64, rows: u64) -> std::io::Result<Vec<Vec<u8>>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(*place))?;
    let mut reader = BufReader::new(file);
    let mut out = Vec::new();
    for _ in 0..rows {
        let mut text = Vec::new();
        if reader.read_until(b'\n', &mut text)? == 0 {
            break;
        }
        *place += text.len() as u64;
        out.push(text);
    }
    Ok(out)
}
