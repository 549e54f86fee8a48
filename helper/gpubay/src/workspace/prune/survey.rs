//! What can go, and why. Takes nothing away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gpubay_protocol::hostenv::{self, HostEnv};

use super::super::{there, ticket};
use super::{Item, Kind, Prune, PruneReport, What, bytes_below};
use crate::HostPath;
use crate::agent::embedded;
use crate::config::Bare;
use crate::engine::{Engine, OwnImage};
use crate::error::Result;
use crate::mirror::{Needed, Store};
use crate::workspace::known::{self, Known, Presence};
use crate::workspace::{labels, record, visibility};

/// Folders whose entries are named `<id8>-<engine>` and, of jobs, `-<job>`: below data, and below cache.
const OF_DATA: [&str; 4] = ["venvs", "run", "etc", "jobs"];
const OF_CACHE: [&str; 2] = ["shim", "homes"];

/// What is known of one workspace.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) known: Known,
    pub(super) presence: Presence,
}

pub(super) fn places(bare: &Bare) -> BTreeMap<String, Place> {
    let with_presence = |known: Known| Place { presence: known.presence(), known };
    known::all(bare).into_iter().map(|(id8, known)| (id8, with_presence(known))).collect()
}

impl Prune {
    /// Lists what can go. `kept`: what is known to stay already.
    ///
    /// # Errors
    /// Of an engine that is there and cannot be asked, and of the cache folder.
    pub async fn survey(&self, mut kept: Vec<String>) -> Result<PruneReport> {
        let step = self.progress.step("Looking for what nothing needs");
        let places = places(&self.bare);
        for place in places.values() {
            if let Presence::Unknown(why) = &place.presence {
                kept.push(format!("everything of {}: {why}", place.known.folder));
            }
        }
        let mut items = Vec::new();
        if self.kinds.contains(&Kind::Mirrors) || self.kinds.contains(&Kind::Leftovers) {
            items.extend(self.mirrors(&places)?);
        }
        self.progress.check()?;
        if let Some(engine) = &self.engine {
            let used = Used::ask(engine).await?;
            items.extend(self.folders(engine, &places, &used, &mut kept));
            if self.kinds.contains(&Kind::Images) {
                items.extend(self.images(engine, &places, &used, &mut kept).await?);
            }
            // What the user kept in them cannot be made again.
            if self.kinds.contains(&Kind::Volumes) {
                items.extend(self.volumes(engine, &places, &used, &mut kept).await?);
            } else if Kind::USUAL.iter().all(|kind| self.kinds.contains(kind)) {
                kept.extend(self.volumes_of_gone(engine, &places).await?.into_iter().map(|(id8, names)| {
                    format!(
                        "volumes of {}, which is gone, with what it kept in them (settings, tokens): {}; `gpubay prune \
                         volumes` removes them",
                        places[&id8].known.folder,
                        names.join(" ")
                    )
                }));
            }
            if self.kinds.contains(&Kind::Records) {
                items.extend(self.agents_and_images(engine, &used, &items).await?);
            }
            if self.kinds.contains(&Kind::Leftovers) {
                items.extend(self.helpers(engine, &places).await?);
            }
        }
        items.retain(|item| self.kinds.contains(&item.kind));
        items.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        step.done();
        Ok(PruneReport { bytes: items.iter().map(|item| item.bytes).sum(), items, dry_run: true, kept })
    }

    fn mirrors(&self, places: &BTreeMap<String, Place>) -> Result<Vec<Item>> {
        if !self.bare.cache.join("mirror").as_path().is_dir() {
            return Ok(Vec::new());
        }
        let store = Store::open(&self.bare.cache)?;
        let mut items = Vec::new();
        for found in store.unreferenced(&needed(&self.bare, places))? {
            items.push(Item {
                kind: Kind::Mirrors,
                name: found.path.to_string(),
                because: "no workspace uses it".to_owned(),
                bytes: bytes_below(found.path.as_path()),
                removed: false,
                what: What::Mirror(found),
            });
        }
        for (name, path) in store.dead_stages()? {
            items.push(Item {
                kind: Kind::Leftovers,
                name: path.to_string(),
                because: "a process that made a mirror was killed".to_owned(),
                bytes: bytes_below(path.as_path()),
                removed: false,
                what: What::Stage(name),
            });
        }
        Ok(items)
    }

    fn folders(
        &self,
        engine: &Engine,
        places: &BTreeMap<String, Place>,
        used: &Used,
        kept: &mut Vec<String>,
    ) -> Vec<Item> {
        let key = engine.located().endpoint.key();
        let mut items = Vec::new();
        // Sentences of each workspace once, however many folders it has.
        let (mut elsewhere, mut in_use) = (BTreeMap::<&HostPath, usize>::new(), BTreeMap::<&HostPath, usize>::new());
        let below = |root: &HostPath, names: &[&'static str]| {
            let root = root.clone();
            names
                .iter()
                .flat_map(|folder| names_in(root.join(folder).as_path()).into_iter().map(|name| (*folder, name)))
                .map(|(folder, name)| (root.clone(), folder, name))
                .collect::<Vec<_>>()
        };
        let of_data = self.roots().into_iter().flat_map(|root| below(&root, &OF_DATA));
        for (root, folder, name) in of_data.chain(below(&self.bare.cache, &OF_CACHE)) {
            let Some((id8, of_engine, rest)) = parts(&name) else { continue };
            let Some(place) = places.get(id8) else { continue };
            let gone = place.presence == Presence::Gone;
            if folder == "jobs" && place.presence == Presence::Here && self.kinds.contains(&Kind::Leftovers) {
                items.extend(self.abandoned(&root, &name, id8));
            }
            let of_job = folder == "run" && !rest.is_empty() && place.presence == Presence::Here;
            if !gone && !of_job {
                continue;
            }
            let kind = if folder == "venvs" { Kind::Venvs } else { Kind::Records };
            if !self.kinds.contains(&kind) {
                continue;
            }
            let path = root.join(folder).join(&name);
            if of_engine != key {
                if gone {
                    *elsewhere.entry(&place.known.folder).or_default() += 1;
                }
                continue;
            }
            if used.mounts(path.as_path()) || used.ids8.contains(id8) && gone {
                if gone {
                    *in_use.entry(&place.known.folder).or_default() += 1;
                }
                continue;
            }
            if folder == "jobs" && record::hold_work(&path) {
                kept.push(format!(
                    "{path}, where jobs of {}, which is gone, wrote files beside their frozen sources: take out what you \
                     need and remove it by hand",
                    place.known.folder
                ));
                continue;
            }
            let because = if gone {
                format!("its workspace {} is gone", place.known.folder)
            } else {
                "its job is gone".to_owned()
            };
            items.push(self.folder(kind, &root, vec![folder.to_owned()], &name, id8, gone, because));
        }
        let folders = |count: usize| if count == 1 { "1 folder".to_owned() } else { format!("{count} folders") };
        kept.extend(elsewhere.into_iter().map(|(workspace, count)| {
            format!(
                "{} of {workspace}, since a container of another engine may use them: prune with that one, too \
                 (DOCKER_HOST)",
                folders(count)
            )
        }));
        kept.extend(in_use.into_iter().map(|(workspace, count)| {
            format!(
                "{} of {workspace}, which a container of it uses: `gpubay -C {workspace} down` first",
                folders(count)
            )
        }));
        // What is left of a workspace that is gone, once nothing of it lies anywhere.
        for (id8, place) in places.iter().filter(|(_, place)| place.presence == Presence::Gone) {
            let because = format!("its workspace {} is gone", place.known.folder);
            let record = format!("{id8}.json");
            for (root, folder, name) in [
                (&self.bare.cache, "records", record.as_str()),
                (&self.bare.cache, "fingerprints", id8),
                (&self.bare.state, "host-envs", id8),
            ] {
                if root.join(folder).join(name).as_path().symlink_metadata().is_ok() {
                    items.push(self.folder(
                        Kind::Records,
                        root,
                        vec![folder.to_owned()],
                        name,
                        id8,
                        true,
                        because.clone(),
                    ));
                }
            }
        }
        items
    }

    /// Folders in which a job's record was to be written, and will not be.
    fn abandoned(&self, root: &HostPath, place: &str, id8: &str) -> Vec<Item> {
        let folder = root.join("jobs").join(place);
        let left = names_in(folder.as_path()).into_iter().filter(|name| record::is_abandoned(&folder.join(name)));
        let because = || "a process that was about to start a job was killed".to_owned();
        let names = || vec!["jobs".to_owned(), place.to_owned()];
        left.map(|name| self.folder(Kind::Leftovers, root, names(), &name, id8, false, because())).collect()
    }

    /// Where folders lie that containers mount of ours.
    pub(super) fn roots(&self) -> Vec<HostPath> {
        let mut roots = vec![self.bare.state.clone()];
        roots.extend(visibility::all(&self.bare.state).into_iter().filter(|root| *root != self.bare.state));
        roots
    }

    /// Whether only this engine has containers that mount something of ours.
    fn is_the_only_engine(&self, engine: &Engine) -> bool {
        let key = engine.located().endpoint.key();
        let roots = self.roots();
        let mut names = roots.iter().flat_map(|root| names_in(root.join("venvs").as_path()));
        names.all(|name| parts(&name).is_none_or(|(_, of_engine, _)| of_engine == key))
    }

    /// What an earlier version of GPU Bay delivered, and what was remembered of images that are gone or, by `items`, go.
    async fn agents_and_images(&self, engine: &Engine, used: &Used, items: &[Item]) -> Result<Vec<Item>> {
        // Another engine may have such an image, or a container with such an agent that is stopped.
        if !self.is_the_only_engine(engine) {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for root in self.roots() {
            let folder = root.join("agent");
            let old = |name: &String| name.len() == 16 && is_hex(name) && *name != embedded::ID[..16];
            for name in names_in(folder.as_path()).into_iter().filter(old) {
                let path = folder.join(&name);
                if !used.mounts(path.as_path()) {
                    found.push(Item {
                        kind: Kind::Records,
                        name: path.to_string(),
                        because: "it is an agent of another version, which no container uses".to_owned(),
                        bytes: bytes_below(path.as_path()),
                        removed: false,
                        what: What::Agent { root: root.clone(), name },
                    });
                }
            }
        }
        // Listed before the images, so that one which is built now is not missed.
        let remembered = names_in(self.bare.cache.join("images").as_path());
        let images = engine.image_ids().await?;
        let goes = |id: &str| items.iter().any(|item| matches!(&item.what, What::Image { id: gone, .. } if gone == id));
        let short = |id: &String| id.trim_start_matches("sha256:").chars().take(24).collect::<String>();
        let there: BTreeSet<String> = images.iter().filter(|id| !goes(id)).map(short).collect();
        for name in remembered.into_iter().filter(|name| is_hex(name) && !there.contains(name)) {
            let path = self.bare.cache.join("images").join(&name);
            found.push(Item {
                kind: Kind::Records,
                name: path.to_string(),
                because: "its image is gone".to_owned(),
                bytes: bytes_below(path.as_path()),
                removed: false,
                what: What::OfImage(name),
            });
        }
        Ok(found)
    }

    /// Volumes that were made for workspaces that are gone, by the first 8 digits of their identities.
    pub(super) async fn volumes_of_gone(
        &self,
        engine: &Engine,
        places: &BTreeMap<String, Place>,
    ) -> Result<BTreeMap<String, Vec<String>>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let gone: Vec<_> = places.iter().filter(|(_, place)| place.presence == Presence::Gone).collect();
        if gone.is_empty() {
            return Ok(found);
        }
        for volume in engine.volumes_with(labels::OWNER, &self.uid.to_string()).await? {
            let is_of = |id8: &str, place: &Place| match volume.labels.get(labels::ID) {
                Some(id) => *id == self.bare.identity_of(&place.known.folder).id,
                // Volumes of earlier versions say it by their names alone.
                None => is_our_volume(&volume.name, id8),
            };
            if let Some((id8, _)) = gone.iter().find(|(id8, place)| is_of(id8, place)) {
                found.entry((*id8).clone()).or_default().push(volume.name);
            }
        }
        Ok(found)
    }

    async fn volumes(
        &self,
        engine: &Engine,
        places: &BTreeMap<String, Place>,
        used: &Used,
        kept: &mut Vec<String>,
    ) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        for (id8, names) in self.volumes_of_gone(engine, places).await? {
            let folder = &places[&id8].known.folder;
            for name in names {
                if used.volume(&name) {
                    kept.push(format!("the volume {name} of {folder}, which a container uses"));
                    continue;
                }
                items.push(Item {
                    kind: Kind::Volumes,
                    because: format!(
                        "its workspace {folder} is gone; what it kept in there (settings, tokens) is lost"
                    ),
                    name,
                    // Engines take long to say it, and some do not.
                    bytes: 0,
                    removed: false,
                    what: What::Volume { id8: id8.clone() },
                });
            }
        }
        Ok(items)
    }

    #[expect(clippy::too_many_arguments, clippy::unused_self, reason = "one place that makes these items")]
    fn folder(
        &self,
        kind: Kind,
        root: &HostPath,
        names: Vec<String>,
        name: &str,
        id8: &str,
        gone: bool,
        because: String,
    ) -> Item {
        let path = names.iter().fold(root.clone(), |path, name| path.join(name)).join(name);
        let bytes = bytes_below(path.as_path());
        let what = What::Folder { root: root.clone(), names, name: name.to_owned(), id8: id8.to_owned(), gone };
        Item { kind, name: path.to_string(), because, bytes, removed: false, what }
    }

    async fn images(
        &self,
        engine: &Engine,
        places: &BTreeMap<String, Place>,
        used: &Used,
        kept: &mut Vec<String>,
    ) -> Result<Vec<Item>> {
        let mut by_workspace: BTreeMap<String, Vec<OwnImage>> = BTreeMap::new();
        for image in engine.images_with(labels::ID).await? {
            let label = |name: &str| image.labels.get(name).map(String::as_str).unwrap_or_default();
            // Whose it is: another user's images on this engine have another identity for any path.
            let Ok(folder) = HostPath::new(label(labels::WORKSPACE)) else { continue };
            if self.bare.identity_of(&folder).id == label(labels::ID) {
                by_workspace.entry(label(labels::ID).to_owned()).or_default().push(image);
            }
        }
        let mut items = Vec::new();
        let (mut unknown, mut unnamed) = (0, 0);
        for (id, images) in by_workspace {
            let id8 = id.get(..8).unwrap_or(&id).to_owned();
            let Some(place) = places.get(&id8) else {
                unknown += images.len();
                continue;
            };
            let folder = &place.known.folder;
            let because = match (&place.presence, &place.known.image) {
                (Presence::Here, Some(_)) => format!("{folder} has a newer one"),
                (Presence::Gone, _) => format!("its workspace {folder} is gone"),
                _ => continue,
            };
            for image in images {
                let ours = |tag: &String| is_our_tag(tag, &id8);
                let current = place.known.image.as_ref().filter(|_| place.presence == Presence::Here);
                let is_current = current.is_some_and(|current| image.tags.contains(current));
                // A name that somebody gave it is a use of it. One without any may be built from ours, whose labels it has.
                unnamed += usize::from(image.tags.is_empty());
                if is_current || used.image(&image) || image.tags.is_empty() || !image.tags.iter().all(ours) {
                    continue;
                }
                items.push(Item {
                    kind: Kind::Images,
                    name: image.tags.first().unwrap_or(&image.id).clone(),
                    because: because.clone(),
                    bytes: image.own_bytes,
                    removed: false,
                    what: What::Image { id: image.id, tags: image.tags, id8: id8.clone() },
                });
            }
        }
        if unknown > 0 {
            kept.push(format!("{unknown} image(s) of yours, of whose workspaces nothing is remembered here"));
        }
        if unnamed > 0 {
            kept.push(format!(
                "{unnamed} image(s) without a name, which may be yours: the engine's own `docker image prune` removes those"
            ));
        }
        Ok(items)
    }

    /// A helper is made and ended under its workspace's lock, so one that goes on while that is free was left behind. One
    /// that has ended is on its way out, which takes the engine its time.
    async fn helpers(&self, engine: &Engine, places: &BTreeMap<String, Place>) -> Result<Vec<Item>> {
        let uid = self.uid.to_string();
        let found = engine.list(&[(labels::OWNER, &uid), (labels::ROLE, "helper")]).await?;
        let item = |container: crate::engine::Listed| {
            let id8 = container.labels.get(labels::ID)?.get(..8)?.to_owned();
            // Whose lock is elsewhere may be at work.
            places
                .get(&id8)
                .filter(|place| container.labels.get(labels::WORKSPACE) == Some(&place.known.folder.to_string()))?;
            Some(Item {
                kind: Kind::Leftovers,
                name: container.name,
                because: "a helper container that was left behind".to_owned(),
                bytes: 0,
                removed: false,
                what: What::Container { id: container.id, id8 },
            })
        };
        let goes_on = |state: &str| matches!(state, "created" | "running" | "paused");
        // What stands in a queue lives as long as who waits, and what somebody looks through as long as they do.
        let waits = |container: &crate::engine::Listed| {
            ticket::is_ticket(container) && container.state != "created" || there::is_somebodys(container)
        };
        let found = found.into_iter().filter(|container| goes_on(&container.state) && !waits(container));
        Ok(found.filter_map(item).collect())
    }
}

/// `gpubay-<slug>-<id8>-<what>`
fn is_our_volume(name: &str, id8: &str) -> bool {
    name.starts_with("gpubay-") && name.contains(&format!("-{id8}-"))
}

/// What containers use, whoever's they are.
#[derive(Debug, Default)]
pub(super) struct Used {
    images: BTreeSet<String>,
    sources: BTreeSet<String>,
    volumes: BTreeSet<String>,
    /// Workspaces of ours that have a container.
    ids8: BTreeSet<String>,
}

impl Used {
    pub(super) async fn ask(engine: &Engine) -> Result<Self> {
        let mut used = Self::default();
        for container in engine.list(&[]).await? {
            used.images.insert(container.image_id);
            used.images.insert(container.image);
            used.volumes.extend(container.mounts.iter().filter_map(|mount| mount.volume.clone()));
            used.sources.extend(container.mounts.into_iter().filter_map(|mount| mount.source));
            let helper = container.labels.get(labels::ROLE).is_some_and(|role| role == "helper");
            if !helper && let Some(id8) = container.labels.get(labels::ID).and_then(|id| id.get(..8)) {
                used.ids8.insert(id8.to_owned());
            }
        }
        Ok(used)
    }

    pub(super) fn mounts(&self, path: &Path) -> bool {
        self.sources.iter().any(|source| Path::new(source).starts_with(path))
    }

    pub(super) fn volume(&self, name: &str) -> bool {
        self.volumes.contains(name)
    }

    pub(super) fn image(&self, image: &OwnImage) -> bool {
        self.images.contains(&image.id) || image.tags.iter().any(|tag| self.images.contains(tag))
    }

    pub(super) fn has_container(&self, id8: &str) -> bool {
        self.ids8.contains(id8)
    }
}

/// `gpubay/<slug>-<id8>:<fingerprint>`
pub(super) fn is_our_tag(tag: &str, id8: &str) -> bool {
    tag.strip_prefix("gpubay/")
        .and_then(|rest| rest.split_once(':'))
        .is_some_and(|(name, _)| name.rsplit_once('-').is_some_and(|(_, end)| end == id8))
}

/// Mirrors that a workspace needs which is here, or may be.
pub(super) fn needed(bare: &Bare, places: &BTreeMap<String, Place>) -> Needed {
    let gone = |id8: &str| places.get(id8).is_some_and(|place| place.presence == Presence::Gone);
    let mut needed = Needed { gone: places.keys().filter(|id8| gone(id8)).cloned().collect(), paths: BTreeSet::new() };
    // What host envs name, and what was remembered where there is none: also of workspaces that nothing else is known of.
    for id8 in names_in(bare.state.join("host-envs").as_path()) {
        let text = std::fs::read_to_string(bare.state.join("host-envs").join(&id8).as_path()).unwrap_or_default();
        let Ok(env) = HostPath::new(text.trim()) else { continue };
        if gone(&id8) {
            continue;
        }
        let file = env.join(hostenv::FILE_NAME);
        let Ok(text) = crate::files::read(file.as_path(), crate::files::SMALL) else { continue };
        if let Ok(env) = serde_json::from_slice::<HostEnv>(&text) {
            needed.paths.extend(env.map.mappings().iter().map(|mapping| mapping.host.clone()));
        }
    }
    for name in names_in(bare.cache.join("records").as_path()) {
        let Some(id8) = name.strip_suffix(".json").filter(|id8| !gone(id8)) else { continue };
        needed.paths.extend(crate::workspace::python::mirrored_paths(&bare.cache, id8));
    }
    needed
}

pub(super) fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

pub(super) fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// `<id8>-<engine>[-<job>]`
fn parts(name: &str) -> Option<(&str, &str, &str)> {
    let hex = |text: &str, length| text.len() == length && is_hex(text);
    let (id8, rest) = name.split_once('-').filter(|(id8, _)| hex(id8, 8))?;
    let (engine, job) = rest.split_once('-').unwrap_or((rest, ""));
    hex(engine, 6).then_some((id8, engine, job))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_taken_apart() {
        assert_eq!(parts("0123abcd-a1b2c3"), Some(("0123abcd", "a1b2c3", "")));
        assert_eq!(parts("0123abcd-a1b2c3-lr-3"), Some(("0123abcd", "a1b2c3", "lr-3")));
        for other in ["", "..", "helper-0123abcd", "0123abcd", "0123abcd-", "0123abcd-a1b2", "0123abcx-a1b2c3"] {
            assert_eq!(parts(other), None, "{other}");
        }
    }

    #[test]
    fn a_volume_is_of_a_workspace_by_its_name() {
        assert!(is_our_volume("gpubay-my-ws-0123abcd-config", "0123abcd"));
        for other in ["gpubay-cache-0123abcd", "me-0123abcd-config", "gpubay-ws-0123abce-config", "0123abcd"] {
            assert!(!is_our_volume(other, "0123abcd"), "{other}");
        }
    }

    #[test]
    fn a_tag_is_ours_by_its_whole_form() {
        assert!(is_our_tag("gpubay/my-ws-0123abcd:0011", "0123abcd"));
        for other in ["me/ws-0123abcd:1", "gpubay/my-ws-0123abce:0011", "gpubay/0123abcd", "x/gpubay/ws-0123abcd:1"] {
            assert!(!is_our_tag(other, "0123abcd"), "{other}");
        }
    }
}
