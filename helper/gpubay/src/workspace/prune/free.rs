//! Takes away what a survey listed, each thing after another look under its workspace's lock.

use std::collections::BTreeMap;

use super::survey::{Place, Used, needed, places, volumes};
use super::{Item, Prune, PruneReport, What};
use crate::error::{Error, Result};
use crate::mirror::{self, Store};
use crate::workspace::known::{self, Presence};
use crate::workspace::lock::{self, Lock};
use crate::workspace::record;

/// What became of an item.
enum Done {
    Removed,
    /// With the reason.
    Left(String),
}

/// `None` while another process has it.
fn locked(places: &BTreeMap<String, Place>, id8: &str) -> Result<Option<Lock>> {
    // Of a workspace that is not known, it is not known either where its lock is.
    let Some(place) = places.get(id8) else { return Ok(None) };
    Ok(lock::try_hold(&place.known.data, id8)?)
}

impl Prune {
    /// Removes what `report` lists; what cannot be removed is left, and said.
    ///
    /// # Errors
    /// `cancelled`; anything else is said of the item that it concerns.
    pub async fn free(&self, mut report: PruneReport) -> Result<PruneReport> {
        report.dry_run = false;
        report.bytes = 0;
        let step = self.progress.step("Removing what nothing needs");
        let mirrors = self.free_mirrors(&report.items);
        for item in &mut report.items {
            self.progress.check()?;
            let done = match &item.what {
                What::Mirror(found) => match &mirrors {
                    Ok(freed) if freed.contains(&found.name) => Ok(Done::Removed),
                    Ok(_) => Ok(Done::Left("a workspace uses it by now".to_owned())),
                    Err(why) => Ok(Done::Left(why.message.clone())),
                },
                What::Stage(name) => self.free_stage(name),
                What::Folder { id8, .. } | What::Image { id8, .. } | What::Container { id8, .. } => {
                    let places = places(&self.bare);
                    match locked(&places, id8) {
                        Ok(Some(_lock)) => self.free_one(&places, item).await,
                        Ok(None) => Ok(Done::Left("another gpubay is at work on its workspace".to_owned())),
                        Err(error) => Err(error),
                    }
                }
            };
            match done {
                Ok(Done::Removed) => {
                    item.removed = true;
                    report.bytes += item.bytes;
                }
                Ok(Done::Left(why)) => report.kept.push(format!("{}: {why}", item.name)),
                Err(error) => report.kept.push(format!("{}: {}", item.name, error.message)),
            }
        }
        self.forget().await;
        step.done();
        Ok(report)
    }

    /// Of a workspace of which nothing is left, the last that is forgotten is that there was one.
    async fn forget(&self) {
        let places = places(&self.bare);
        // Its volumes are told of as long as there are any, so not where the engine cannot say it.
        let Some(engine) = &self.engine else { return };
        let Ok(volumes) = volumes(engine, self.uid, &places).await else { return };
        for (id8, place) in places {
            if place.presence != Presence::Gone || volumes.contains_key(&id8) {
                continue;
            }
            let of_it = |folder: &str| {
                let entries = std::fs::read_dir(self.bare.state.join(folder).as_path());
                entries.is_ok_and(|entries| {
                    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(&id8))
                })
            };
            if !["venvs", "run", "etc", "jobs", "host-envs"].into_iter().any(of_it) {
                let _ = std::fs::remove_file(known::file(&self.bare.state, &id8).as_path());
            }
        }
    }

    /// The names of those that were freed.
    fn free_mirrors(&self, items: &[Item]) -> Result<Vec<String>> {
        let listed: Vec<_> = items
            .iter()
            .filter_map(|item| if let What::Mirror(found) = &item.what { Some(found.clone()) } else { None })
            .collect();
        if listed.is_empty() {
            return Ok(Vec::new());
        }
        let store = Store::open(&self.bare.cache)?;
        Ok(store.free(&listed, || needed(&self.bare, &places(&self.bare)))?)
    }

    fn free_stage(&self, name: &str) -> Result<Done> {
        let store = Store::open(&self.bare.cache)?;
        store.clean()?;
        let there = self.bare.cache.join("mirror").join(name).as_path().exists();
        Ok(if there { Done::Left("a process works in it".to_owned()) } else { Done::Removed })
    }

    async fn free_one(&self, places: &BTreeMap<String, Place>, item: &Item) -> Result<Done> {
        let Some(engine) = &self.engine else { return Ok(Done::Left("there is no engine".to_owned())) };
        let used = Used::ask(engine).await?;
        match &item.what {
            What::Folder { root, names, name, id8, gone } => {
                let path = names.iter().fold(root.clone(), |path, name| path.join(name)).join(name);
                let still = places.get(id8).is_some_and(|place| place.presence == Presence::Gone);
                if *gone && (!still || used.has_container(id8)) || used.mounts(path.as_path()) {
                    return Ok(Done::Left("it is used by now".to_owned()));
                }
                if names.contains(&"jobs") && record::hold_work(&path) {
                    return Ok(Done::Left("a job wrote files into it by now".to_owned()));
                }
                let (root, below, name) = (root.clone(), names.join("/"), name.clone());
                let removed = tokio::task::spawn_blocking(move || mirror::remove_below(&root, &below, &name)).await;
                let removed = removed.map_err(|error| Error::new("internal", error.to_string()))?;
                removed.map_err(|error| {
                    // What a container's root wrote is root's.
                    Error::new("prune", format!("{error}; `sudo rm -r` removes it"))
                })?;
                Ok(Done::Removed)
            }
            What::Image { id, tags, .. } => {
                let now = engine.images_with(crate::workspace::labels::ID).await?;
                let Some(image) = now.into_iter().find(|image| image.id == *id) else { return Ok(Done::Removed) };
                if used.image(&image) || image.tags != *tags {
                    return Ok(Done::Left("it is used by now".to_owned()));
                }
                let names = if tags.is_empty() { std::slice::from_ref(id) } else { tags.as_slice() };
                for name in names {
                    engine.remove_image(name).await?;
                }
                Ok(Done::Removed)
            }
            What::Container { id, .. } => {
                engine.remove(id).await?;
                Ok(Done::Removed)
            }
            What::Mirror(_) | What::Stage(_) => Ok(Done::Left(String::new())),
        }
    }
}
