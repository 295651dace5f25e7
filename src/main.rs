//! The `orrery` program: a thin shell around the library.

fn main() -> std::process::ExitCode {
    orrery::cli::main()
}
