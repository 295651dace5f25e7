//! Files on disk, whole or not at all.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file or folder that cannot be written.
#[derive(Debug)]
pub struct WriteError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write `{}`: {}", self.path.display(), self.reason)
    }
}
impl std::error::Error for WriteError {}

fn failed(path: &Path, error: &std::io::Error) -> WriteError {
    WriteError { path: path.to_owned(), reason: crate::diag::reason(error) }
}

/// A temporary file that others may read once it has its name.
fn temporary(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o644));
    }
    builder.tempfile_in(folder)
}

/// Writes a file beside its target and renames it: a reader sees the old file or the new one.
///
/// # Errors
/// When the folder is missing or not writable, or the disk is full; nothing is left behind.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = temporary(folder).map_err(|e| failed(path, &e))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(|e| failed(path, &e))?;
    file.persist(path).map_err(|e| failed(path, &e.error))?;
    Ok(())
}

/// Writes files into a folder, which is made if it is not there. All are written under temporary names first, so that a full
/// disk leaves none of them.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_folder(folder: &Path, files: &[(String, String)]) -> Result<(), WriteError> {
    write_each(folder, files.iter().map(|(name, text)| (name.clone(), text)))
}

/// The same for files that are made one after the other, so that they need not all be in memory.
///
/// # Errors
/// As [`write_atomically`].
pub fn write_each<B: AsRef<[u8]>>(folder: &Path, files: impl Iterator<Item = (String, B)>) -> Result<(), WriteError> {
    std::fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
    let mut staged = Vec::new();
    for (name, bytes) in files {
        let path = folder.join(name);
        let mut file = temporary(folder).map_err(|e| failed(&path, &e))?;
        file.write_all(bytes.as_ref()).and_then(|()| file.as_file().sync_all()).map_err(|e| failed(&path, &e))?;
        // Closed: a process may hold fewer files open than there are ranks.
        staged.push((file.into_temp_path(), path));
    }
    for (file, path) in staged {
        file.persist(&path).map_err(|e| failed(&path, &e.error))?;
    }
    Ok(())
}
