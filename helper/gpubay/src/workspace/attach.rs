//! `attach`: what an editor needs to get into the dev container.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Workspace, dev, labels};
use crate::editor::{self, Editor, Reach, Target};
use crate::engine::{Endpoint, Located};
use crate::error::Result;
use crate::{files, programs};

/// The answer of `attach`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct AttachReport {
    pub container: AttachContainer,
    #[serde(flatten)]
    pub target: Target,
    /// Inside.
    pub folder: crate::ContainerPath,
    /// Whom an editor is inside: the name of the container's user. `None` where there is no container yet.
    pub user: Option<String>,
    /// What the workspace recommends: an editor installs extensions at its first attach only.
    pub extensions: Vec<String>,
    /// Editors of this machine that can attach, the one that is taken first, each with its command; with `--ssh` those
    /// that the other machine may have.
    pub editors: Vec<EditorReport>,
    /// This call has started the first of them.
    pub opened: bool,
    /// What to do where there is none, and what else is to be known; a sentence each.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct AttachContainer {
    pub name: String,
    pub running: bool,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct EditorReport {
    #[serde(flatten)]
    pub editor: Editor,
    pub argv: Vec<String>,
}

/// What to open. Starts neither the container nor an editor.
pub async fn target(workspace: &Workspace, ssh: Option<&str>) -> Result<AttachReport> {
    let wanted = workspace.dev_name();
    let found = dev::find(workspace, &wanted).await?;
    let name = found.as_ref().map_or(wanted, |found| found.name.clone());
    let hindrance = dev::hindrance(&name, found.as_ref());
    let user = found.as_ref().and_then(|found| remote_user(found.label(labels::METADATA)));
    let folder = workspace.config().container.workdir.clone();
    let target = editor::attached(&name, &folder, &reach(workspace.engine.located()), ssh);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let editors = match ssh {
        Some(_) => editor::editors_elsewhere(),
        None => editor::editors(&|name| programs::find(name, &path, workspace.folder().as_path())),
    };
    let editors: Vec<EditorReport> =
        editors.into_iter().map(|editor| EditorReport { argv: editor::command(&editor, &target), editor }).collect();
    let mut notes = Vec::new();
    if let Some(error) = &hindrance {
        notes.push(format!("{}; {}", error.message, error.hint.clone().unwrap_or_default()));
    }
    if let Some(alias) = ssh {
        notes.push(format!("on the machine with the editor, run the one of these that it has; its SSH knows {alias}"));
    }
    if editors.is_empty() {
        notes.push(format!(
            "there is no code, code-insiders or cursor on PATH: in such an editor, choose «Dev Containers: Attach to \
             Running Container» and {name}, or open the URI with --folder-uri"
        ));
        notes.push(
            "VSCodium and code-server cannot have that extension: they work on the folder outside, with .venv, or as an \
             editor inside (an SSH server or code-server in the image)"
                .to_owned(),
        );
    }
    Ok(AttachReport {
        container: AttachContainer { name, running: hindrance.is_none() },
        target,
        folder,
        user,
        extensions: recommended_extensions(workspace),
        editors,
        opened: false,
        notes,
    })
}

/// From what we wrote on the container for whoever attaches.
fn remote_user(metadata: &str) -> Option<String> {
    let metadata: serde_json::Value = serde_json::from_str(metadata).ok()?;
    metadata.get(0)?.get("remoteUser")?.as_str().map(str::to_owned)
}

/// # Errors
/// `not_running` and its kin, with the next step.
pub async fn must_run(workspace: &Workspace) -> Result<()> {
    super::exec::running(workspace).await.map(drop)
}

/// The editor asks the docker CLI, which knows contexts, and otherwise the socket of the system.
fn reach(located: &Located) -> Reach {
    match (&located.context, &located.endpoint) {
        (Some(context), _) => Reach::Context(context.clone()),
        (None, Endpoint::Unix(path)) if is_default(path) => Reach::ByItself,
        (None, endpoint) => Reach::Host(endpoint.to_string()),
    }
}

fn is_default(socket: &Path) -> bool {
    ["/var/run/docker.sock", "/run/docker.sock"].iter().any(|known| Path::new(known) == socket)
}

/// What the workspace recommends to whoever opens it. A link out of it is not followed.
pub(super) fn recommended_extensions(workspace: &Workspace) -> Vec<String> {
    let read = || {
        let opened = files::open(workspace.folder().join(".vscode/extensions.json").as_path()).ok()?;
        opened.place().ok().filter(|place| place.starts_with(workspace.folder().as_path()))?;
        String::from_utf8(opened.read(files::SMALL).ok()?).ok()
    };
    read().map(|text| editor::recommended(text.trim_start_matches('\u{feff}'))).unwrap_or_default()
}
