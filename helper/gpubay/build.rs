//! Builds the program that is the agent and the shim, statically linked, so that it can be embedded in the helper.
//!
//! A cargo of its own does it, in a target folder of its own (`<target>/embedded`): the outer one
//! holds the lock of the usual folder, and debug and release builds share the result.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, exit};
use std::{env, fs};

use sha2::{Digest, Sha256};

const PROGRAM: &str = "gpubay-embedded";

/// What cargo tells a build script about the *outer* build, by the beginning of its name. The rest of
/// `CARGO_*` is the user's configuration (home, registries, proxies) and holds for the inner build too.
const OUTER: &[&str] = &[
    "CARGO_BUILD_",
    "CARGO_CFG_",
    "CARGO_CRATE_",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_FEATURE_",
    "CARGO_INCREMENTAL",
    "CARGO_MAKEFLAGS",
    "CARGO_MANIFEST_",
    "CARGO_PKG_",
    "CARGO_PRIMARY_",
    "CARGO_PROFILE_",
    "CARGO_TARGET_",
    "CLIPPY_",
    "DEBUG",
    "HOST",
    "MAKEFLAGS",
    "NUM_JOBS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
    "TARGET",
];

fn main() {
    let here = variable("CARGO_MANIFEST_DIR");
    let root = here.parent().and_then(Path::parent).expect("the crate lies in helper/ of the workspace");
    for input in [
        "Cargo.lock",
        "Cargo.toml",
        "helper/agent/Cargo.toml",
        "helper/agent/src",
        "helper/embedded/Cargo.toml",
        "helper/embedded/src",
        "helper/protocol/Cargo.toml",
        "helper/protocol/src",
        "helper/shim/Cargo.toml",
        "helper/shim/src",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    println!("cargo::rerun-if-changed=build.rs");

    let out = variable("OUT_DIR");
    // The nearest folder above that cargo has marked as its own is the whole build's target folder.
    let target = out.ancestors().skip(1).find(|above| above.join("CACHEDIR.TAG").is_file()).unwrap_or(&out);
    let target = target.join("embedded");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
    let triple = format!("{arch}-unknown-linux-gnu");

    // What the outer cargo has downloaded is enough as a rule, and without a network it has to be.
    let mut output = build(root, &target, &triple, &["--offline"]);
    if !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("offline") {
        output = build(root, &target, &triple, &[]);
    }
    if !output.status.success() {
        eprintln!("failed to build the program to embed, {PROGRAM} for {triple}:");
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        exit(1);
    }

    let path = target.join(&triple).join("embedded").join(PROGRAM);
    let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let copy = out.join(PROGRAM);
    // An untouched copy spares a rebuild of the crate.
    if fs::read(&copy).ok().as_deref() != Some(&bytes) {
        fs::write(&copy, &bytes).unwrap_or_else(|e| panic!("{}: {e}", copy.display()));
    }
    let id = Sha256::digest(&bytes)[..8].iter().fold(String::new(), |id, byte| format!("{id}{byte:02x}"));
    println!("cargo::rustc-env=GPUBAY_EMBEDDED_ID={id}");
}

fn build(root: &Path, target: &Path, triple: &str, network: &[&str]) -> Output {
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| OUTER.iter().any(|outer| name.starts_with(outer))) {
            cargo.env_remove(name);
        }
    }
    // With `--target`, the flags do not reach build scripts and macros, which cannot be static.
    cargo.env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    cargo.current_dir(root).args(["build", "--locked", "--profile", "embedded", "--target", triple]);
    cargo.args(network).arg("--target-dir").arg(target);
    cargo.args(["-p", PROGRAM]);
    cargo.output().unwrap_or_else(|e| panic!("cargo cannot be run: {e}"))
}

fn variable(name: &str) -> PathBuf {
    env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}")).into()
}
