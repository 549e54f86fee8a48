//! Times a first mirror, a nothing-changed sync and a second workspace against `tar c | tar x` of
//! the same files onto the same disk, interleaved.
//!
//! `cargo run --release --example bench_mirror -- <scratch folder> [<files>] [<rounds>]`

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use gpubay::mirror::{Ahead, BaseKey, Deletions, FileSink, Source, SourceError, Store, ensure_base, sync_workspace};
use gpubay::progress::Progress;
use gpubay::{ContainerPath, HostPath};
use gpubay_protocol::agent::{Entry, ScanLimits, ScanRequest, Scanned};
use gpubay_protocol::contents::Form;
use sha2::{Digest, Sha256};

/// Reads a folder of this machine as the agent reads one of a container.
struct Local {
    folder: PathBuf,
    entries: Vec<Entry>,
    /// How long the last scan took: in a real container it is the agent's.
    scanning: Duration,
}

fn walk(top: &Path, at: &Path, out: &mut Vec<Entry>) -> std::io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    for item in std::fs::read_dir(at)? {
        let path = item?.path();
        let facts = path.symlink_metadata()?;
        if facts.is_dir() {
            walk(top, &path, out)?;
        } else if let Ok(name) = path.strip_prefix(top) {
            out.push(Entry {
                root: 0,
                path: name.as_os_str().as_bytes().to_vec(),
                size: facts.len(),
                mtime: std::os::unix::fs::MetadataExt::mtime(&facts) * 1_000_000_000,
                form: Form::Whole,
                witness: 0,
            });
        }
    }
    Ok(())
}

fn lost(error: impl std::fmt::Display) -> SourceError {
    SourceError::Lost(error.to_string())
}

#[async_trait]
impl Source for Local {
    async fn scan(&mut self, request: ScanRequest) -> Result<(Vec<Entry>, Scanned), SourceError> {
        let start = Instant::now();
        let mut entries = Vec::new();
        walk(&self.folder, &self.folder, &mut entries).map_err(lost)?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let mut hash = Sha256::new();
        for entry in &entries {
            hash.update(&entry.path);
            hash.update(entry.size.to_le_bytes());
            hash.update(entry.mtime.to_le_bytes());
        }
        let digest = hash.finalize().into();
        let same = request.known == Some(digest);
        let scanned = Scanned {
            digest,
            same,
            files: entries.len() as u32,
            bytes: entries.iter().map(|entry| entry.size).sum(),
            left_out: 0,
            missing: Vec::new(),
        };
        self.scanning = start.elapsed();
        self.entries = if same { Vec::new() } else { entries };
        Ok((self.entries.clone(), scanned))
    }

    async fn fetch(&mut self, indices: &[u32], sink: &mut dyn FileSink) -> Result<(), SourceError> {
        use std::os::unix::ffi::OsStrExt;
        for &index in indices {
            let name = std::ffi::OsStr::from_bytes(&self.entries[index as usize].path);
            let text = std::fs::read(self.folder.join(name)).map_err(lost)?;
            sink.file(index, text.len() as u64).await?;
            for part in text.chunks(256 << 10) {
                sink.data(part).await?;
            }
            sink.end(None).await?;
        }
        Ok(())
    }
}

fn make_files(folder: &Path, count: usize) -> std::io::Result<()> {
    for n in 0..count {
        let at = folder.join(format!("package{:02}/sub{:02}", n % 40, n / 40 % 25));
        std::fs::create_dir_all(&at)?;
        // Sizes as in a torch environment: 15 kB on average, most of them small.
        let size = 500 + n * 7919 % 9_000 + if n % 20 == 0 { 200_000 } else { 0 };
        std::fs::write(at.join(format!("module{n}.py")), "value = 1  # filler\n".repeat(size / 20))?;
    }
    Ok(())
}

fn tar(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    let mut pack = Command::new("tar").arg("-C").arg(from).args(["-cf", "-", "."]).stdout(Stdio::piped()).spawn()?;
    let out = pack.stdout.take().map_or_else(Stdio::null, Stdio::from);
    let unpacked = Command::new("tar").arg("-C").arg(to).args(["-xf", "-"]).stdin(out).status()?;
    if pack.wait()?.success() && unpacked.success() { Ok(()) } else { Err(std::io::Error::other("tar failed")) }
}

fn say(line: &str) -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}")
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let scratch = PathBuf::from(args.next().ok_or_else(|| anyhow::anyhow!("name a scratch folder"))?);
    let count = args.next().map_or(Ok(20_000), |text| text.parse())?;
    let rounds: usize = args.next().map_or(Ok(3), |text| text.parse())?;
    let scratch = tempfile::tempdir_in(scratch)?;
    let from = scratch.path().join("from");
    make_files(&from, count)?;
    let progress = Progress::silent();
    let request = ScanRequest {
        roots: vec![ContainerPath::new("/usr/lib/python3/dist-packages")?],
        exclude: Vec::new(),
        known: None,
        limits: ScanLimits::default(),
    };
    for round in 0..rounds {
        rustix::fs::sync();
        let start = Instant::now();
        tar(&from, &scratch.path().join(format!("tar{round}")))?;
        let peer = start.elapsed();

        rustix::fs::sync();
        let store = Store::open(&HostPath::new(scratch.path().join(format!("cache{round}")))?)?;
        let key = BaseKey::new("bench", &request);
        let mut source = Local { folder: from.clone(), entries: Vec::new(), scanning: Duration::ZERO };
        let start = Instant::now();
        let made = ensure_base(&store, &key, &request, &mut source, &progress, Ahead::default()).await?;
        let first = start.elapsed();

        rustix::fs::sync();
        let start = Instant::now();
        let same = sync_workspace(&store, &key, "ws", &request, &mut source, &progress, Deletions::Ask).await?;
        let nothing = start.elapsed();
        let scanning = source.scanning;
        anyhow::ensure!(!same.changed && same.files as usize == count, "the sync changed something");

        let late = from.join(format!("package00/sub00/late{round}.py"));
        std::fs::write(&late, "late = 1\n")?;
        let start = Instant::now();
        let own = sync_workspace(&store, &key, "ws", &request, &mut source, &progress, Deletions::Ask).await?;
        let one = start.elapsed();
        anyhow::ensure!(own.changed, "the sync missed a file");
        std::fs::remove_file(&late)?;
        say(&format!(
            "{} files, {} MB: tar {:.2} s, first mirror {:.2} s ({:.0} files/s, {:.2} x tar), nothing changed {:.3} s (its scan {:.3} s), one new file {:.3} s",
            made.files,
            made.bytes / 1_000_000,
            peer.as_secs_f64(),
            first.as_secs_f64(),
            f64::from(made.files) / first.as_secs_f64(),
            first.as_secs_f64() / peer.as_secs_f64(),
            nothing.as_secs_f64(),
            scanning.as_secs_f64(),
            one.as_secs_f64(),
        ))?;
    }
    // Finished mirrors are read-only; opened again, the scratch folder can be deleted by anyone.
    let opened = Command::new("chmod").args(["-R", "u+w"]).arg(scratch.path()).status()?;
    anyhow::ensure!(opened.success(), "chmod failed");
    Ok(())
}
