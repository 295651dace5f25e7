//! A shard at work: its journal, taken up where it was left, and the part that comes of it.

use super::{Manifest, StoreError, cells_of, io, line, persist};
use crate::plan::sweep::Row;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

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
            // What a program left that was killed between the two.
            dropped(&path)?;
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
        dropped(&self.manifest.journal_path(&self.folder, self.shard))
    }
}

/// Removes a journal that may be gone already.
fn dropped(journal: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(journal) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(journal)(error)),
        _ => Ok(()),
    }
}
