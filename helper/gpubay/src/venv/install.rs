//! Requirements into the venv, once, without replacing what the image brought.

use super::inside::{Inside, Run, Stream, capture, reason};
use super::kept::{self, Kept};
use super::probe::Probe;
use super::requirements::{self, Asked};
use super::{VenvError, within};
use crate::config::model::Installer;
use crate::progress::{Progress, StepEnd};
use crate::{ContainerPath, HostPath, PathMap};

/// In the venv; says what was installed into it last.
const STAMP: &str = ".gpubay-installed";
/// In the venv; what the image brought, in the installer's words.
const KEPT: &str = ".gpubay-kept.txt";

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

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installed {
    Nothing,
    /// The same files for the same Python were installed before.
    Already,
    /// With what a front end is to say of it.
    Now(Vec<String>),
}

/// Installs the requirements files, unless that was done with the same contents.
pub async fn install(inside: &dyn Inside, what: &Install<'_>, progress: &Progress) -> Result<Installed, VenvError> {
    if what.requirements.is_empty() {
        return Ok(Installed::Nothing);
    }
    let mut read = requirements::read(what.requirements)?;
    let asked = std::mem::take(&mut read.asked);
    // Two: what the image brings is kept.
    let stamp = format!("2-{}-{:?}-{}", what.probe.version, what.installer, read.digest());
    if known_stamp(what).as_deref() == Some(stamp.as_str()) {
        return Ok(Installed::Already);
    }
    let kept = Kept::of(what.image);
    if let Some((asked, version)) = kept.conflict(&asked) {
        return Err(conflict(asked, &version.to_string()));
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
            let (pins, _) = write_kept(inside, what, &python, kept.pins()).await?;
            let run = Run::new([&python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]);
            // Beside PIP_CONSTRAINT of the image, which pip honours itself.
            // A bar is for a terminal; through a pipe it would be lines of a log.
            let mut run = run.env("PYTHONUNBUFFERED", "1").env("PIP_PROGRESS_BAR", "off");
            run.argv.extend(["--constraint".to_owned(), pins]);
            with_files(run, &files)
        }
        Installer::Uv => {
            let (left_out, constraints) = write_kept(inside, what, &python, kept.left_out()).await?;
            let mut argv = uv(inside, &python).await?;
            argv.extend(["pip", "install", "--python", &python, "--override", &left_out].map(str::to_owned));
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
    Ok(Installed::Now(match what.installer {
        Installer::Pip => Vec::new(),
        Installer::Uv => kept::unmet(inside, &python).await,
    }))
}

fn conflict(asked: &Asked, version: &str) -> VenvError {
    VenvError::Conflict {
        place: format!("{}:{}", asked.file.display(), asked.line),
        asked: asked.text.clone(),
        name: asked.name.clone(),
        version: version.to_owned(),
    }
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

/// Writes into the venv what the installer is to keep its hands off. Returns the file, and the constraints files that
/// the image names in `PIP_CONSTRAINT`.
async fn write_kept(
    inside: &dyn Inside,
    what: &Install<'_>,
    python: &str,
    lines: String,
) -> Result<(String, Vec<String>), VenvError> {
    let path = format!("{}/{KEPT}", what.venv);
    let script = "import os, sys; t = sys.argv[1] + '.new'; open(t, 'w').write(sys.stdin.read()); \
                  os.rename(t, sys.argv[1]); print(os.environ.get('PIP_CONSTRAINT', ''))";
    let mut run = Run::new([python, "-c", script, &path]);
    run.stdin = lines.into_bytes();
    let captured = capture(inside, &run).await?;
    if captured.exit.as_code() != 0 {
        return Err(VenvError::Install { installer: "python", what: path, reason: reason(&captured) });
    }
    let constraints = String::from_utf8_lossy(&captured.stdout);
    Ok((path, constraints.split_whitespace().map(str::to_owned).collect()))
}

/// Whether other requirements were installed into the venv that lies at `on_host` than the files say now.
pub fn is_stale(on_host: &HostPath, requirements: &[HostPath]) -> bool {
    let installed = stamp_in(on_host).unwrap_or_default();
    !requirements.is_empty()
        && requirements::read(requirements).is_ok_and(|read| !installed.ends_with(&format!("-{}", read.digest())))
}

fn known_stamp(what: &Install<'_>) -> Option<String> {
    stamp_in(what.on_host?)
}

fn stamp_in(on_host: &HostPath) -> Option<String> {
    let folder = within::open(on_host.as_path()).ok()?;
    let (bytes, _) = within::read(folder, STAMP, 200).ok()??;
    String::from_utf8(bytes).ok()
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
        create::create(&Host, &chosen, &venv, Some(&host), &|_| {}).await.expect("makes");
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
        assert_eq!(install(&Host, &what, &silent).await.expect("installs"), Installed::Now(vec![]));
        assert_eq!(install(&Host, &what, &silent).await.expect("knows"), Installed::Already);
        std::fs::write(root.join("more.txt"), "# changed\n").expect("writes");
        assert_eq!(install(&Host, &what, &silent).await.expect("installs"), Installed::Now(vec![]));
        std::fs::write(root.join("more.txt"), "file:///no/such/thing-1.0-py3-none-any.whl\n").expect("writes");
        let error = install(&Host, &what, &silent).await.expect_err("fails");
        assert!(error.to_string().contains("/no/such/thing-1.0"), "{error}");
        assert!(install(&Host, &Install { requirements: &[], ..what }, &silent).await.is_ok());
        let outside = [HostPath::new("/etc/hostname").expect("absolute")];
        let error = install(&Host, &Install { requirements: &outside, ..what }, &silent).await.expect_err("fails");
        assert!(matches!(error, VenvError::RequirementsOutside { .. }));
    }
}
