//! The workflows: up, down, run and their kin, over engine, gpu, venv and mirror.

pub mod fingerprint;
