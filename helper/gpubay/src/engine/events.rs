//! What happens to containers, as the engine tells it.

use std::collections::HashMap;

use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt};

use super::error::sort;
use super::{Engine, EngineError};

/// Something happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The engine's word for it: `start`, `die`, `destroy`.
    pub what: String,
    /// The container's id.
    pub container: String,
}

/// What changes how a container is shown. An engine tells of each exec, too.
const TELLING: [&str; 10] =
    ["create", "start", "die", "stop", "destroy", "remove", "pause", "unpause", "rename", "oom"];

impl Engine {
    /// What happens from now on to containers that carry the label `name` with `value`, or with any where that is empty. It
    /// ends with an error, or where the engine ends.
    pub fn events(&self, name: &str, value: &str) -> impl Stream<Item = Result<News, EngineError>> + Send + use<> {
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("label".to_owned(), vec![if value.is_empty() { name.to_owned() } else { format!("{name}={value}") }]),
        ]);
        let told = self.docker.events(Some(EventsOptionsBuilder::default().filters(&filters).build()));
        told.filter_map(async |event| match event {
            Ok(event) => {
                let what = event.action.filter(|what| TELLING.contains(&what.as_str()))?;
                let container = event.actor.and_then(|actor| actor.id).unwrap_or_default();
                Some(Ok(News { what, container }))
            }
            Err(error) => Some(Err(sort("follow what happens", error))),
        })
    }
}
