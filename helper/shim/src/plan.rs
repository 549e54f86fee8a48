//! What is to run inside, from our arguments.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gpubay_protocol::paths::{ContainerPath, PathMap};

use crate::place::{Name, Place};

/// Most bytes of host files that are sent along: scripts of tools, never data.
const MOST_TEXT: u64 = 1 << 20;

/// Linux takes at most 128 KiB for one argument; a piece stays well below.
const PIECE: usize = 64 << 10;

const LOADER: &str = include_str!("loader.py");
const FOLDER_LOADER: &str = include_str!("folder.py");

/// What pip of the host runs in the environment that `pip --python` names: itself, from a folder of the host.
const PIPS_RUNNER: &str = "__pip-runner__.py";

/// All of the host's environment that goes inside. None of it is a path or a secret.
const PASSED_ENV: &[&str] = &[
    "TERM",
    "COLORTERM",
    "NO_COLOR",
    "COLUMNS",
    "LINES",
    "LANG",
    "PYTHONUNBUFFERED",
    "PYTHONIOENCODING",
    "PYTHONUTF8",
    "PYTHONWARNINGS",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHASHSEED",
    "PYTHONFAULTHANDLER",
    "CUDA_VISIBLE_DEVICES",
];

pub(crate) enum Task {
    Run(Plan),
    /// To print, without asking the container.
    Version(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<(String, Option<String>)>,
    pub(crate) cwd: Option<ContainerPath>,
    /// A tool asks the interpreter about itself: its answer is put into host terms.
    pub(crate) interrogates: bool,
    /// The arguments as far as the answer depends on them, where they hold names that differ each time.
    pub(crate) question: Option<Vec<String>>,
    /// It is uv that asks.
    pub(crate) by_uv: bool,
    /// What is asked is where a program lies, which the tool then runs: so do Ruff's and ty's extensions.
    pub(crate) wants_program: bool,
    /// It changes which packages there are.
    pub(crate) installs: bool,
}

pub(crate) fn plan(place: &Place, arguments: &[OsString]) -> Result<Task, String> {
    use std::io::IsTerminal;
    let here = std::env::current_dir().ok();
    let env = passed_env(std::env::vars_os());
    plan_at(place, arguments, here.as_deref(), env, std::io::stdout().is_terminal())
}

fn plan_at(
    place: &Place,
    arguments: &[OsString],
    here: Option<&Path>,
    env: Vec<(String, Option<String>)>,
    stdout_is_terminal: bool,
) -> Result<Task, String> {
    let map = &place.env.map;
    let at_home = here.and_then(|here| map.to_container(here));
    let paths = Paths { map, here, here_is_inside: at_home.is_some() };
    let home = || map.to_container(place.env.workspace.as_path());
    let texts: Vec<String> = arguments.iter().map(|argument| text(argument)).collect::<Result<_, _>>()?;

    if let Name::Script(name) = &place.name {
        let program = match place.env.scripts.get(name) {
            Some(elsewhere) => elsewhere.clone(),
            None => place.env.venv.join(&format!("bin/{name}")).map_err(|e| e.to_string())?,
        };
        let mut argv = vec![program.to_string()];
        argv.extend(texts.iter().map(|argument| paths.translate(argument)));
        let installs = name.starts_with("pip") && is_install(&texts);
        let cwd = at_home.or_else(home);
        return Ok(Task::Run(Plan {
            argv,
            env,
            cwd,
            interrogates: false,
            question: None,
            by_uv: false,
            wants_program: false,
            installs,
        }));
    }

    let python = place.env.python.to_string();
    let program = program(&texts);
    if let Program::Version = program {
        return Ok(Task::Version(format!("Python {}", place.env.version)));
    }
    let mut argv = vec![python];
    let mut asks = false;
    let mut question = None;
    let mut by_uv = false;
    let mut wants_program = false;
    let mut installs = texts.windows(2).any(|two| two[0].ends_with('m') && two[1] == "pip") && is_install(&texts);
    match program {
        Program::Script(at) if Path::new(&texts[at]).file_name() == Some(OsStr::new(PIPS_RUNNER)) => {
            // The container's own pip knows what the image brings, and where the venv is.
            argv.extend(texts[..at].iter().cloned());
            argv.extend(["-m".to_owned(), "pip".to_owned()]);
            argv.extend(texts[at + 1..].iter().map(|argument| paths.translate(argument)));
            installs = is_install(&texts);
        }
        Program::Script(at) => {
            argv.extend(texts[..at].iter().map(|option| paths.translate(option)));
            match paths.of_host_only(&texts[at])? {
                Some(script) => {
                    asks = true;
                    wants_program = asks_for_program(&texts[at]);
                    argv.extend(load(&paths, &script, &texts[at..])?);
                }
                None => argv.extend(texts[at..].iter().map(|argument| paths.translate(argument))),
            }
        }
        Program::Code(at) => {
            asks = true;
            // The code itself is no path, whatever it looks like.
            let one = |(n, argument): (usize, &String)| {
                if n == at { argument.clone() } else { paths.translate(argument) }
            };
            match folder_of_host(&paths, &texts[at]) {
                Some((folder, files)) => {
                    by_uv = true;
                    argv.extend(texts.iter().enumerate().take(at).map(one));
                    question = Some(asked(&argv, &folder, &files, &texts[at..]));
                    argv.push(FOLDER_LOADER.to_owned());
                    argv.push(folder);
                    argv.extend(sent(files));
                    argv.extend(texts.iter().enumerate().skip(at).map(one));
                }
                None => argv.extend(texts.iter().enumerate().map(one)),
            }
        }
        Program::Other | Program::Version => argv.extend(texts.iter().map(|argument| paths.translate(argument))),
    }
    let interrogates = asks && !stdout_is_terminal;
    // A tool that asks from elsewhere must not import the workspace's `json.py` from the working directory.
    let elsewhere = if interrogates { ContainerPath::new("/").ok() } else { home() };
    Ok(Task::Run(Plan {
        argv,
        env,
        cwd: at_home.or(elsewhere),
        interrogates,
        question,
        by_uv,
        wants_program,
        installs,
    }))
}

/// `find_ruff_binary_path.py`, `find_ty_binary_path.py`.
fn asks_for_program(script: &str) -> bool {
    let name = Path::new(script).file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.starts_with("find_") && name.ends_with("_binary_path.py")
}

/// What a Python command line runs, by the index of the argument that says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Script(usize),
    /// The index of the code after `-c`; of `-c…` itself where both are one argument.
    Code(usize),
    /// A module, stdin, the prompt, `--help`.
    Other,
    Version,
}

/// Reads options as Python does: letters in one argument, some of which take the rest or the next one.
fn program(arguments: &[String]) -> Program {
    let mut n = 0;
    while let Some(argument) = arguments.get(n) {
        match argument.as_str() {
            "--version" => return Program::Version,
            "-" => return Program::Other,
            "--check-hash-based-pycs" => n += 1,
            "--" => {
                return if n + 1 < arguments.len() { Program::Script(n + 1) } else { Program::Other };
            }
            long if long.starts_with("--") => return Program::Other,
            short if short.starts_with('-') => {
                for (at, letter) in short.char_indices().skip(1) {
                    let last = at + letter.len_utf8() == short.len();
                    match letter {
                        'c' if last && n + 1 == arguments.len() => return Program::Other,
                        'c' => return Program::Code(if last { n + 1 } else { n }),
                        'V' if short.matches('V').count() == 1 => return Program::Version,
                        // `-VV` asks for more than we know.
                        'm' | 'h' | '?' | 'V' => return Program::Other,
                        'W' | 'X' => {
                            n += usize::from(last);
                            break;
                        }
                        _ => {}
                    }
                }
            }
            _ => return Program::Script(n),
        }
        n += 1;
    }
    Program::Other
}

struct Paths<'a> {
    map: &'a PathMap,
    here: Option<&'a Path>,
    /// The working directory goes inside, so that relative paths stay true.
    here_is_inside: bool,
}

impl Paths<'_> {
    /// The argument, or what follows its `=`, in the container's terms where it is a host path of a
    /// folder that both share.
    fn translate(&self, argument: &str) -> String {
        if let Some(inside) = self.inside(argument) {
            return inside;
        }
        match argument.split_once('=') {
            Some((name, value)) => match self.inside(value) {
                Some(inside) => format!("{name}={inside}"),
                None => argument.to_owned(),
            },
            None => argument.to_owned(),
        }
    }

    fn inside(&self, text: &str) -> Option<String> {
        let path = Path::new(text);
        if path.is_absolute() {
            let literal = self.map.to_container(path);
            // Through a link of the host's; only what exists can be resolved.
            let found = literal.or_else(|| self.map.to_container(&path.canonicalize().ok()?))?;
            // A folder is often named with its slash, and some programs care.
            let slash = if text.ends_with('/') && found.as_str() != "/" { "/" } else { "" };
            return Some(format!("{found}{slash}"));
        }
        if self.here_is_inside || text.is_empty() || text.starts_with('-') {
            return None;
        }
        let absolute = self.here?.join(path).canonicalize().ok()?;
        self.map.to_container(&absolute).map(String::from)
    }

    /// The host's file, where the argument names one that the container cannot see.
    fn of_host_only(&self, argument: &str) -> Result<Option<PathBuf>, String> {
        let path = Path::new(argument);
        if self.inside(argument).is_some() || (path.is_relative() && self.here_is_inside) {
            return Ok(None);
        }
        let path = match self.here {
            Some(here) => here.join(path),
            None => path.to_owned(),
        };
        let Ok(metadata) = std::fs::metadata(&path) else { return Ok(None) };
        if !metadata.is_file() {
            return Err(format!(
                "{} lies outside everything that the container sees; mount its folder to run it",
                path.display()
            ));
        }
        Ok(Some(path))
    }
}

/// The arguments that make Python run a host's script: the loader, the script's text and that of every
/// other host script that it is given, and the script's own arguments.
fn load(paths: &Paths<'_>, script: &Path, arguments: &[String]) -> Result<Vec<String>, String> {
    let mut left = MOST_TEXT;
    let mut files = vec![(arguments[0].clone(), read(script, &mut left)?)];
    for argument in &arguments[1..] {
        let is_script = Path::new(argument).extension() == Some(OsStr::new("py")) && Path::new(argument).is_absolute();
        if is_script && let Ok(Some(path)) = paths.of_host_only(argument) {
            files.push((argument.clone(), read(&path, &mut left)?));
        }
    }
    let mut argv = vec!["-c".to_owned(), LOADER.to_owned()];
    argv.extend(sent(files));
    argv.push(arguments[0].clone());
    argv.extend(arguments[1..].iter().map(|argument| paths.translate(argument)));
    Ok(argv)
}

/// Paths and texts as the loaders read them.
fn sent(files: Vec<(String, String)>) -> Vec<String> {
    let mut argv = vec![files.len().to_string()];
    for (path, text) in files {
        let pieces = pieces(&text);
        argv.extend([path, pieces.len().to_string()]);
        argv.extend(pieces);
    }
    argv
}

/// A folder, and the paths and texts of the modules in it.
type Modules = (String, Vec<(String, String)>);

/// The folder that uv's question puts on `sys.path` to import its own modules from, where only the host has it, and these
/// modules. uv makes such a folder for its question: few files, and nothing else in it. What looks like more is not read
/// to its end, and nothing of it is sent: the code then runs as any other does.
fn folder_of_host(paths: &Paths<'_>, code: &str) -> Option<Modules> {
    const MOST_FILES: usize = 64;
    const MOST_FOLDERS: usize = 32;
    const MOST_ENTRIES: usize = 1024;
    const DEEPEST: usize = 4;
    // Of anybody else's code a path in quotes says nothing: `"/".join(sys.path)`.
    let folder = (crate::asker::is_uv(code) && code.contains("sys.path")).then(|| quoted_folder(code)).flatten()?;
    if paths.inside(folder).is_some() {
        return None;
    }
    let (mut left, mut visited, mut seen) = (MOST_TEXT, 0, 0);
    let mut files = Vec::new();
    let mut folders = vec![(PathBuf::from(folder), 0)];
    while let Some((at, depth)) = folders.pop() {
        visited += 1;
        if visited > MOST_FOLDERS || depth > DEEPEST {
            return None;
        }
        for entry in std::fs::read_dir(&at).ok()? {
            let entry = entry.ok()?;
            seen += 1;
            if seen > MOST_ENTRIES {
                return None;
            }
            // No links: they lead to what nobody meant to send.
            let kind = entry.file_type().ok()?;
            let path = entry.path();
            if kind.is_dir() {
                folders.push((path, depth + 1));
            } else if kind.is_file() && path.extension() == Some(OsStr::new("py")) {
                if files.len() == MOST_FILES {
                    return None;
                }
                let name = path.strip_prefix(folder).ok()?.to_str()?;
                files.push((name.to_owned(), read(&path, &mut left).ok()?));
            }
        }
    }
    files.sort();
    (!files.is_empty()).then(|| (folder.to_owned(), files))
}

/// The first absolute path between double quotes.
fn quoted_folder(code: &str) -> Option<&str> {
    let begin = code.find("\"/")? + 1;
    let end = begin + code[begin..].find('"')?;
    Some(&code[begin..end])
}

/// For the cache: the same question from another folder is the same.
fn asked(before: &[String], folder: &str, files: &[(String, String)], rest: &[String]) -> Vec<String> {
    let mut all = before.to_vec();
    all.extend(rest.iter().map(|argument| argument.replace(folder, "<folder>")));
    all.extend(files.iter().flat_map(|(path, text)| [path.clone(), text.clone()]));
    all
}

/// pip's arguments, or those of a Python that runs it.
fn is_install(arguments: &[String]) -> bool {
    arguments.iter().any(|argument| matches!(argument.as_str(), "install" | "uninstall"))
}

fn read(path: &Path, left: &mut u64) -> Result<String, String> {
    let shown = path.display();
    let size = std::fs::metadata(path).map_err(|e| format!("{shown} cannot be read: {e}"))?.len();
    *left = left.checked_sub(size).ok_or_else(|| {
        format!("{shown} lies outside everything that the container sees and is too large to be sent (over 1 MB)")
    })?;
    let text = std::fs::read_to_string(path).map_err(|e| format!("{shown} cannot be sent: {e}"))?;
    if text.contains('\0') {
        return Err(format!("{shown} cannot be sent: it is no Python source"));
    }
    Ok(text)
}

fn pieces(mut text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let most = PIECE.min(text.len());
        let end = (0..=most).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(most);
        let (piece, rest) = text.split_at(end);
        pieces.push(piece.to_owned());
        text = rest;
    }
    pieces
}

fn text(argument: &OsStr) -> Result<String, String> {
    argument.to_str().map(str::to_owned).ok_or_else(|| format!("the argument {} is not UTF-8", argument.display()))
}

fn passed_env(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<(String, Option<String>)> {
    let wanted = |name: &str| PASSED_ENV.contains(&name) || name.starts_with("LC_");
    let mut env: Vec<(String, Option<String>)> = all
        .filter(|(_, value)| !value.as_bytes().is_empty())
        .filter_map(|(name, value)| Some((name.into_string().ok()?, Some(value.into_string().ok()?))))
        .filter(|(name, _)| wanted(name))
        .collect();
    env.sort();
    env
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

#[cfg(test)]
pub(crate) use tests::test_place;
