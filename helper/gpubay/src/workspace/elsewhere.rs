//! Containers of workspaces that were moved or deleted, or whose file cannot be read: found by their labels,
//! without any configuration but the user's own.

use std::time::Duration;

use super::report::{DownReport, Row};
use super::there::Whose;
use super::{HostUser, Recreate, down, known, labels, lock, shown, visibility};
use crate::config::{self, Bare, LoadRequest};
use crate::engine::{Engine, EngineInfo, Listed, Surroundings, endpoint};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// The user's engine, if it answers soon: what it says is a help, and no engine is no failure here.
pub async fn answering(request: &LoadRequest<'_>) -> Option<(Engine, EngineInfo)> {
    const PATIENCE: Duration = Duration::from_secs(5);
    // A workspace's own file cannot send us to an engine without consent, so the user's own decides.
    let host = config::bare(request).ok()?.host;
    let located = endpoint::locate(host.as_deref(), &Surroundings::of_process()).ok()?;
    let ask = async {
        let engine = Engine::connect(located).await?;
        let info = engine.info().await?;
        Ok::<_, Error>((engine, info))
    };
    tokio::time::timeout(PATIENCE, ask).await.ok()?.ok()
}

/// An engine, and whose containers on it are looked at.
#[derive(Debug)]
pub struct Elsewhere {
    bare: Bare,
    engine: Engine,
    host: HostUser,
    progress: Progress,
}

impl Elsewhere {
    /// Connects to the engine that the user's own file names, or the surroundings.
    ///
    /// # Errors
    /// Of [`endpoint::locate`] and [`Engine::connect`].
    pub async fn open(bare: Bare, progress: Progress) -> Result<Self> {
        let located = endpoint::locate(bare.host.as_deref(), &Surroundings::of_process())?;
        let engine = Engine::connect(located).await?;
        Ok(Self { bare, engine, host: HostUser::current(), progress })
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn whose(&self) -> Whose {
        let (folder, id) = (self.bare.workspace.clone(), self.bare.identity.id.clone());
        Whose { folder, id, uid: self.host.uid, injection: None }
    }

    /// Every container of this user's, whichever workspace it is of.
    ///
    /// # Errors
    /// The engine's own.
    pub async fn ps(&self) -> Result<Vec<Row>> {
        let mut found = self.all().await?;
        down::without_helpers(&mut found);
        shown::rows(&self.engine, found).await
    }

    async fn all(&self) -> Result<Vec<Listed>> {
        let uid = self.host.uid.to_string();
        let mut found = self.engine.list(&[(labels::ID, ""), (labels::OWNER, &uid)]).await?;
        down::oldest_first(&mut found);
        Ok(found)
    }

    /// Removes the named containers, or, without a name, those of the folder; an empty report where it has none.
    ///
    /// # Errors
    /// `foreign_container` and `no_such_container` for names; `work_running` as [`down::down`].
    pub async fn down(&self, names: &[String], consent: Recreate) -> Result<DownReport> {
        let mut all = self.all().await?;
        down::without_helpers(&mut all);
        let of_folder =
            |container: &Listed| container.labels.get(labels::ID).is_some_and(|id| *id == self.bare.identity.id);
        // A job of this folder goes by the name that `ps` shows.
        let named = |container: &Listed, name: &String| {
            let is_job = || container.labels.get(labels::JOB) == Some(name) && of_folder(container);
            container.name == *name
                || is_job()
                || name.len() >= down::SHORTEST_ID && container.id.starts_with(name.as_str())
        };
        for name in names {
            if !all.iter().any(|container| named(container, name)) {
                return Err(self.unknown(name).await);
            }
        }
        all.retain(|container| {
            if names.is_empty() { of_folder(container) } else { names.iter().any(|name| named(container, name)) }
        });
        let label = |container: &Listed, name: &str| container.labels.get(name).cloned().unwrap_or_default();
        let mut ids: Vec<String> = all.iter().map(|container| label(container, labels::ID)).collect();
        ids.sort();
        ids.dedup();
        let mut locks = Vec::new();
        for id in &ids {
            locks.push(lock::hold(&self.bare.state, id.get(..8).unwrap_or(id), &self.progress).await?);
        }
        let mut folders: Vec<String> = all.iter().map(|container| label(container, labels::WORKSPACE)).collect();
        folders.sort();
        folders.dedup();
        let lost = down::losses(&self.engine, &all).await?;
        let known = known::all(&self.bare);
        let key = self.engine.located().endpoint.key();
        let data = |id8: &str| {
            let data = known.get(id8).map_or(&self.bare.state, |known| &known.data);
            visibility::shared(&self.bare.state, &format!("{id8}-{key}"), data)
        };
        let removed = down::remove(&self.engine, &self.progress, all, &lost, consent, &data).await?;
        let mut kept = vec!["venv, mirror, caches and volumes".to_owned(), "the image".to_owned()];
        kept.extend(folders.into_iter().map(|folder| {
            let here = if std::path::Path::new(&folder).exists() { "" } else { ", which is not here any more" };
            format!("everything of the workspace {folder}{here}")
        }));
        Ok(DownReport { containers: removed.containers, waits: removed.waits, kept, lost })
    }

    async fn unknown(&self, name: &str) -> Error {
        match self.engine.container(name).await {
            Ok(Some(_)) => {
                Error::new("foreign_container", format!("the container {name} is not one of yours from GPU Bay"))
                    .with_hint("It is left alone; `docker rm` removes any.")
            }
            Ok(None) => Error::new("no_such_container", format!("there is no container {name}"))
                .with_hint("`gpubay ps --all` lists those of all your workspaces."),
            Err(error) => error.into(),
        }
    }
}
