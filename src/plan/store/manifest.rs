//! The manifest of a folder of results: which sweep it holds, and where each shard's journal and part lie.

use super::{StoreError, io, persist};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};

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

    pub(super) fn journal_path(&self, folder: &Path, shard: u64) -> PathBuf {
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
