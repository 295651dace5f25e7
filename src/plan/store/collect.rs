//! The parts of all shards merged into the results, and what is in them counted.

use super::{Manifest, StoreError, cells_of, io, line, persist};
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Lines of all parts that are held at once while parts are merged.
const MERGED_AT_ONCE: u64 = 100_000;

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
    persist(&folder.join("results.parquet"), |out| crate::plan::parquet::write(&path, out).map_err(std::io::Error::other))?;
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
