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
mod recipe;
mod survey;
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
use crate::registry::Name;
use crate::venv::hostenv;

use survey::{Survey, ours, survey};

pub use bases::Preset;
pub use editor::Style;
pub use folders::{Folder, folders};
pub use recipe::CudaBase;
pub use weight::{ImageWeight, Weight, weigh};
pub use write::apply;

/// What the image is built from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    Preset(Preset),
    /// Any other image, by its name as it was typed.
    Image(String),
    /// One of NVIDIA's, or a recipe for it: what [`plan`] makes of its name.
    Cuda(CudaBase),
}

impl Base {
    pub fn image(&self) -> &str {
        match self {
            Self::Preset(preset) => preset.image(),
            Self::Image(name) => name,
            Self::Cuda(base) => &base.image,
        }
    }

    /// As it is written into a Dockerfile.
    fn resolved(self) -> Result<Self, ScaffoldError> {
        match self {
            Self::Image(name) => Ok(CudaBase::of(&name)?.map_or(Self::Image(name), Self::Cuda)),
            other => Ok(other),
        }
    }

    /// What the folder in `docker/` is called, unless said otherwise.
    fn folder(&self) -> String {
        match self {
            Self::Preset(preset) => preset.name().to_owned(),
            Self::Cuda(_) => "cuda".to_owned(),
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
    #[error("{0:?} is no name of an image")]
    Image(String),
    #[error("{0:?} is no name of an image: that of a repository has no capital letters")]
    Capitals(String),
    #[error("{0:?} is a version and no image")]
    OnlyVersion(String),
    #[error("{typed:?} says no version of CUDA{}", if .these.is_empty() { String::new() } else { format!(" to the second number; there are {}", .these.join(", ")) })]
    CudaVersion { typed: String, these: Vec<String> },
    #[error("{typed:?}: no such tag of nvidia/cuda is known here, only {known}")]
    CudaUnknown { typed: String, known: String, nearest: String },
    #[error("{typed:?}: there is no CUDA {major} here; there are {known}")]
    NoSuchCuda { typed: String, major: String, known: String },
    #[error("{typed:?}: NVIDIA has deleted its images of it, and there is no recipe for one; there are for {known}")]
    CudaGone { typed: String, known: String },
    #[error("{0:?} is no flavour of a CUDA image: base, runtime and devel are, and cudnn before one")]
    CudaKind(String),
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
            Self::Name(_)
            | Self::Image(_)
            | Self::Capitals(_)
            | Self::OnlyVersion(_)
            | Self::CudaVersion { .. }
            | Self::CudaUnknown { .. }
            | Self::NoSuchCuda { .. }
            | Self::CudaGone { .. }
            | Self::CudaKind(_) => "bad_value",
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
            Self::Capitals(image) => Some(format!("Write it as {:?}.", image.to_lowercase())),
            Self::Image(_) => Some("For example: gpubay init --base pytorch/pytorch:latest".to_owned()),
            Self::OnlyVersion(version) => Some(recipe::meant_by(version)),
            Self::CudaVersion { these, .. } => Some(match these.last() {
                Some(newest) => format!("The newest of them: gpubay init --base cuda:{newest}"),
                None => format!("NVIDIA has none that is called latest. The newest: gpubay init --base cuda:{}", recipe::newest()),
            }),
            Self::CudaUnknown { nearest, .. } => Some(format!(
                "The nearest: gpubay init --base nvidia/cuda:{nearest}. Any other tag that there is goes, too, in full."
            )),
            Self::NoSuchCuda { .. } => Some(format!("The newest: gpubay init --base cuda:{}", recipe::newest())),
            Self::CudaGone { .. } => Some("Take a newer one, or an image of your own.".to_owned()),
            Self::CudaKind(_) => Some("For example: gpubay init --base cuda:12.4-runtime".to_owned()),
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
    /// Whether its `[image]` names a Dockerfile; otherwise one is looked for.
    names_dockerfile: bool,
    venv: String,
    survey: Survey,
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
    let own = own_dockerfile(&workspace);
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
        Err(error) => Present::Missing(own.as_deref().and_then(|path| missing(&workspace, path)).ok_or(error)?),
    };
    Ok(Found {
        image,
        names_dockerfile: own.is_some(),
        has_toml: root.join(config::FILE_NAME).symlink_metadata().is_ok(),
        // Beside an environment of the user's own, `up` takes another name.
        venv: hostenv::find_mount_point(&workspace, &reached.config.venv.name)
            .map_or(reached.config.venv.name, |found| found.name),
        survey: survey(root),
        folders: folders(&request.home, root),
        workspace,
    })
}

fn relative(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// The Dockerfile that the workspace's own file names.
fn own_dockerfile(workspace: &HostPath) -> Option<String> {
    let path = workspace.join(config::FILE_NAME);
    let text = crate::files::read_resolved(&path, crate::files::SMALL).ok()?;
    config::parse(std::str::from_utf8(&text).ok()?, &path).ok()?.image.dockerfile
}

/// The `name` of a `docker/<name>/Dockerfile` that the workspace's file names although it is gone.
fn missing(workspace: &HostPath, dockerfile: &str) -> Option<String> {
    let name = dockerfile.strip_prefix("docker/")?.strip_suffix("/Dockerfile")?;
    let gone = workspace.join(dockerfile).as_path().symlink_metadata().is_err();
    (gone && folder_name(name)).then(|| name.to_owned())
}

/// Whether this machine is one for GPUs: the engine knows, where one answers; otherwise the driver's own files tell.
/// `local` is an engine on this machine.
pub fn has_gpu(engine: Option<(&EngineInfo, bool)>) -> bool {
    let driver =
        || ["/proc/driver/nvidia/version", "/usr/lib/wsl/lib/libcuda.so.1"].iter().any(|path| Path::new(path).exists());
    let Some((info, local)) = engine else { return driver() };
    let any = Gpus { select: GpuSelection::Auto, required: false, isolation: Isolation::Hard, injection: None };
    match crate::gpu::decide(&any, info, None, None).map(|plan| plan.injection) {
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
    /// `None`: the usual one, unless settings are there.
    pub style: Option<Style>,
}

/// Checks what was typed.
pub fn check(wish: &Wish) -> Result<(), ScaffoldError> {
    if let Some(name) = wish.name.as_ref().filter(|name| !folder_name(name)) {
        return Err(ScaffoldError::Name(name.clone()));
    }
    match &wish.base {
        Some(Base::Image(image)) if !image_name(image) => Err(ScaffoldError::Image(image.clone())),
        Some(Base::Image(image)) if has_capitals(image) => Err(ScaffoldError::Capitals(image.clone())),
        Some(base) => base.clone().resolved().map(|_| ()),
        None => Ok(()),
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

/// Every engine refuses them in the name of a repository; a host and a tag may have some.
fn has_capitals(image: &str) -> bool {
    Name::parse(image).is_some_and(|name| name.repository.contains(|c: char| c.is_ascii_uppercase()))
}

impl Found {
    /// Whether a Dockerfile will be written, and so a base is needed, unless the user named one.
    pub fn needs_base(&self) -> bool {
        matches!(self.image, Present::Nothing | Present::Missing(_))
    }

    /// Whether the Dockerfile of that name in `docker/` is there.
    pub fn has_dockerfile(&self, name: &str) -> bool {
        self.workspace.join(format!("docker/{name}/Dockerfile")).as_path().symlink_metadata().is_ok()
    }

    /// A Dockerfile that is the user's own.
    fn foreign(&self) -> Option<&str> {
        match &self.image {
            Present::Dockerfile(path) if !ours(self.workspace.join(path).as_path()) => Some(path),
            _ => self.survey.dockerfile.as_deref(),
        }
    }

    /// Whether mounts can be offered: they stand in a file that is not there yet.
    pub fn takes_mounts(&self) -> bool {
        !self.has_toml
    }
}

/// A file of the layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
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
#[cfg_attr(test, derive(ts_rs::TS))]
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
    /// Sentences on what was asked for and is not done, since a file in its way is left.
    pub undone: Vec<String>,
}

/// Decides for each file of the layout.
///
/// # Errors
/// For a wish that is none ([`check`]), and where something is in the way of a file that the others need.
pub fn plan(found: &Found, wish: &Wish) -> Result<Plan, ScaffoldError> {
    check(wish)?;
    let mut notes = Vec::new();
    let mut undone = Vec::new();
    let mut files = Vec::new();
    let asked = wish.base.is_some() || wish.name.is_some();
    let base = wish.base.clone().or_else(|| (asked || found.needs_base()).then_some(Base::Preset(Preset::Python)));
    let base = base.map(Base::resolved).transpose()?;
    let root = write::Root::open(&found.workspace)?;

    // The Dockerfile that gpubay.toml is to name.
    let named = match &base {
        Some(base) => {
            let of_toml = if let Present::Missing(name) = &found.image { Some(name.clone()) } else { None };
            let name = wish.name.clone().or(of_toml).unwrap_or_else(|| base.folder());
            let name = if folder_name(&name) { name } else { "dev".to_owned() };
            let path = format!("docker/{name}/Dockerfile");
            let file = root.needed(&path, dockerfile::dockerfile(base))?;
            let left = file.state == State::Left;
            files.push(file);
            if left && wish.base.is_some() && starts_from(&found.workspace.join(&path)).as_deref() != Some(base.image())
            {
                undone.push(format!(
                    "{path} exists and is left, so nothing is built on {}: `--name` with another name writes a \
                     Dockerfile for it",
                    base.image()
                ));
            }
            if !left || ours(found.workspace.join(&path).as_path()) {
                beside(found, &root, &path, &mut files, &mut notes)?;
            }
            Some(path)
        }
        None => match &found.image {
            Present::Dockerfile(path)
                if Path::new(path).is_relative() && ours(found.workspace.join(path).as_path()) =>
            {
                files.push(root.needed(path, String::new())?);
                beside(found, &root, path, &mut files, &mut notes)?;
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
    let on_save = !found.survey.python;
    let style = wish.style.unwrap_or_default();
    let settings = root.wanted(".vscode/settings.json", editor::settings(style, &found.venv, on_save));
    if wish.style.is_some() && settings.state == State::Left && !formats_with(&found.workspace, style) {
        undone.push(format!(
            "{0} exists and is left, so the style is not {1}: `gpubay init --style {1} --dry-run` shows what belongs into it \
             and into .vscode/extensions.json",
            settings.path,
            style.name()
        ));
    }
    files.push(settings);
    files.push(root.wanted(".vscode/extensions.json", editor::extensions(style)));

    notes.extend(named.as_deref().and_then(|path| used_from_now_on(found, path)));
    if !on_save && files.iter().any(|file| file.path.ends_with("settings.json") && file.state == State::Planned) {
        notes.push("there is Python code already, so saving a file does not format it".to_owned());
    }
    let written = |path: &str| files.iter().any(|file| file.path == path && file.state == State::Planned);
    let base = base.filter(|_| named.as_deref().is_some_and(written));
    if let Some(Base::Cuda(base)) = &base {
        notes.extend(base.notes.clone());
    }
    let root_ignore = files.iter().any(|file| file.path == ".dockerignore" && file.state == State::Left);
    if base.is_some() && root_ignore && ignores_requirements(&found.workspace) {
        notes.push(format!(
            ".dockerignore is yours and keeps {0} out of builds: without the line `!{0}` at its end the build fails",
            dockerfile::REQUIREMENTS
        ));
    }
    Ok(Plan { files, base, notes, undone })
}

/// What a Dockerfile of ours copies, and what keeps all else out of its build.
fn beside(
    found: &Found,
    root: &write::Root,
    dockerfile: &str,
    files: &mut Vec<PlannedFile>,
    notes: &mut Vec<String>,
) -> Result<(), ScaffoldError> {
    files.push(root.needed(dockerfile::REQUIREMENTS, dockerfile::requirements())?);
    let shared = root.needed(".dockerignore", dockerfile::dockerignore())?;
    let Some(foreign) = found.foreign().filter(|_| shared.state == State::Planned) else {
        files.push(shared);
        return Ok(());
    };
    // For all builds of the folder, it would hide from the user's own Dockerfile what that one copies.
    let own = root.needed(&format!("{dockerfile}.dockerignore"), dockerfile::dockerignore())?;
    if own.state == State::Planned {
        notes.push(format!(
            "{} is for this Dockerfile alone: a .dockerignore would count for {foreign} as well, and hide what it copies",
            own.path
        ));
    }
    files.push(own);
    Ok(())
}

/// What `gpubay up` builds, where that is not plain.
fn used_from_now_on(found: &Found, path: &str) -> Option<String> {
    let line = format!("`dockerfile = \"{path}\"` under [image]");
    match &found.image {
        Present::Dockerfile(current) if current == path => None,
        Present::Nothing | Present::Missing(_) if !found.has_toml => None,
        Present::Missing(_) => None,
        Present::Dockerfile(old) | Present::Image(old) if !found.has_toml => {
            Some(format!("`gpubay up` takes {path} from now on, and no longer {old}: gpubay.toml says so"))
        }
        Present::Several(old) if !found.has_toml => Some(format!(
            "`gpubay up` takes {path} from now on, and does not ask for one of {}: gpubay.toml says so",
            old.join(", ")
        )),
        Present::Dockerfile(old) if !found.names_dockerfile && old.starts_with("docker/") => Some(format!(
            "gpubay.toml is yours and was left; it names no Dockerfile, so `gpubay up` asks whether {old} or {path} is meant: \
             {line} answers that"
        )),
        Present::Dockerfile(old) | Present::Image(old) => Some(format!(
            "gpubay.toml is yours and was left, so `gpubay up` still takes {old}: {line} makes it use {path}"
        )),
        Present::Nothing | Present::Several(_) => {
            Some(format!("gpubay.toml is yours and was left: {line} makes it use {path}"))
        }
    }
}

/// The base of a Dockerfile of ours.
fn starts_from(path: &HostPath) -> Option<String> {
    let text = crate::files::read(path.as_path(), crate::files::SMALL).ok().filter(|_| ours(path.as_path()))?;
    let parsed = crate::engine::build::dockerfile::parse(&String::from_utf8_lossy(&text));
    parsed.stages.first().map(|stage| stage.base.clone())
}

/// Whether the workspace's own editor settings have the formatter of a style already.
fn formats_with(workspace: &HostPath, style: Style) -> bool {
    let path = workspace.join(".vscode/settings.json");
    crate::files::read(path.as_path(), crate::files::SMALL)
        .is_ok_and(|text| String::from_utf8_lossy(&text).contains(style.formatter()))
}

/// Whether the workspace's own `.dockerignore` hides what the new Dockerfile copies.
fn ignores_requirements(workspace: &HostPath) -> bool {
    let path = workspace.join(".dockerignore");
    let Ok(text) = crate::files::read(path.as_path(), crate::files::SMALL) else { return false };
    Matcher::new(&read_ignore_file(&text)).is_ok_and(|matcher| matcher.matches(dockerfile::REQUIREMENTS))
}

#[cfg(test)]
mod tests;
