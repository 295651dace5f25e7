//! Tests of the whole: layers, documents, command line, contract, diagnostics, determinism.

mod cli;
mod contract;
mod documents;
mod errors;
mod explicit;
mod layers;
mod physics;

/// Root of the package.
fn root() -> std::path::PathBuf {
    std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder whose name ends so, sorted.
fn files(folder: &str, end: &str) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(&at).unwrap_or_else(|e| panic!("{}: {e}", at.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}

/// Runs the program in the package's root.
fn orrery(args: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_orrery")).args(args).current_dir(root()).env("NO_COLOR", "1").output().unwrap()
}
