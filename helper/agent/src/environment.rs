//! The environment that programs get: the container's own, and on top what the ENTRYPOINT left.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use gpubay_protocol::agent::{
    CHOICE_LIMIT, CUDA_VISIBLE_DEVICES, DRIVER_LIBRARIES, Entrypoint, GpuChoice, LD_LIBRARY_PATH, WSL_LIBRARIES,
    with_folder,
};

pub(crate) type Variables = BTreeMap<OsString, OsString>;

/// What a shell sets for itself on the way, which is no message to anybody.
const SHELLS_OWN: &[&str] = &["_", "OLDPWD", "PWD", "SHLVL"];

/// See [`gpubay_protocol::agent::CHOICE_NAME`].
const CHOICE_PATH: &str = "/.gpubay/run/gpus";

/// Where `PATH` is not set, as execvp has it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Shared by all conversations; waits for the ENTRYPOINT where it must be known.
#[derive(Clone)]
pub(crate) struct Environment(Arc<(Mutex<State>, Condvar)>);

struct State {
    variables: Arc<Variables>,
    entrypoint: Entrypoint,
}

impl Environment {
    pub(crate) fn new(variables: Variables, entrypoint: Entrypoint) -> Self {
        Self(Arc::new((Mutex::new(State { variables: Arc::new(variables), entrypoint }), Condvar::new())))
    }

    pub(crate) fn own() -> Variables {
        std::env::vars_os().collect()
    }

    pub(crate) fn entrypoint(&self) -> Entrypoint {
        self.0.0.lock().expect("no holder panics").entrypoint.clone()
    }

    /// Waits while the ENTRYPOINT runs.
    pub(crate) fn known(&self) -> (Arc<Variables>, Entrypoint) {
        let mut state = self.0.0.lock().expect("no holder panics");
        while state.entrypoint == Entrypoint::Running {
            state = self.0.1.wait(state).expect("no holder panics");
        }
        (Arc::clone(&state.variables), state.entrypoint.clone())
    }

    /// What a program that starts now gets: [`Environment::known`], with the GPUs that are selected now.
    pub(crate) fn now(&self) -> (Variables, Entrypoint) {
        let (variables, entrypoint) = self.known();
        let mut variables = Variables::clone(&variables);
        if let Some(choice) = choice(Path::new(CHOICE_PATH)) {
            variables.insert(CUDA_VISIBLE_DEVICES.into(), choice.visible.join(",").into());
        }
        (variables, entrypoint)
    }

    /// Waits while the ENTRYPOINT runs, at most so long.
    pub(crate) fn wait(&self, at_most: std::time::Duration) {
        let state = self.0.0.lock().expect("no holder panics");
        drop(self.0.1.wait_timeout_while(state, at_most, |state| state.entrypoint == Entrypoint::Running));
    }

    /// The ENTRYPOINT's end. `left`: its environment, where it told it.
    pub(crate) fn settle(&self, left: Option<Variables>, fate: impl FnOnce(u32) -> Entrypoint) {
        let mut state = self.0.0.lock().expect("no holder panics");
        let mut changed = 0;
        if let Some(mut left) = left {
            for name in SHELLS_OWN {
                left.remove(OsStr::new(name));
                if let Some(value) = state.variables.get(OsStr::new(name)) {
                    left.insert(name.into(), value.clone());
                }
            }
            keep_the_driver(&state.variables, &mut left);
            let before = &state.variables;
            let set = left.iter().filter(|(name, value)| before.get(*name) != Some(value)).count();
            let removed = before.keys().filter(|name| !left.contains_key(*name)).count();
            changed = (set + removed) as u32;
            state.variables = Arc::new(left);
        }
        state.entrypoint = fate(changed);
        self.0.1.notify_all();
    }
}

/// Where the loader finds the driver's libraries that the helper mounted, whatever else an ENTRYPOINT wants of it.
fn keep_the_driver(before: &Variables, after: &mut Variables) {
    let list = |variables: &Variables| {
        variables.get(OsStr::new(LD_LIBRARY_PATH)).and_then(|list| list.to_str()).unwrap_or_default().to_owned()
    };
    let is_last = |folder: &&&str| list(before).rsplit(':').next() == Some(**folder);
    if let Some(folder) = [DRIVER_LIBRARIES, WSL_LIBRARIES].iter().find(is_last) {
        let kept = with_folder(&list(after), folder);
        after.insert(LD_LIBRARY_PATH.into(), kept.into());
    }
}

/// The helper writes it; anybody in here could put something else there, which must not make us wait.
fn choice(path: &Path) -> Option<GpuChoice> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    file.take(CHOICE_LIMIT).read_to_string(&mut text).ok()?;
    GpuChoice::read(&text)
}

/// `NAME=value`, each ended by a NUL byte.
pub(crate) fn to_bytes(variables: &Variables) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in variables {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'=');
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
    }
    bytes
}

pub(crate) fn from_bytes(bytes: &[u8]) -> Variables {
    bytes
        .split(|&b| b == 0)
        .filter_map(|line| {
            // A name may begin with `=` (as on other systems), never be empty.
            let cut = 1 + line.get(1..)?.iter().position(|&b| b == b'=')?;
            Some((OsString::from_vec(line[..cut].to_vec()), OsString::from_vec(line[cut + 1..].to_vec())))
        })
        .collect()
}

/// What root's programs get in a container of another user: nothing that this user could have prepared. A
/// program named `ls` in the venv, or in any folder of `PATH` that others can write, would run as root.
pub(crate) fn for_root(mut variables: Variables) -> Variables {
    let kept: Vec<PathBuf> = search_path(&variables).filter(|folder| only_root_writes(folder)).collect();
    let path = std::env::join_paths(kept).ok().filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT_PATH.into());
    variables.insert("PATH".into(), path);
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let home = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2) == Some(&"0")).then(|| fields.get(5).copied()).flatten().filter(|home| home.starts_with('/'))
    });
    variables.insert("HOME".into(), home.unwrap_or("/root").into());
    variables.insert("USER".into(), "root".into());
    // The user's own, and what a shell would write or read there.
    for name in ["VIRTUAL_ENV", "LOGNAME", "HISTFILE", "HF_TOKEN_PATH", "ENV", "BASH_ENV", "PYTHONSTARTUP"] {
        variables.remove(OsStr::new(name));
    }
    variables
}

/// Nobody but root can put something into `folder`, or another folder in its place.
fn only_root_writes(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    // Where links lead is what counts; a folder that is not there yet could be anybody's.
    let Ok(real) = folder.canonicalize() else { return false };
    folder.is_absolute()
        && real.ancestors().all(|at| {
            std::fs::metadata(at).is_ok_and(|meta| {
                meta.uid() == 0 && (meta.mode() & 0o022 == 0 || at != real && meta.mode() & 0o1000 != 0)
            })
        })
}

pub(crate) fn search_path(variables: &Variables) -> impl Iterator<Item = PathBuf> {
    let path = variables.get(OsStr::new("PATH")).filter(|p| !p.is_empty()).cloned();
    let path = path.unwrap_or_else(|| DEFAULT_PATH.into());
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

/// Why a program cannot be run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    NotFound,
    NotExecutable,
}

/// What execvp would run, from `cwd`.
pub(crate) fn find_program(name: &OsStr, variables: &Variables, cwd: &Path) -> Result<PathBuf, Unfit> {
    let check = |path: &Path| match std::fs::metadata(path) {
        Ok(meta) if meta.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() => Ok(()),
        Ok(_) => Err(Unfit::NotExecutable),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Err(Unfit::NotExecutable),
        Err(_) => Err(Unfit::NotFound),
    };
    if name.as_bytes().contains(&b'/') {
        let path = cwd.join(name);
        return check(&path).map(|()| path);
    }
    let mut worst = Unfit::NotFound;
    if name.is_empty() {
        return Err(worst);
    }
    for folder in search_path(variables) {
        let path = cwd.join(folder).join(name);
        match check(&path) {
            Ok(()) => return Ok(path),
            Err(Unfit::NotExecutable) => worst = Unfit::NotExecutable,
            Err(Unfit::NotFound) => {}
        }
    }
    Err(worst)
}

/// Whether this is a regular file with an executable bit that counts for us.
pub(crate) fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_variables_survive() {
        let bytes = b"A=b=c\0EMPTY=\0LINES=x\ny\0RAW=\xff\0";
        let variables = from_bytes(bytes);
        assert_eq!(variables.len(), 4);
        assert_eq!(variables[OsStr::new("A")], "b=c");
        assert_eq!(variables[OsStr::new("EMPTY")], "");
        assert_eq!(variables[OsStr::new("LINES")], "x\ny");
        assert_eq!(from_bytes(&to_bytes(&variables)), variables);
        assert!(from_bytes(b"\0=\0x\0").is_empty());
    }

    #[test]
    fn root_runs_nothing_that_another_could_have_put_there() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).expect("opened");
        let path = format!("{}:bin::/nonexistent:/usr/bin", folder.path().display());
        let given = format!("PATH={path}\0HOME=/home/ada\0VIRTUAL_ENV=/v\0HISTFILE=/home/ada/h\0A=1\0");
        let left = for_root(from_bytes(given.as_bytes()));
        assert_eq!(left[OsStr::new("PATH")], "/usr/bin");
        assert_ne!(left[OsStr::new("HOME")], "/home/ada");
        assert_eq!(left[OsStr::new("A")], "1");
        assert!(!left.contains_key(OsStr::new("VIRTUAL_ENV")) && !left.contains_key(OsStr::new("HISTFILE")));
        let nothing = for_root(from_bytes(b"PATH=/nonexistent\0"));
        assert_eq!(nothing[OsStr::new("PATH")], DEFAULT_PATH);
    }

    #[test]
    fn gpus_are_selected_by_a_plain_file_only() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("gpus");
        assert_eq!(choice(&path), None);
        let visible = vec!["GPU-a".into(), "GPU-b".into()];
        let inside = "0=GPU-a,1=GPU-b".to_owned();
        let chosen = GpuChoice { visible, asked: "2".into(), explicit: true, inside };
        std::fs::write(&path, chosen.written()).expect("written");
        assert_eq!(choice(&path), Some(chosen));
        let none = GpuChoice { asked: "none".into(), ..GpuChoice::default() };
        std::fs::write(&path, none.written()).expect("written");
        assert_eq!(choice(&path), Some(none), "nothing at all is a choice");
        for nonsense in ["", "GPU-a", "GPU-a\nperhaps\nauto\n\n", "GPU-a\0b\nasked\nauto\n\n", "0\nasked\nauto\n\n"] {
            std::fs::write(&path, nonsense).expect("written");
            assert_eq!(choice(&path), None, "{nonsense:?}");
        }
        std::fs::remove_file(&path).expect("removed");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a pipe");
        assert_eq!(choice(&path), None, "and nobody waits for its writer");
    }

    #[test]
    fn a_shells_own_variables_are_no_change() {
        let env = Environment::new(from_bytes(b"A=1\0B=2\0PWD=/app\0"), Entrypoint::Running);
        env.settle(Some(from_bytes(b"A=1\0C=3\0PWD=/\0SHLVL=1\0_=x\0")), |changed| Entrypoint::Learned { changed });
        let (variables, fate) = env.known();
        assert_eq!(fate, Entrypoint::Learned { changed: 2 });
        assert_eq!(*variables, from_bytes(b"A=1\0C=3\0PWD=/app\0"));
    }

    #[test]
    fn no_entrypoint_hides_the_driver_from_the_loader() {
        let after = |made: &str, left: &str| {
            let variable = |list: &str| from_bytes(format!("{list}\0").as_bytes());
            let env = Environment::new(variable(made), Entrypoint::Running);
            env.settle(Some(variable(left)), |changed| Entrypoint::Learned { changed });
            let list = env.known().0.get(OsStr::new(LD_LIBRARY_PATH)).cloned();
            list.map(|list| list.to_string_lossy().into_owned())
        };
        let given = "LD_LIBRARY_PATH=/image:/usr/local/nvidia/lib64";
        for (left, want) in [
            ("LD_LIBRARY_PATH=/entry", "/entry:/usr/local/nvidia/lib64"),
            ("LD_LIBRARY_PATH=/usr/local/nvidia/lib64:/entry:", "/usr/local/nvidia/lib64:/entry"),
            ("A=1", "/usr/local/nvidia/lib64"),
        ] {
            assert_eq!(after(given, left).as_deref(), Some(want), "{left}");
        }
        // Where the helper gave none, the folders are the image's business.
        assert_eq!(
            after("LD_LIBRARY_PATH=/usr/local/nvidia/lib64:/image", "LD_LIBRARY_PATH=/entry").as_deref(),
            Some("/entry")
        );
        assert_eq!(after("A=1", "B=1"), None);
    }

    #[test]
    fn programs_are_found_as_execvp_does() {
        let path = from_bytes(b"PATH=/nonexistent:/bin\0");
        let cwd = Path::new("/");
        assert_eq!(find_program("sh".as_ref(), &path, cwd), Ok("/bin/sh".into()));
        assert_eq!(find_program("bin/sh".as_ref(), &path, cwd), Ok("/bin/sh".into()));
        assert_eq!(find_program("sh-not".as_ref(), &path, cwd), Err(Unfit::NotFound));
        assert_eq!(find_program("/etc/passwd".as_ref(), &path, cwd), Err(Unfit::NotExecutable));
        assert_eq!(find_program("/etc".as_ref(), &path, cwd), Err(Unfit::NotExecutable));
    }
}
