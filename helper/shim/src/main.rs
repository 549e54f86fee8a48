//! The shim alone, for its tests.

fn main() -> std::process::ExitCode {
    gpubay_shim::main()
}
