//! The venv at the mounted folder.

use std::io;

use serde::Deserialize;

use super::inside::{Inside, Run, capture, reason};
use super::probe::Chosen;
use super::{VenvError, within};
use crate::{ContainerPath, HostPath};

const CREATE: &str = include_str!("create.py");

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    Created,
    Reused,
    /// The image's Python is another one now, by version or by place: what was there lies at `aside` on the host.
    Replaced {
        aside: HostPath,
        version: Option<String>,
    },
}

#[derive(Deserialize)]
struct Answer {
    state: State,
    /// The version found in the folder; with `failed`, why.
    found: Option<String>,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum State {
    Created,
    Reused,
    Mismatch,
    Failed,
}

/// Makes the venv at `venv` with the image's interpreter, or finds it in order. `replacing` hears of a venv of another
/// Python before it is moved.
///
/// `on_host` is the folder that is mounted there, `None` where the host cannot reach it. A venv of
/// another Python is moved beside it (`<folder>.<version>-<n>`), never deleted.
pub async fn create(
    inside: &dyn Inside,
    chosen: &Chosen,
    venv: &ContainerPath,
    on_host: Option<&HostPath>,
    replacing: &(dyn Fn(&str) + Sync),
) -> Result<Made, VenvError> {
    let first = make(inside, chosen, venv).await?;
    match first.state {
        State::Created => return Ok(Made::Created),
        State::Reused => return Ok(Made::Reused),
        State::Mismatch => {}
        State::Failed => return Err(failed(chosen, venv, first.found.unwrap_or_default())),
    }
    let version = first.found;
    let Some(on_host) = on_host else {
        let was = version.as_deref().unwrap_or("of an unknown version");
        let reason = format!("it holds a venv of another Python ({was}) and the image has {}", chosen.probe.version);
        return Err(failed(chosen, venv, reason));
    };
    let was = named(version.as_deref());
    replacing(was);
    let aside = move_aside(on_host, was).map_err(|source| VenvError::Aside { what: on_host.to_string(), source })?;
    let second = make(inside, chosen, venv).await?;
    match second.state {
        State::Created => Ok(Made::Replaced { aside, version }),
        _ => Err(failed(chosen, venv, second.found.unwrap_or_default())),
    }
}

fn failed(chosen: &Chosen, venv: &ContainerPath, reason: String) -> VenvError {
    VenvError::Create { venv: venv.to_string(), python: chosen.python.to_string(), reason }
}

async fn make(inside: &dyn Inside, chosen: &Chosen, venv: &ContainerPath) -> Result<Answer, VenvError> {
    let run = Run::new([chosen.python.as_str(), "-B", "-c", CREATE, venv.as_str()]);
    let captured = capture(inside, &run).await?;
    let text = String::from_utf8_lossy(&captured.stdout);
    let line = text.lines().next_back().unwrap_or_default();
    serde_json::from_str(line).map_err(|_| failed(chosen, venv, reason(&captured)))
}

/// The version was read from a file that the container writes.
fn named(version: Option<&str>) -> &str {
    version.filter(|v| v.len() <= 16 && v.chars().all(|c| c.is_ascii_digit() || c == '.')).unwrap_or("unknown")
}

/// Moves the folder's contents, not the folder: it is mounted, and a mount goes where its folder goes.
fn move_aside(folder: &HostPath, version: &str) -> io::Result<HostPath> {
    let path = folder.as_path();
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = HostPath::new(parent).map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e.to_string()))?;
    let at = within::open(parent.as_path())?;
    let from = within::open_folder(&at, name)?;
    for n in 1..1000 {
        let aside = format!("{name}.{version}-{n}");
        match rustix::fs::mkdirat(&at, &aside, rustix::fs::Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                let to = within::open_folder(&at, &aside)?;
                for entry in within::names(&from)? {
                    rustix::fs::renameat(&from, &entry, &to, &entry)?;
                }
                return Ok(parent.join(aside));
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("a thousand venvs lie beside {folder}")))
}

#[cfg(test)]
mod tests {
    use super::super::inside::host::Host;
    use super::super::probe::{ask, choose};
    use super::*;

    const PYTHON: &str = "/usr/bin/python3";

    async fn chosen(python: &str) -> Chosen {
        let found = [ContainerPath::new(python).expect("a path")];
        let nowhere = ContainerPath::new("/nowhere").expect("a path");
        choose(&Host, None, &found, &nowhere).await.expect("chooses").expect("one")
    }

    async fn roots(python: &str) -> Vec<String> {
        ask(&Host, python).await.expect("asks").path.into_iter().map(|(_, real)| real).collect()
    }

    /// Both sides' names of a folder in the temporary folder.
    fn both(path: &std::path::Path) -> (ContainerPath, HostPath) {
        (ContainerPath::new(path.to_str().expect("UTF-8")).expect("a path"), HostPath::new(path).expect("absolute"))
    }

    #[tokio::test]
    async fn what_the_image_imports_the_venv_imports() {
        let temp = tempfile::tempdir().expect("a folder");
        let (venv, host) = both(&temp.path().join("v"));
        std::fs::create_dir(host.as_path()).expect("makes");
        let chosen = chosen(PYTHON).await;
        assert_eq!(create(&Host, &chosen, &venv, Some(&host), &|_| {}).await.expect("makes"), Made::Created);
        assert_eq!(create(&Host, &chosen, &venv, Some(&host), &|_| {}).await.expect("finds"), Made::Reused);
        // Somebody ran `python -m venv --upgrade` on it.
        let settings = host.join("pyvenv.cfg");
        let text = std::fs::read_to_string(settings.as_path()).expect("reads");
        let forgotten = text.replace("system-site-packages = true", "system-site-packages = false");
        assert_ne!(forgotten, text);
        std::fs::write(settings.as_path(), forgotten).expect("writes");
        assert_eq!(create(&Host, &chosen, &venv, Some(&host), &|_| {}).await.expect("finds"), Made::Reused);
        let python = format!("{venv}/bin/python");
        let image = roots(PYTHON).await;
        let ours = roots(&python).await;
        assert!(image.iter().all(|root| ours.contains(root)), "{image:?} in {ours:?}");
        assert!(ours.iter().any(|root| root.starts_with(venv.as_str())));
        assert!(host.join("bin/pip").as_path().exists());
    }

    #[tokio::test]
    async fn an_image_whose_python_is_a_venv_itself() {
        let temp = tempfile::tempdir().expect("a folder");
        let (inner, host) = both(&temp.path().join("image"));
        std::fs::create_dir(host.as_path()).expect("makes");
        create(&Host, &chosen(PYTHON).await, &inner, Some(&host), &|_| {}).await.expect("makes");
        let python = format!("{inner}/bin/python");
        let image = chosen(&python).await;
        assert!(image.probe.is_venv());
        let site = image.probe.paths["purelib"].clone().expect("known");
        std::fs::write(format!("{site}/only_in_the_image.py"), "x = 1\n").expect("writes");

        let (venv, host) = both(&temp.path().join("v"));
        std::fs::create_dir(host.as_path()).expect("makes");
        create(&Host, &image, &venv, Some(&host), &|_| {}).await.expect("makes");
        let run = Run::new([&format!("{venv}/bin/python"), "-c", "import only_in_the_image, sys; print(sys.prefix)"]);
        let got = capture(&Host, &run).await.expect("runs");
        assert_eq!(String::from_utf8_lossy(&got.stdout).trim(), venv.as_str(), "{got:?}");
        let ours = roots(&format!("{venv}/bin/python")).await;
        assert!(roots(&python).await.iter().all(|root| ours.contains(root)));
    }

    #[tokio::test]
    async fn without_the_venv_module_the_layout_is_the_same() {
        let temp = tempfile::tempdir().expect("a folder");
        let (venv, host) = both(&temp.path().join("v"));
        std::fs::create_dir(host.as_path()).expect("makes");
        let text = CREATE.replace("import venv as module", "raise ImportError('no module named venv')");
        assert_ne!(text, CREATE);
        let run = Run::new([PYTHON, "-c", &text, venv.as_str()]);
        let got = capture(&Host, &run).await.expect("runs");
        assert!(String::from_utf8_lossy(&got.stdout).contains("created"), "{got:?}");
        let probe = ask(&Host, &format!("{venv}/bin/python")).await.expect("asks");
        assert!(probe.is_venv());
        assert_eq!(probe.prefix, venv.as_str());
        let ours = roots(&format!("{venv}/bin/python")).await;
        assert!(roots(PYTHON).await.iter().all(|root| ours.contains(root)));
    }

    #[tokio::test]
    async fn another_version_is_moved_aside_and_never_deleted() {
        let temp = tempfile::tempdir().expect("a folder");
        let (venv, host) = both(&temp.path().join("v"));
        std::fs::create_dir(host.as_path()).expect("makes");
        let ino = |path: &HostPath| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).expect("stat"));
        let before = ino(&host);
        for (n, (said, named)) in [("2.7.18", "2.7.18"), ("../../x", "unknown")].into_iter().enumerate() {
            std::fs::write(host.join("pyvenv.cfg"), format!("version = {said}\n")).expect("writes");
            std::fs::write(host.join("mine"), "kept").expect("writes");
            let heard = std::sync::Mutex::new(Vec::new());
            let hear =
                |was: &str| heard.lock().expect("heard").push((was.to_owned(), host.join("mine").as_path().exists()));
            let made = create(&Host, &chosen(PYTHON).await, &venv, Some(&host), &hear).await.expect("makes");
            let Made::Replaced { aside, .. } = made else { panic!("{n}: {made:?}") };
            assert_eq!(heard.into_inner().expect("heard"), [(named.to_owned(), true)], "before it is moved");
            assert_eq!(aside.as_path(), temp.path().join(format!("v.{named}-1")));
            assert_eq!(std::fs::read_to_string(aside.join("mine")).expect("reads"), "kept");
            assert_eq!(ino(&host), before, "the mounted folder stays");
        }
    }
}
