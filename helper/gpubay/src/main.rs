//! The command `gpubay`.

fn main() -> std::process::ExitCode {
    gpubay::cli::main()
}
