//! Requirements into the venv, once, without replacing what the image brought.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::inside::{Inside, Run, Stream, capture, reason};
use super::probe::Probe;
use super::{VenvError, within};
use crate::config::model::Installer;
use crate::progress::{Progress, StepEnd};
use crate::{ContainerPath, HostPath, PathMap};

/// In the venv; says what was installed into it last.
const STAMP: &str = ".gpubay-installed";

/// What is to be installed, and where.
#[derive(Clone, Copy, Debug)]
pub struct Install<'a> {
    pub venv: &'a ContainerPath,
    /// The venv's folder on the host, where the host can reach it.
    pub on_host: Option<&'a HostPath>,
    /// Of the venv's own interpreter.
    pub probe: &'a Probe,
    /// Of the image's interpreter: what it can import is never replaced.
    pub image: &'a Probe,
    pub requirements: &'a [HostPath],
    pub installer: Installer,
    pub map: &'a PathMap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    Nothing,
    /// The same files for the same Python were installed before.
    Already,
    Now,
}

/// Installs the requirements files, unless that was done with the same contents.
pub async fn install(inside: &dyn Inside, what: &Install<'_>, progress: &Progress) -> Result<Installed, VenvError> {
    if what.requirements.is_empty() {
        return Ok(Installed::Nothing);
    }
    let stamp = stamp(what)?;
    if known_stamp(what).as_deref() == Some(stamp.as_str()) {
        return Ok(Installed::Already);
    }
    let mut files = Vec::new();
    for file in what.requirements {
        let inside = what.map.to_container(file.as_path());
        files.push(inside.ok_or_else(|| VenvError::RequirementsOutside { path: file.to_string() })?);
    }
    let step = progress.step("Installing requirements");
    let python = format!("{}/bin/python", what.venv);
    let run = match what.installer {
        Installer::Pip => {
            if !what.probe.has_pip {
                if !what.probe.has_ensurepip {
                    return Err(VenvError::NoPip);
                }
                run_to_end(inside, &Run::new([&python, "-m", "ensurepip", "--default-pip"]), "ensurepip", what, &step)
                    .await?;
            }
            // pip sees the image's packages through the venv; PIP_CONSTRAINT of the image is pip's own to honour.
            let run = Run::new([&python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]);
            with_files(run.env("PYTHONUNBUFFERED", "1"), &files)
        }
        Installer::Uv => {
            let (excludes, constraints) = write_excludes(inside, what, &python).await?;
            let mut argv = uv(inside, &python).await?;
            argv.extend(["pip", "install", "--python", &python, "--excludes", &excludes].map(str::to_owned));
            // uv does not know pip's variable, in which images pin what they brought.
            argv.extend(constraints.into_iter().flat_map(|file| ["--constraint".to_owned(), file]));
            with_files(Run::new(argv).env("UV_LINK_MODE", "copy"), &files)
        }
    };
    let name = match what.installer {
        Installer::Pip => "pip",
        Installer::Uv => "uv",
    };
    run_to_end(inside, &run, name, what, &step).await?;
    let script = "import os, sys; t = sys.argv[1] + '.new'; open(t, 'w').write(sys.argv[2]); os.rename(t, sys.argv[1])";
    let path = format!("{}/{STAMP}", what.venv);
    let captured = capture(inside, &Run::new([&python, "-c", script, &path, &stamp])).await?;
    if captured.exit.as_code() != 0 {
        return Err(VenvError::Install { installer: "python", what: path, reason: reason(&captured) });
    }
    step.end(StepEnd::Done);
    Ok(Installed::Now)
}

fn with_files(mut run: Run, files: &[ContainerPath]) -> Run {
    for file in files {
        run.argv.extend(["-r".to_owned(), file.to_string()]);
    }
    run
}

async fn run_to_end(
    inside: &dyn Inside,
    run: &Run,
    installer: &'static str,
    what: &Install<'_>,
    step: &crate::progress::Step,
) -> Result<(), VenvError> {
    let mut line = Vec::new();
    let mut errors = Vec::new();
    let exit = inside
        .run(run, &mut |stream, bytes| {
            if stream == Stream::Stderr && errors.len() < 64 << 10 {
                errors.extend_from_slice(bytes);
            }
            for &byte in bytes {
                if byte == b'\n' || line.len() > 4096 {
                    step.output(String::from_utf8_lossy(&line).trim_end().to_owned());
                    line.clear();
                } else {
                    line.push(byte);
                }
            }
        })
        .await
        .map_err(VenvError::Inside)?;
    if exit.as_code() == 0 {
        return Ok(());
    }
    let files: Vec<String> = what.requirements.iter().map(ToString::to_string).collect();
    let said = String::from_utf8_lossy(&errors).trim().to_owned();
    let reason = if said.is_empty() { format!("it ended with {}", exit.as_code()) } else { said };
    Err(VenvError::Install { installer, what: files.join(", "), reason })
}

/// uv as the image has it: a program, or a module of its Python.
async fn uv(inside: &dyn Inside, python: &str) -> Result<Vec<String>, VenvError> {
    for argv in [vec!["uv".to_owned()], vec![python.to_owned(), "-m".to_owned(), "uv".to_owned()]] {
        let mut ask = argv.clone();
        ask.push("--version".to_owned());
        // A program that is missing is an error of the run, not of us.
        if capture(inside, &Run::new(ask)).await.is_ok_and(|captured| captured.exit.as_code() == 0) {
            return Ok(argv);
        }
    }
    Err(VenvError::NoUv)
}

/// uv does not see the image's packages: it is told to leave each of them out. Returns the file that
/// says so and the constraints files that the image names in `PIP_CONSTRAINT`.
async fn write_excludes(
    inside: &dyn Inside,
    what: &Install<'_>,
    python: &str,
) -> Result<(String, Vec<String>), VenvError> {
    let names: String = what
        .image
        .distributions
        .iter()
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
        .flat_map(|name| [name.as_str(), "\n"])
        .collect();
    let path = format!("{}/.gpubay-excludes.txt", what.venv);
    let script = "import os, sys; open(sys.argv[1], 'w').write(sys.stdin.read()); \
                  print(os.environ.get('PIP_CONSTRAINT', ''))";
    let mut run = Run::new([python, "-c", script, &path]);
    run.stdin = names.into_bytes();
    let captured = capture(inside, &run).await?;
    if captured.exit.as_code() != 0 {
        return Err(VenvError::Install { installer: "uv", what: path, reason: reason(&captured) });
    }
    let constraints = String::from_utf8_lossy(&captured.stdout);
    Ok((path, constraints.split_whitespace().map(str::to_owned).collect()))
}

fn known_stamp(what: &Install<'_>) -> Option<String> {
    let folder = within::open(what.on_host?.as_path()).ok()?;
    let (bytes, _) = within::read(folder, STAMP, 200).ok()??;
    String::from_utf8(bytes).ok()
}

/// Over the contents of every file, those that they include too, the Python and the installer.
fn stamp(what: &Install<'_>) -> Result<String, VenvError> {
    let mut hash = Sha256::new();
    hash.update(format!("1\n{}\n{:?}\n", what.probe.version, what.installer));
    let mut seen = Vec::new();
    for file in what.requirements {
        let path = file.as_path();
        let bytes = std::fs::read(path)
            .map_err(|source| VenvError::Requirements { path: path.display().to_string(), source })?;
        add_file(&mut hash, path, &bytes, &mut seen);
    }
    Ok(hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

fn add_file(hash: &mut Sha256, path: &Path, bytes: &[u8], seen: &mut Vec<PathBuf>) {
    if seen.len() > 100 || seen.contains(&path.to_path_buf()) {
        return;
    }
    seen.push(path.to_path_buf());
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
    for line in String::from_utf8_lossy(bytes).lines() {
        let line = line.trim();
        let rest = ["--requirement", "--constraint", "-r", "-c"].iter().find_map(|option| line.strip_prefix(option));
        let Some(name) = rest.map(|rest| rest.trim_start_matches(['=', ' ', '\t'])) else { continue };
        let included = path.parent().unwrap_or(Path::new("/")).join(name);
        // What cannot be read here is the installer's to report.
        if let Ok(bytes) = std::fs::read(&included) {
            add_file(hash, &included, &bytes, seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::inside::host::Host;
    use super::super::probe::{ask, choose};
    use super::*;
    use crate::venv::create;

    #[tokio::test]
    async fn installs_once_and_again_when_an_included_file_changed() {
        let temp = tempfile::tempdir().expect("a folder");
        let root = HostPath::new(temp.path()).expect("absolute");
        let same = ContainerPath::new(temp.path().to_str().expect("UTF-8")).expect("a path");
        let venv = same.join("v").expect("a path");
        let host = root.join("v");
        std::fs::create_dir(&host).expect("makes");
        let python = ContainerPath::new("/usr/bin/python3").expect("a path");
        let chosen = choose(&Host, None, &[python], &venv).await.expect("chooses").expect("one");
        create::create(&Host, &chosen, &venv, Some(&host)).await.expect("makes");
        let probe = ask(&Host, &format!("{venv}/bin/python")).await.expect("asks");

        // A package from its sources would need a build backend from the network: nothing but an include.
        std::fs::write(root.join("requirements.txt"), "-r more.txt\n").expect("writes");
        std::fs::write(root.join("more.txt"), "# nothing yet\n").expect("writes");
        let mut map = PathMap::default();
        map.push(root.clone(), same);
        let requirements = [root.join("requirements.txt")];
        let what = Install {
            venv: &venv,
            on_host: Some(&host),
            probe: &probe,
            image: &chosen.probe,
            requirements: &requirements,
            installer: Installer::Pip,
            map: &map,
        };
        let silent = Progress::silent();
        assert_eq!(install(&Host, &what, &silent).await.expect("installs"), Installed::Now);
        assert_eq!(install(&Host, &what, &silent).await.expect("knows"), Installed::Already);
        std::fs::write(root.join("more.txt"), "# changed\n").expect("writes");
        assert_eq!(install(&Host, &what, &silent).await.expect("installs"), Installed::Now);
        std::fs::write(root.join("more.txt"), "file:///no/such/thing-1.0-py3-none-any.whl\n").expect("writes");
        let error = install(&Host, &what, &silent).await.expect_err("fails");
        assert!(error.to_string().contains("/no/such/thing-1.0"), "{error}");
        assert!(install(&Host, &Install { requirements: &[], ..what }, &silent).await.is_ok());
        let outside = [HostPath::new("/etc/hostname").expect("absolute")];
        let error = install(&Host, &Install { requirements: &outside, ..what }, &silent).await.expect_err("fails");
        assert!(matches!(error, VenvError::RequirementsOutside { .. }));
    }
}
