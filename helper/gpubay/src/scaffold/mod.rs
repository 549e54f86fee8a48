//! A fresh workspace in the layout that serves best: what `gpubay init` writes.
//!
//! [`look`] finds out what is there, [`plan`] decides what is written and what is left (and is all that a dry run does),
//! [`apply`] writes. [`weigh`] alone contacts anybody: engine and registry, for how large the base is.
//!
//! **Architecture Invariant:** a file that exists is never written to, whatever it is and whoever makes it meanwhile, and
//! nothing is written outside of the workspace, wherever a link in it leads.

pub mod bases;
mod dockerfile;
mod editor;
mod folders;
mod toml_text;
mod weight;
mod write;

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::HostPath;
use crate::config::model::{Dockerfile, GpuSelection, Gpus, Image, Injection, Isolation};
use crate::config::{self, ConfigError, LoadRequest};
use crate::engine::EngineInfo;
use crate::engine::build::ignore::{Matcher, read_ignore_file};
use crate::error::Explain;
use crate::venv::hostenv;

pub use bases::Preset;
pub use editor::Style;
pub use folders::{Folder, folders};
pub use weight::{ImageWeight, Weight, weigh};
pub use write::apply;

/// What the image is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    Preset(Preset),
    /// Any other image, by its name.
    Image(String),
}

impl Base {
    pub fn image(&self) -> &str {
        match self {
            Self::Preset(preset) => preset.image(),
            Self::Image(name) => name,
        }
    }

    /// What the folder in `docker/` is called, unless said otherwise.
    fn folder(&self) -> String {
        match self {
            Self::Preset(preset) => preset.name().to_owned(),
            Self::Image(name) => {
                let last = name.rsplit('/').next().unwrap_or_default();
                let last = last.split([':', '@']).next().unwrap_or_default();
                last.to_lowercase()
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    #[error(
        "--name {0:?} is no name for a folder: letters, digits, `.`, `_` and `-` are, and it begins with one of the first two"
    )]
    Name(String),
    #[error("--base {0:?} is no name of an image")]
    Image(String),
    #[error("{path} cannot be written in the workspace: {why}")]
    Blocked { path: String, why: String },
    #[error("cannot open the workspace {workspace}: {source}")]
    Workspace { workspace: HostPath, source: std::io::Error },
    #[error("{path} could not be written: {source}")]
    Write { path: String, source: std::io::Error },
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Explain for ScaffoldError {
    fn code(&self) -> &'static str {
        use crate::error::Shortage;
        match self {
            Self::Name(_) | Self::Image(_) => "bad_value",
            Self::Blocked { .. } => "init_blocked",
            Self::Workspace { .. } => "workspace_unreadable",
            Self::Write { source, .. } => Shortage::of(source).map_or("init_write", Shortage::code),
            Self::Config(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        use crate::error::Shortage;
        match self {
            Self::Name(_) => Some("For example: gpubay init --name train".to_owned()),
            Self::Image(_) => Some("For example: gpubay init --base pytorch/pytorch:latest".to_owned()),
            Self::Blocked { .. } => Some("Nothing was written. Move what is in the way, or choose another --name.".to_owned()),
            Self::Workspace { .. } => None,
            Self::Write { source, .. } => Some(match Shortage::of(source) {
                Some(lack) => lack.hint("choose another folder with -C"),
                None => "Look at the permissions of the folder; what was written before stays, and a second `gpubay init` goes on."
                    .to_owned(),
            }),
            Self::Config(error) => error.hint(),
        }
    }
}

/// What a workspace is before anything is written.
#[derive(Clone, Debug)]
pub struct Found {
    pub workspace: HostPath,
    /// The image that `gpubay up` would take now.
    pub image: Present,
    has_toml: bool,
    venv: String,
    has_python: bool,
    /// Of [`folders`]; the front end marks those that the user wants.
    pub folders: Vec<Folder>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Present {
    Nothing,
    /// Relative to the workspace where it lies there.
    Dockerfile(String),
    /// A Dockerfile that `gpubay.toml` names and that is not there; its name in `docker/`.
    Missing(String),
    Several(Vec<String>),
    /// `[image] from`
    Image(String),
}

/// Reads what there is, and contacts nobody.
pub fn look(request: &LoadRequest<'_>) -> Result<Found, ScaffoldError> {
    // As far as it is needed to reach something, any configuration can be read.
    let (reached, _) = config::load_to_reach(request)?;
    let workspace = reached.workspace;
    let root = workspace.as_path();
    let image = match config::load(request) {
        Ok(loaded) => match loaded.config.image {
            Image::From(image) => Present::Image(image),
            Image::Build(build) => match build.dockerfile {
                Dockerfile::File(path) => Present::Dockerfile(relative(path.as_path(), root)),
                Dockerfile::Generated { .. } => Present::Nothing,
            },
        },
        Err(ConfigError::NoDockerfile { .. }) => Present::Nothing,
        Err(ConfigError::AmbiguousDockerfile { candidates }) => Present::Several(candidates),
        Err(error) => Present::Missing(missing(&workspace).ok_or(error)?),
    };
    Ok(Found {
        image,
        has_toml: root.join(config::FILE_NAME).symlink_metadata().is_ok(),
        // Beside an environment of the user's own, `up` takes another name.
        venv: hostenv::find_mount_point(&workspace, &reached.config.venv.name)
            .map_or(reached.config.venv.name, |found| found.name),
        has_python: has_python(root),
        folders: folders(&request.home, root),
        workspace,
    })
}

fn relative(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// The `name` of a `docker/<name>/Dockerfile` that the workspace's file names although it is gone.
fn missing(workspace: &HostPath) -> Option<String> {
    let path = workspace.join(config::FILE_NAME);
    let text = crate::files::read_resolved(&path, crate::files::SMALL).ok()?;
    let file = config::parse(std::str::from_utf8(&text).ok()?, &path).ok()?;
    let dockerfile = file.image.dockerfile?;
    let name = dockerfile.strip_prefix("docker/")?.strip_suffix("/Dockerfile")?;
    let gone = workspace.join(&dockerfile).as_path().symlink_metadata().is_err();
    (gone && folder_name(name)).then(|| name.to_owned())
}

/// Python code of the user's own: not in hidden folders, where environments are, and not forever.
fn has_python(root: &Path) -> bool {
    const DEPTH: usize = 4;
    const ENTRIES: usize = 20_000;
    let mut folders = vec![(root.to_path_buf(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            seen += 1;
            // Whoever has so many files does not begin.
            if seen > ENTRIES {
                return true;
            }
            let name = entry.file_name();
            let Ok(kind) = entry.file_type() else { continue };
            let path = Path::new(&name);
            if kind.is_file() && path.extension().is_some_and(|end| end == "py" || end == "ipynb") {
                return true;
            }
            let hidden = name.as_encoded_bytes().starts_with(b".");
            if kind.is_dir() && !hidden && depth < DEPTH && !entry.path().join("pyvenv.cfg").exists() {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    false
}

/// Whether this machine is one for GPUs: the engine knows, where one answers; otherwise the driver's own files tell.
/// `local` is an engine on this machine.
pub fn has_gpu(engine: Option<(&EngineInfo, bool)>) -> bool {
    let driver =
        || ["/proc/driver/nvidia/version", "/usr/lib/wsl/lib/libcuda.so.1"].iter().any(|path| Path::new(path).exists());
    let Some((info, local)) = engine else { return driver() };
    let any = Gpus { select: GpuSelection::Auto, required: false, isolation: Isolation::Hard, injection: None };
    match crate::gpu::decide(&any, info).map(|plan| plan.injection) {
        Ok(Injection::Cdi) => true,
        // A runtime is configured on machines without a driver, too.
        Ok(Injection::NvidiaRuntime) => !local || driver(),
        _ => local && driver(),
    }
}

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// `None`: what is there is kept, or nothing was there and [`Found::needs_base`] was answered with it.
    pub base: Option<Base>,
    pub name: Option<String>,
    pub style: Style,
}

/// Checks what was typed.
pub fn check(wish: &Wish) -> Result<(), ScaffoldError> {
    if let Some(name) = wish.name.as_ref().filter(|name| !folder_name(name)) {
        return Err(ScaffoldError::Name(name.clone()));
    }
    match &wish.base {
        Some(Base::Image(image)) if !image_name(image) => Err(ScaffoldError::Image(image.clone())),
        _ => Ok(()),
    }
}

fn folder_name(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// Nothing that would be more than one word of a Dockerfile, or a variable in it. The engine judges the rest.
fn image_name(image: &str) -> bool {
    image.len() <= 512
        && image.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
        && image
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@' | '[' | ']'))
}

impl Found {
    /// Whether a Dockerfile will be written, and so a base is needed, unless the user named one.
    pub fn needs_base(&self) -> bool {
        matches!(self.image, Present::Nothing | Present::Missing(_))
    }

    /// Whether mounts can be offered: they stand in a file that is not there yet.
    pub fn takes_mounts(&self) -> bool {
        !self.has_toml
    }
}

/// A file of the layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedFile {
    /// Relative to the workspace.
    pub path: String,
    pub state: State,
    /// Why it is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What would stand in it.
    #[serde(skip)]
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not there yet.
    Planned,
    Written,
    /// There already, and not touched.
    Left,
}

/// Everything that is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub files: Vec<PlannedFile>,
    /// What a new Dockerfile starts from.
    pub base: Option<Base>,
    /// Sentences on what the user has to know.
    pub notes: Vec<String>,
}

/// Decides for each file of the layout.
///
/// # Errors
/// For a wish that is none ([`check`]), and where something is in the way of a file that the others need.
pub fn plan(found: &Found, wish: &Wish) -> Result<Plan, ScaffoldError> {
    check(wish)?;
    let mut notes = Vec::new();
    let mut files = Vec::new();
    let asked = wish.base.is_some() || wish.name.is_some();
    let base = wish.base.clone().or_else(|| found.needs_base().then_some(Base::Preset(Preset::Python)));
    let base = base.or_else(|| asked.then_some(Base::Preset(Preset::Python)));
    let root = write::Root::open(&found.workspace)?;

    // The Dockerfile that gpubay.toml is to name.
    let named = match &base {
        Some(base) => {
            let of_toml = if let Present::Missing(name) = &found.image { Some(name.clone()) } else { None };
            let name = wish.name.clone().or(of_toml).unwrap_or_else(|| base.folder());
            let name = if folder_name(&name) { name } else { "dev".to_owned() };
            let path = format!("docker/{name}/Dockerfile");
            files.push(root.needed(&path, dockerfile::dockerfile(base))?);
            files.push(root.needed(dockerfile::REQUIREMENTS, dockerfile::requirements())?);
            files.push(root.needed(".dockerignore", dockerfile::dockerignore())?);
            Some(path)
        }
        None => match &found.image {
            Present::Dockerfile(path) if Path::new(path).is_relative() && ours(&found.workspace.join(path)) => {
                files.push(root.needed(path, String::new())?);
                files.push(root.needed(dockerfile::REQUIREMENTS, dockerfile::requirements())?);
                files.push(root.needed(".dockerignore", dockerfile::dockerignore())?);
                Some(path.clone())
            }
            Present::Dockerfile(path) => {
                notes.push(format!(
                    "{path} is what the image is built from; `--name` or `--base` writes another beside it"
                ));
                Some(path.clone())
            }
            Present::Image(image) => {
                notes.push(format!("the image is {image}, so there is no Dockerfile to write"));
                None
            }
            Present::Several(candidates) => {
                notes.push(format!("`gpubay up` asks which Dockerfile is meant: {}", candidates.join(", ")));
                None
            }
            Present::Nothing | Present::Missing(_) => None,
        },
    };
    let lean = base.as_ref().is_some_and(|base| !dockerfile::has_bytecode(base));
    files.push(root.needed(config::FILE_NAME, toml_text::text(named.as_deref(), lean, &found.folders))?);
    let on_save = !found.has_python;
    files.push(root.wanted(".vscode/settings.json", editor::settings(wish.style, &found.venv, on_save)));
    files.push(root.wanted(".vscode/extensions.json", editor::extensions(wish.style)));

    if let (Some(path), true) = (&named, found.has_toml)
        && !matches!(&found.image, Present::Dockerfile(current) if current == path)
        && !matches!(found.image, Present::Missing(_))
    {
        notes.push(format!(
            "gpubay.toml is yours and was left: `dockerfile = \"{path}\"` under [image] makes it use the new one"
        ));
    }
    if !on_save && files.iter().any(|file| file.path.ends_with("settings.json") && file.state == State::Planned) {
        notes.push("there is Python code already, so saving a file does not format it".to_owned());
    }
    let written = |path: &str| files.iter().any(|file| file.path == path && file.state == State::Planned);
    let base = base.filter(|_| named.as_deref().is_some_and(written));
    if base.is_some() && !written(".dockerignore") && ignores_requirements(&found.workspace) {
        notes.push(format!(
            ".dockerignore is yours and keeps {0} out of builds: without the line `!{0}` at its end the build fails",
            dockerfile::REQUIREMENTS
        ));
    }
    Ok(Plan { files, base, notes })
}

/// A Dockerfile that `gpubay init` wrote, and that copies what it wrote beside it.
fn ours(path: &HostPath) -> bool {
    crate::files::read(path.as_path(), crate::files::SMALL)
        .is_ok_and(|text| text.starts_with(dockerfile::MARK.as_bytes()))
}

/// Whether the workspace's own `.dockerignore` hides what the new Dockerfile copies.
fn ignores_requirements(workspace: &HostPath) -> bool {
    let path = workspace.join(".dockerignore");
    let Ok(text) = crate::files::read(path.as_path(), crate::files::SMALL) else { return false };
    Matcher::new(&read_ignore_file(&text)).is_ok_and(|matcher| matcher.matches(dockerfile::REQUIREMENTS))
}

#[cfg(test)]
mod tests;
