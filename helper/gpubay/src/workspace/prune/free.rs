//! Takes away what a survey listed, each thing after another look under its workspace's lock.

use std::collections::BTreeMap;

use super::survey::{Place, Used, is_hex, names_in, needed, places};
use super::{Item, Prune, PruneReport, What};
use crate::HostPath;
use crate::error::{Error, Result};
use crate::mirror::{self, Store};
use crate::workspace::known::{self, Presence};
use crate::workspace::lock::{self, Lock};
use crate::workspace::{record, visibility};

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
                What::Agent { root, name } => self.free_agent(root, name).await,
                What::OfImage(name) => self.forget_image(name),
                What::Folder { id8, .. }
                | What::Image { id8, .. }
                | What::Container { id8, .. }
                | What::Volume { id8 } => {
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
        let Ok(volumes) = self.volumes_of_gone(engine, &places).await else { return };
        let roots = self.roots();
        for (id8, place) in places {
            if place.presence != Presence::Gone || volumes.contains_key(&id8) {
                continue;
            }
            let of_it = |folder: &str| {
                let names = roots.iter().flat_map(|root| names_in(root.join(folder).as_path()));
                names.into_iter().any(|name| name.starts_with(&id8))
            };
            if !["venvs", "run", "etc", "jobs", "host-envs"].into_iter().any(of_it) {
                visibility::forget_all(&self.bare.state, &id8);
                let _ = std::fs::remove_file(known::file(&self.bare.state, &id8).as_path());
            }
        }
        self.forget_locks();
        let Ok(used) = Used::ask(engine).await else { return };
        let still = self.roots();
        for root in roots.iter().filter(|root| !still.contains(root) && !used.mounts(root.as_path())) {
            visibility::leave(root);
        }
    }

    /// Locks of workspaces of which nothing is known. Whoever waits for one notices that it is gone.
    fn forget_locks(&self) {
        let known = places(&self.bare);
        for name in names_in(self.bare.state.join("locks").as_path()) {
            if name.len() == 8
                && is_hex(&name)
                && !known.contains_key(&name)
                && let Ok(Some(_lock)) = lock::try_hold(&self.bare.state, &name)
            {
                let _ = std::fs::remove_file(self.bare.state.join("locks").join(&name).as_path());
            }
        }
    }

    /// While no workspace is at work: a container may be about to be made with it.
    async fn free_agent(&self, root: &HostPath, name: &str) -> Result<Done> {
        let Some(engine) = &self.engine else { return Ok(Done::Left("there is no engine".to_owned())) };
        let mut locks = Vec::new();
        for (id8, place) in places(&self.bare) {
            match lock::try_hold(&place.known.data, &id8)? {
                Some(lock) => locks.push(lock),
                None => return Ok(Done::Left("another gpubay is at work".to_owned())),
            }
        }
        let path = root.join("agent").join(name);
        if Used::ask(engine).await?.mounts(path.as_path()) {
            return Ok(Done::Left("it is used by now".to_owned()));
        }
        mirror::remove_below(root, "agent", name).map_err(|error| Error::new("prune", error.to_string()))?;
        Ok(Done::Removed)
    }

    /// It only saves asking an image again.
    fn forget_image(&self, name: &str) -> Result<Done> {
        let removed = mirror::remove_below(&self.bare.cache, "images", name);
        removed.map_err(|error| Error::new("prune", error.to_string()))?;
        Ok(Done::Removed)
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
                if names.len() > 1 && !record::is_abandoned(&path) {
                    return Ok(Done::Left("a job has its record there by now".to_owned()));
                }
                if *names == ["jobs"] && record::hold_work(&path) {
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
            What::Volume { id8 } => {
                let still = places.get(id8).is_some_and(|place| place.presence == Presence::Gone);
                if !still || used.has_container(id8) || used.volume(&item.name) {
                    return Ok(Done::Left("it is used by now".to_owned()));
                }
                engine.remove_volume(&item.name).await?;
                Ok(Done::Removed)
            }
            What::Mirror(_) | What::Stage(_) | What::Agent { .. } | What::OfImage(_) => Ok(Done::Left(String::new())),
        }
    }
}
