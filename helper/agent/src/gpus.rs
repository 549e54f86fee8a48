//! Which GPUs answer inside the container.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use gpubay_protocol::agent::{Exit, GpuReport, GpuSeen, Smi};

use crate::children;
use crate::environment::{Variables, find_program};

const TIMEOUT: Duration = Duration::from_secs(10);
/// For everything that there is to tell. A driver that nobody uses wakes up GPU by GPU.
const LONG_TIMEOUT: Duration = Duration::from_secs(20);

fn program(variables: &Variables) -> Option<PathBuf> {
    let cwd = Path::new("/");
    let found = find_program("nvidia-smi".as_ref(), variables, cwd);
    found.or_else(|_| find_program("/usr/bin/nvidia-smi".as_ref(), variables, cwd)).ok()
}

/// All that the driver's own program tells of the machine's GPUs.
pub(crate) fn smi(variables: &Variables) -> Smi {
    let Some(program) = program(variables) else {
        return Smi { query: "there is no nvidia-smi".into(), list: String::new() };
    };
    match ask(&program, variables, &["-q", "-x"], LONG_TIMEOUT) {
        Ok(query) => Smi { query, list: ask(&program, variables, &["-L"], TIMEOUT).unwrap_or_default() },
        Err(NoAnswer::CannotRun(problem) | NoAnswer::Said(problem)) => Smi { query: problem, list: String::new() },
    }
}

pub(crate) fn report(variables: &Variables) -> GpuReport {
    const QUESTION: [&str; 2] = ["--query-gpu=index,uuid,name", "--format=csv,noheader"];
    let said = |devices, problem| GpuReport { devices, asked: "nvidia-smi".into(), problem };
    let problem = match program(variables).map(|program| ask(&program, variables, &QUESTION, TIMEOUT)) {
        Some(Ok(out)) => return said(out.lines().filter_map(line).collect(), None),
        // Where the driver and its libraries do not fit, there are device nodes all the same, and nothing works.
        Some(Err(NoAnswer::Said(problem))) => return said(Vec::new(), Some(problem)),
        Some(Err(NoAnswer::CannotRun(problem))) => Some(problem),
        None => None,
    };
    let (devices, refused) = nodes();
    GpuReport { devices, asked: "the device nodes".into(), problem: problem.or(refused) }
}

enum NoAnswer {
    /// It has no word on the GPUs: the injected program needs a C library that the image lacks, say.
    CannotRun(String),
    /// It looked at the GPUs, or never came back from that.
    Said(String),
}

fn ask(program: &Path, variables: &Variables, arguments: &[&str], limit: Duration) -> Result<String, NoAnswer> {
    let mut command = Command::new(program);
    command.args(arguments);
    command.env_clear().envs(variables).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0);
    let failed = |e: std::io::Error| NoAnswer::CannotRun(format!("nvidia-smi: {e}"));
    let (running, mut child) = children::spawn(&mut command).map_err(failed)?;
    let words = |from: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(from) = from {
                let _ = from.take(1 << 20).read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let out = words(child.stdout.take().map(|out| Box::new(out) as _));
    let err = words(child.stderr.take().map(|err| Box::new(err) as _));
    let Some(exit) = running.wait(limit) else {
        running.signal(libc::SIGKILL);
        return Err(NoAnswer::Said(format!("nvidia-smi did not answer within {} s", limit.as_secs())));
    };
    let out = out.join().unwrap_or_default();
    let err = err.join().unwrap_or_default();
    if exit == Exit::Code(0) {
        return Ok(out);
    }
    // It says its errors on stdout.
    let text = format!("nvidia-smi: {}", [out.trim(), err.trim()].join(" ").trim());
    Err(if matches!(exit, Exit::Code(126 | 127)) { NoAnswer::CannotRun(text) } else { NoAnswer::Said(text) })
}

fn line(line: &str) -> Option<GpuSeen> {
    let mut fields = line.splitn(3, ',').map(str::trim);
    let index = fields.next()?.parse().ok()?;
    let known = |field: &str| (!field.is_empty() && !field.starts_with('[')).then(|| field.to_owned());
    Some(GpuSeen { index, uuid: fields.next().and_then(known), name: fields.next().and_then(known) })
}

/// The device nodes that can be opened, and why another could not.
fn nodes() -> (Vec<GpuSeen>, Option<String>) {
    let mut devices = Vec::new();
    let mut refused = None;
    for entry in std::fs::read_dir("/dev").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(index) = name.to_str().and_then(|name| name.strip_prefix("nvidia")?.parse().ok()) else { continue };
        match std::fs::OpenOptions::new().read(true).write(true).open(entry.path()) {
            Ok(_) => devices.push(GpuSeen { index, uuid: None, name: None }),
            Err(e) => refused = Some(format!("{}: {e}", entry.path().display())),
        }
    }
    devices.sort_unstable_by_key(|device: &GpuSeen| device.index);
    (devices, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_nvidia_smi() {
        let seen = line("1, GPU-abc, NVIDIA H100, 80GB").expect("a device");
        assert_eq!(
            (seen.index, seen.uuid.as_deref(), seen.name.as_deref()),
            (1, Some("GPU-abc"), Some("NVIDIA H100, 80GB"))
        );
        assert_eq!(line("0, [N/A], x").expect("a device").uuid, None);
        assert_eq!(line("No devices were found"), None);
    }
}
