//! The host env, written: for all of the mirror, and before that for what the workspace imports.

use std::sync::Arc;

use gpubay_protocol::hostenv::{self, HostEnv};

use super::dev::Dev;
use super::mirrored::Counts;
use super::report::{HostEnvReport, RootReport};
use super::up::Ground;
use super::{Workspace, exposure, helper_executable, host_env};
use crate::agent::embedded;
use crate::error::{Error, Result};
use crate::progress::{Event, Packages, Progress};
use crate::venv::hostenv::{self as layout, Layout};
use crate::venv::probe::Probe;
use crate::venv::roots::{self, Roots, Shared};
use crate::{ContainerPath, HostPath, Mapping};

/// What is known of the container's Python.
#[derive(Clone, Copy)]
pub(super) struct Publishing<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) ground: &'a Ground,
    pub(super) dev: &'a Dev,
    pub(super) probe: &'a Probe,
    /// Of the image's interpreter, from which the venv was made.
    pub(super) image: &'a Probe,
    pub(super) python: &'a str,
    pub(super) roots: &'a Roots,
    pub(super) shared: &'a [Shared],
}

#[derive(Debug, Default)]
pub(super) struct Published {
    pub(super) host_env: Option<HostEnvReport>,
    pub(super) paths: Vec<HostPath>,
    pub(super) changed: bool,
    pub(super) warnings: Vec<String>,
    /// There would be a host env, and writing it now would be dangerous.
    pub(super) held_back: bool,
}

impl Published {
    /// Tells whoever shows packages to an editor's tools that they should look.
    pub(super) fn announce(&self, progress: &Progress) {
        if let Some(host_env) = &self.host_env {
            let packages = Packages { host_env: host_env.clone(), paths: self.paths.clone() };
            progress.emit(Event::Packages(Arc::new(packages)));
        }
    }
}

impl Publishing<'_> {
    /// Writes the host env with the roots that are mirrored at `trees`.
    pub(super) async fn write(&self, trees: &[Mapping], counts: &Counts) -> Result<Published> {
        let Self { workspace, ground, dev, probe, image, python, roots, shared } = *self;
        let venv = &ground.python.venv;
        let mut published = Published::default();
        let on_host =
            roots.on_host(|tree| trees.iter().find(|held| held.container == *tree).map(|held| held.host.clone()));
        let folders: Vec<HostPath> = on_host.iter().map(|mapping| mapping.host.clone()).collect();
        published.paths = layout::extra_paths(&folders);
        if let Some(path) = &ground.python.host_env {
            let mut scripts = layout::console_scripts(&workspace.venv_folder());
            let image_scripts = layout::image_scripts(image, &scripts);
            scripts.extend(image_scripts.keys().cloned());
            let env = HostEnv {
                scripts: image_scripts,
                schema: hostenv::SCHEMA,
                id: workspace.id().to_owned(),
                workspace: workspace.folder().clone(),
                path: path.clone(),
                container: dev.container.name.clone(),
                socket: Some(workspace.run_folder().join(gpubay_protocol::agent::SOCKET_NAME)),
                helper: HostPath::new(helper_executable())
                    .map_err(|error| Error::new("internal", error.to_string()))?,
                python: ContainerPath::new(python).map_err(|error| Error::new("internal", error.to_string()))?,
                venv: venv.clone(),
                version: probe.version.clone(),
                unmapped: roots.unmapped(&on_host),
                map: roots::map(shared, path, venv, &on_host, trees),
                cache: workspace.config().paths.cache.join("shim").join(&workspace.place),
            };
            let (ours, others) = if host_env::is_remembered(workspace, path) {
                (Vec::new(), Vec::new())
            } else {
                exposure::who_writes(workspace, path).await?
            };
            if !ours.is_empty() {
                published.warnings.push(format!(
                "{path} is not written, since the host would run what {} can write there: its mounts are older than this \
                 workspace; recreate it (`gpubay up --recreate` in its workspace) or stop it, and run `gpubay up` again",
                ours.join(", ")
            ));
                published.held_back = true;
                return Ok(published);
            }
            if !others.is_empty() {
                published.warnings.push(format!(
                    "{} can write {path}, which tools on the host run; GPU Bay did not make it and leaves it alone",
                    others.join(", ")
                ));
            }
            let uncovered = host_env::jobs_without_cover(workspace, venv, path).await?;
            if !uncovered.is_empty() {
                published.warnings.push(format!(
                "{path} is not made anew while the job {} runs: what was mounted over it there went with the folder that was \
                 deleted, and the host would run what the job can write; `gpubay up` makes it when the job has ended (or \
                 `gpubay down {}`)",
                uncovered.join(", "),
                uncovered[0],
            ));
                published.held_back = true;
                return Ok(published);
            }
            workspace.reach("hostenv.write")?;
            let home = host_env::home(workspace, probe, &on_host)?;
            published.changed |= layout::write(&Layout {
                env: &env,
                home: home.as_ref(),
                folders: &folders,
                shim: embedded::PROGRAM,
                scripts: &scripts,
            })?;
            host_env::remember(workspace, path)?;
            let foreign = layout::foreign(path);
            if !foreign.is_empty() {
                let shown: Vec<&str> = foreign.iter().take(5).map(String::as_str).collect();
                published.warnings.push(format!(
                "some program of the host has installed into {path} ({}{}), which the container does not have; delete \
                 {path} and run `gpubay up`, which makes it anew",
                shown.join(", "),
                if foreign.len() > shown.len() { ", …" } else { "" },
            ));
            }
            published.host_env = Some(HostEnvReport {
                path: path.clone(),
                python: path.join("bin/python"),
                version: probe.version.clone(),
                roots: on_host
                    .iter()
                    .map(|Mapping { host, container }| {
                        let (files, bytes) = counts.get(container).copied().unwrap_or_default();
                        RootReport { container: container.clone(), host: host.clone(), files, bytes }
                    })
                    .collect(),
            });
        }
        Ok(published)
    }
}
