//! What `doctor` asks: whether the engine sees workspace and data folder now. Makes no folder, and no choice.

use super::{explained, is_about_a_source, remembered, same_moment, unseen};
use crate::config::model::{Mount, MountSource};
use crate::engine::{Engine, EngineError};
use crate::error::{Error, Result};
use crate::workspace::{helper_spec, lock};
use crate::{ContainerPath, HostPath};

/// Whose folders are looked at.
#[derive(Debug)]
pub(in crate::workspace) struct Subject<'a> {
    /// `None` where the folder is no workspace.
    pub(in crate::workspace) workspace: Option<&'a HostPath>,
    /// Whose lock it is, and whose helper the container that is asked with.
    pub(in crate::workspace) folder: &'a HostPath,
    pub(in crate::workspace) id: &'a str,
    pub(in crate::workspace) uid: u32,
    pub(in crate::workspace) state: &'a HostPath,
    pub(in crate::workspace) data: &'a HostPath,
}

/// What came out.
#[derive(Debug)]
pub(in crate::workspace) enum Sight {
    /// All of these.
    Seen(Vec<HostPath>),
    /// The first in place of the second, which is not seen.
    Instead(HostPath, HostPath),
    UnseenWorkspace(Error),
    /// Another folder will have to do.
    UnseenData(Error),
    /// It could not be asked, since …
    Unasked(String),
}

/// `None` where there is nothing to look at yet.
pub(in crate::workspace) async fn examine(engine: &Engine, subject: &Subject<'_>) -> Option<Sight> {
    let id8 = subject.id.get(..8).unwrap_or(subject.id);
    let place = format!("{id8}-{}", engine.located().endpoint.key());
    let shared = remembered::shared(subject.state, &place, subject.data);
    let mut folders: Vec<&HostPath> = subject.workspace.into_iter().collect();
    folders.extend(Some(&shared).filter(|shared| shared.as_path().is_dir()));
    if folders.is_empty() {
        return None;
    }
    // A helper that exists under a free lock would be taken for one that was left behind.
    let _lock = if subject.data.join("locks").as_path().is_dir() {
        match lock::try_hold(subject.data, id8) {
            Ok(Some(lock)) => Some(lock),
            Ok(None) => return Some(Sight::Unasked("another gpubay is at work on this workspace".to_owned())),
            Err(error) => return Some(Sight::Unasked(error.to_string())),
        }
    } else {
        None
    };
    Some(match look(engine, subject, &folders).await {
        Ok(None) if shared != *subject.data => Sight::Instead(shared, subject.data.clone()),
        Ok(None) => Sight::Seen(folders.into_iter().cloned().collect()),
        Ok(Some((folder, said))) => {
            let error = explained(engine, &folder, subject.data, &said).await;
            if subject.workspace == Some(&folder) { Sight::UnseenWorkspace(error) } else { Sight::UnseenData(error) }
        }
        Err(error) => Sight::Unasked(error.message),
    })
}

/// The first folder that is not seen, and what the engine says.
async fn look(engine: &Engine, subject: &Subject<'_>, folders: &[&HostPath]) -> Result<Option<(HostPath, String)>> {
    let Some(image) = engine.image_ids().await?.into_iter().next() else {
        return Err(Error::new("no_image", "the engine has no image yet to make a container of"));
    };
    for (at, folder) in folders.iter().enumerate() {
        let inside = ContainerPath::new(format!("/gpubay-probe-{at}")).expect("a plain path");
        let mut spec = helper_spec(subject.folder, subject.id, subject.uid, &image);
        spec.mounts =
            vec![Mount { source: MountSource::Host((*folder).clone()), target: inside.clone(), read_only: true }];
        let id = match engine.create(&spec).await {
            Ok(id) => id,
            Err(EngineError::Refused { message, .. }) if is_about_a_source(&message) => {
                return Ok(Some(((*folder).clone(), message)));
            }
            Err(error) => return Err(error.into()),
        };
        let asked = if subject.workspace == Some(*folder) {
            same_moment(engine, &id, folder, &inside).await
        } else {
            unseen(engine, &id, folder, &inside).await
        };
        engine.remove(&id).await?;
        if let Some(said) = asked? {
            return Ok(Some(((*folder).clone(), said.unwrap_or_else(|| super::ANOTHER.to_owned()))));
        }
    }
    Ok(None)
}
