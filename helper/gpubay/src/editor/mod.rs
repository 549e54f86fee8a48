//! What an editor is told: how it attaches to a container, and which extensions the workspace recommends. Pure; what is
//! looked at on this machine comes in as values.

mod extensions;

use std::fmt::Write as _;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::ContainerPath;
use gpubay_protocol::percent;

pub use extensions::recommended;

/// How the editor's own container extension reaches the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// As it does by itself.
    ByItself,
    /// A context of the docker CLI.
    Context(String),
    /// As `DOCKER_HOST` writes it.
    Host(String),
}

/// An address that VS Code and its kin open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Target {
    /// `vscode-remote://<authority><folder>`, for `--folder-uri`.
    pub uri: String,
    /// `attached-container+…`
    pub authority: String,
}

/// The target of `folder` in the container of that name. `ssh` is the alias of the engine's machine in the SSH
/// configuration of the machine on which the editor runs, where that is another.
pub fn attached(container: &str, folder: &ContainerPath, reach: &Reach, ssh: Option<&str>) -> Target {
    let name = match reach {
        Reach::ByItself => container.to_owned(),
        Reach::Context(context) => {
            json!({ "containerName": format!("/{container}"), "settings": { "context": context } }).to_string()
        }
        Reach::Host(host) => {
            json!({ "containerName": format!("/{container}"), "settings": { "host": host } }).to_string()
        }
    };
    let mut authority = format!("attached-container+{}", hex(&name));
    if let Some(alias) = ssh {
        let _ = write!(authority, "@ssh-remote+{}", ssh_host(alias));
    }
    let uri = format!("vscode-remote://{authority}{}", percent::path(folder.as_str()));
    Target { uri, authority }
}

/// An authority has no capitals and few signs: another alias is written as the editor's SSH extension writes it.
fn ssh_host(alias: &str) -> String {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    if alias.bytes().all(plain) { alias.to_owned() } else { hex(&json!({ "hostName": alias }).to_string()) }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// An editor of this machine that can attach to a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Editor {
    /// `code`
    pub name: &'static str,
    pub program: PathBuf,
}

/// Editors that have an extension which attaches, in the order in which they are taken.
const EDITORS: [&str; 3] = ["code", "code-insiders", "cursor"];

/// Those that `find` finds by their names.
pub fn editors(find: &dyn Fn(&str) -> Option<PathBuf>) -> Vec<Editor> {
    EDITORS.into_iter().filter_map(|name| find(name).map(|program| Editor { name, program })).collect()
}

/// Those of another machine, which has them on its own `PATH`.
pub fn editors_elsewhere() -> Vec<Editor> {
    ["code", "cursor"].into_iter().map(|name| Editor { name, program: name.into() }).collect()
}

/// The command that opens `target`.
pub fn command(editor: &Editor, target: &Target) -> Vec<String> {
    vec![editor.program.display().to_string(), "--folder-uri".to_owned(), target.uri.clone()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &str) -> ContainerPath {
        ContainerPath::new(path).expect("absolute")
    }

    #[test]
    fn the_uri_names_container_engine_and_folder() {
        let target = attached("gpubay-ws-1a", &folder("/workspace"), &Reach::ByItself, None);
        assert_eq!(target.uri, "vscode-remote://attached-container+6770756261792d77732d3161/workspace");
        // {"containerName":"/a","settings":{"context":"lab"}}
        let context = Reach::Context("lab".to_owned());
        assert_eq!(
            attached("a", &folder("/w s/ü"), &context, None).uri,
            "vscode-remote://attached-container+7b22636f6e7461696e65724e616d65223a222f61222c2273657474696e6773223a\
             7b22636f6e74657874223a226c6162227d7d/w%20s/%C3%BC"
        );
        // {"containerName":"/a","settings":{"host":"unix:///x"}}
        let host = Reach::Host("unix:///x".to_owned());
        assert_eq!(
            attached("a", &folder("/w"), &host, Some("box.lab")).authority,
            "attached-container+7b22636f6e7461696e65724e616d65223a222f61222c2273657474696e6773223a7b22686f7374223a22\
             756e69783a2f2f2f78227d7d@ssh-remote+box.lab"
        );
        assert_eq!(ssh_host("Me@Box"), hex("{\"hostName\":\"Me@Box\"}"));
    }
}
