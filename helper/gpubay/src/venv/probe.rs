//! Which interpreter the image has, and what it says of itself.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::VenvError;
use super::inside::{Inside, Run, capture, reason};
use crate::ContainerPath;
use gpubay_protocol::agent::Closed;

const PROBE: &str = include_str!("probe.py");

/// Where interpreters are looked for after `PATH`, in this order; for the agent's `FindPython`.
pub const PLACES: &[&str] = &[
    "/opt/conda/bin",
    "/opt/conda/envs/*/bin",
    "/opt/venv/bin",
    "/venv/bin",
    "/app/venv/bin",
    "/miniconda/envs/*/bin",
    "/miniconda/bin",
    "/miniconda3/envs/*/bin",
    "/miniconda3/bin",
    "/opt/miniconda3/envs/*/bin",
    "/opt/miniconda3/bin",
    "/root/miniconda3/envs/*/bin",
    "/root/miniconda3/bin",
    "/usr/local/bin",
    "/usr/bin",
];

/// What an interpreter says of itself. Everything in it comes from the container.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Probe {
    /// As `3.12.7`.
    pub version: String,
    pub implementation: String,
    pub executable: String,
    pub prefix: String,
    pub base_prefix: String,
    /// Folders of `sys.path` that exist, each with where it really is (links resolved).
    pub path: Vec<(String, String)>,
    /// Entries of `sys.path` that are files: zipped eggs and the like.
    pub archives: Vec<String>,
    pub site_packages: Vec<String>,
    pub user_site: Option<String>,
    /// Name and path of programs that belong to what it imports: beside the user site, and beside itself.
    pub image_scripts: Vec<(String, String)>,
    /// `stdlib`, `platstdlib`, `purelib`, `platlib`.
    pub paths: BTreeMap<String, Option<String>>,
    /// What import hooks of editable installs serve, as folders; with where they really are.
    pub editable: Vec<(String, String)>,
    /// What such hooks serve that no folder can say: a module whose folder has another name.
    pub unsaid: Vec<String>,
    /// Name and version of every distribution that can be imported.
    pub distributions: Vec<(String, String)>,
    pub conda: bool,
    pub has_venv: bool,
    pub has_ensurepip: bool,
    pub has_pip: bool,
}

impl Probe {
    /// It is a virtual environment itself, so that another one made from it reaches only its base.
    pub fn is_venv(&self) -> bool {
        self.prefix != self.base_prefix
    }

    /// As `3.12`; `None` where the container said something else.
    pub fn minor(&self) -> Option<String> {
        minor(&self.version)
    }
}

/// `3.12` of `3.12.7`; `None` for anything that is not a version: it becomes part of a path.
pub fn minor(version: &str) -> Option<String> {
    let mut parts = version.split('.');
    let mut next = || parts.next()?.parse::<u8>().ok();
    Some(format!("{}.{}", next()?, next()?))
}

/// Asks one interpreter about itself.
///
/// Neither `-I` nor `-E`: the user site and the image's `PYTHONPATH` are part of what it imports from.
pub async fn ask(inside: &dyn Inside, python: &str) -> Result<Probe, VenvError> {
    let broken = |reason: String| VenvError::Probe { python: python.to_owned(), reason };
    let run = Run::new([python, "-B", "-c", PROBE]);
    let captured = capture(inside, &run).await?;
    if captured.exit.as_code() != 0 {
        return Err(broken(reason(&captured)));
    }
    // Some images print from `sitecustomize`; the answer is the last line.
    let text = String::from_utf8_lossy(&captured.stdout);
    let line = text.lines().next_back().unwrap_or_default();
    let probe: Probe = serde_json::from_str(line).map_err(|e| broken(format!("its answer is unreadable: {e}")))?;
    if probe.minor().is_none() {
        return Err(broken(format!("its version is {:?}", probe.version)));
    }
    Ok(probe)
}

/// What a user is to know of a folder of `PATH` that is closed to them.
pub fn closed(closed: &Closed, user: &str) -> String {
    let Closed { folder, barrier } = closed;
    let why =
        if folder == barrier { String::new() } else { format!(", since {barrier} is closed to others than its owner") };
    format!(
        "the image's PATH names {folder}, which the container's user ({user}) cannot enter{why}: what is installed there is \
         not found; `RUN chmod o+rx {barrier}` in the Dockerfile opens it, or install it elsewhere, under /opt say"
    )
}

/// The image's interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    pub python: ContainerPath,
    pub probe: Probe,
    /// Interpreters that came first and do not run, each with why; a front end says so.
    pub passed_over: Vec<String>,
    /// Those that come after it, in the order of preference.
    pub others: Vec<ContainerPath>,
}

impl Chosen {
    /// Which of several was taken; `None` where there was no choice. What a virtual environment was made from is no
    /// other Python.
    pub fn choice(&self) -> Option<String> {
        let base = ContainerPath::new(&self.probe.base_prefix).and_then(|prefix| prefix.join("bin")).ok();
        let is_base = |other: &ContainerPath| base.as_ref().is_some_and(|base| other.below(base).is_some());
        let others: Vec<&str> =
            self.others.iter().filter(|other| !is_base(other)).map(ContainerPath::as_str).take(6).collect();
        (!others.is_empty()).then(|| {
            format!(
                "the image has several Pythons: {} ({}) is used, not {}; `python` under [venv] chooses another",
                self.python,
                self.probe.version,
                others.join(", ")
            )
        })
    }
}

/// There is none that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoPython {
    /// Those that are there, each with why it does not.
    pub passed_over: Vec<String>,
}

/// The first of `found` that runs, which has `PATH` first and then [`PLACES`]; the venv's own does
/// not count, since it is made from what is chosen here.
///
/// # Errors
/// Only for `wanted` (`venv.python`): what the user named must run. And where nothing can be run at all.
pub async fn choose(
    inside: &dyn Inside,
    wanted: Option<&str>,
    found: &[ContainerPath],
    venv: &ContainerPath,
) -> Result<Result<Chosen, NoPython>, VenvError> {
    if let Some(wanted) = wanted {
        let probe = ask(inside, wanted).await.map_err(|error| match error {
            VenvError::Probe { reason, .. } => VenvError::Wanted {
                python: wanted.to_owned(),
                reason,
                found: found.iter().filter(|python| python.below(venv).is_none()).take(6).cloned().collect(),
            },
            other => other,
        })?;
        let python = ContainerPath::new(&probe.executable)
            .map_err(|e| VenvError::Probe { python: wanted.to_owned(), reason: e.to_string() })?;
        return Ok(Ok(Chosen { python, probe, passed_over: Vec::new(), others: Vec::new() }));
    }
    let mut passed_over = Vec::new();
    let mut left = found.iter().filter(|python| python.below(venv).is_none());
    while let Some(python) = left.next() {
        match ask(inside, python.as_str()).await {
            Ok(probe) => {
                let others = left.cloned().collect();
                return Ok(Ok(Chosen { python: python.clone(), probe, passed_over, others }));
            }
            Err(error @ VenvError::Probe { .. }) => passed_over.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(Err(NoPython { passed_over }))
}

#[cfg(test)]
mod tests {
    use super::super::inside::host::Host;
    use super::*;

    fn container(path: &str) -> ContainerPath {
        ContainerPath::new(path).expect("a container path")
    }

    #[tokio::test]
    async fn a_real_python_describes_itself() {
        let probe = ask(&Host, "/usr/bin/python3").await.expect("probes");
        assert!(probe.version.starts_with("3."), "{probe:?}");
        assert!(probe.path.iter().any(|(path, _)| path.contains("/python3")), "{probe:?}");
        assert!(probe.path.iter().all(|(path, real)| path.starts_with('/') && real.starts_with('/')));
        assert!(!probe.is_venv());
    }

    #[tokio::test]
    async fn the_first_that_runs_is_chosen_and_never_the_venvs_own() {
        let temp = tempfile::tempdir().expect("a folder");
        let broken = temp.path().join("python");
        std::fs::write(&broken, "#!/bin/sh\necho no such thing >&2; exit 3\n").expect("writes");
        std::fs::set_permissions(&broken, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
        let broken = container(broken.to_str().expect("UTF-8"));
        let found = [container("/ws/.venv/bin/python"), broken, container("/usr/bin/python3")];
        let chosen = choose(&Host, None, &found, &container("/ws/.venv")).await.expect("chooses").expect("one");
        assert_eq!(chosen.python, container("/usr/bin/python3"));
        assert!(chosen.passed_over[0].contains("no such thing"), "{:?}", chosen.passed_over);
        assert_eq!(chosen.choice(), None);
        let several = [found[2].clone(), container("/usr/bin/python3.9"), container("/opt/conda/bin/python")];
        let chosen = choose(&Host, None, &several, &container("/ws/.venv")).await.expect("chooses").expect("one");
        let choice = chosen.choice().expect("a choice");
        assert!(choice.contains("/usr/bin/python3 (3.") && choice.contains("not /opt/conda/bin/python;"), "{choice}");
        assert_eq!(choose(&Host, None, &[], &container("/v")).await.expect("no error"), Err(NoPython::default()));
        let none = choose(&Host, None, &found[..2], &container("/ws/.venv")).await.expect("no error");
        assert!(none.expect_err("none runs").passed_over[0].contains("no such thing"));
        let error = choose(&Host, Some(found[1].as_str()), &found, &container("/v")).await.expect_err("must run");
        assert!(error.to_string().contains("no such thing"));
    }

    /// What the probe says with `files` in a folder of `PYTHONPATH`; `{src}` in them is another folder.
    async fn with_hooks(files: &[(&str, &str)]) -> (Probe, String) {
        let temp = tempfile::tempdir().expect("a folder");
        let (site, src) = (temp.path().join("site"), temp.path().join("src"));
        std::fs::create_dir_all(src.join("deep")).expect("makes");
        std::fs::create_dir_all(&site).expect("makes");
        let src = src.to_str().expect("UTF-8").to_owned();
        for (name, text) in files {
            std::fs::write(site.join(name), text.replace("{src}", &src)).expect("writes");
        }
        let run = Run::new(["/usr/bin/python3", "-c", PROBE]).env("PYTHONPATH", site.to_str().expect("UTF-8"));
        let captured = capture(&Host, &run).await.expect("runs");
        (serde_json::from_slice(&captured.stdout).expect("parses"), src)
    }

    #[tokio::test]
    async fn every_kind_of_editable_hook_is_read_and_none_is_run() {
        let canary = "open('{src}/canary', 'w')\n";
        let (probe, src) = with_hooks(&[
            ("__editable___flat_1_finder.py", &format!("{canary}MAPPING = {{'flat': '{{src}}/flat', 'one': '{{src}}/deep/one.py'}}\n")),
            ("__editable___ns_1_finder.py", "MAPPING: dict[str, str] = {'ns.a': '{src}/deep/ns/a'}\nNAMESPACES: dict[str, list[str]] = {'ns': ['{src}/deep/ns']}\n"),
            ("__editable___moved_1_finder.py", "MAPPING = {'moved': '{src}/python'}\nNAMESPACES = {}\n"),
            ("_scikit_editable.py", "def install(a, b): pass\ninstall({'sk': '{src}/sk/__init__.py', 'sk.x': '{src}/sk/x.py'}, {'sk._c': 'sk/_c.so'})\n"),
            ("_meson_editable_loader.py", "def install(*a): pass\ninstall('m', {'m'}, '/build', [], False)\n"),
            ("__editable___broken_1_finder.py", "MAPPING = {'x': \n"),
            ("__editable___odd_1_finder.py", "MAPPING = {1: 2, 'y': [3], 'z': exit(3)}\nNAMESPACES = {7: None, 'q': 'q'}\n"),
        ])
        .await;
        let editable: Vec<&str> = probe.editable.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(editable, [&src, &format!("{src}/deep")]);
        assert!(!std::path::Path::new(&format!("{src}/canary")).exists());
        let unsaid = [
            "__editable___broken_1_finder.py".to_owned(),
            format!("moved ({src}/python)"),
            "q (q)".to_owned(),
            "_meson_editable_loader.py".to_owned(),
        ];
        assert_eq!(probe.unsaid, unsaid);
    }

    #[tokio::test]
    async fn editable_hooks_become_folders() {
        let temp = tempfile::tempdir().expect("a folder");
        let site = temp.path().join("site");
        let src = temp.path().join("src");
        std::fs::create_dir_all(src.join("mine/deep")).expect("makes");
        std::fs::create_dir_all(&site).expect("makes");
        let text = format!(
            "from __future__ import annotations\nMAPPING: dict[str, str] = {{'mine': {:?}, 'renamed': {:?}}}\nNAMESPACES = {{}}\nraise SystemExit('never run')\n",
            src.join("mine"),
            src.join("other"),
        );
        std::fs::write(site.join("__editable___mine_1_0_finder.py"), text).expect("writes");
        let run = Run::new(["/usr/bin/python3", "-c", PROBE]).env("PYTHONPATH", site.to_str().expect("UTF-8"));
        let captured = capture(&Host, &run).await.expect("runs");
        let probe: Probe = serde_json::from_slice(&captured.stdout).expect("parses");
        let editable: Vec<&str> = probe.editable.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(editable, [src.to_str().expect("UTF-8")]);
    }

    #[test]
    fn a_version_is_numbers_only() {
        assert_eq!(minor("3.12.7").as_deref(), Some("3.12"));
        for bad in ["", "3", "3.x", "../../x", "3./x.1", "3.12/.."] {
            assert!(minor(bad).is_none() || !minor(bad).expect("some").contains('/'), "{bad}");
        }
        assert_eq!(minor("3.12/../.."), None);
    }
}
