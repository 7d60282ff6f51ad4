//! `wasmgate`, the program.

fn main() -> std::process::ExitCode {
    wasmgate::cli::run()
}
