//! Folders of this machine that a fresh workspace may want to see inside its container.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

/// A folder that is there, and how it would be mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Folder {
    /// As a person writes it, with `~`.
    pub host: String,
    pub container: &'static str,
    /// The variable by which programs find it there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variable: Option<&'static str>,
    /// What it is, for a question.
    pub about: &'static str,
    /// The user wants it; others are written as comments.
    pub mounted: bool,
}

impl Folder {
    /// An entry of `[container] mounts`.
    pub(super) fn mount(&self) -> String {
        format!("{}:{}", self.host, self.container)
    }
}

/// Below the home, where inside, the variable for it, and what it is. Of a model cache only what is downloaded: the login
/// of the hub lies one folder above (`~/.cache/huggingface/token`), and code that models bring beside it.
const KNOWN: [(&str, &str, Option<&str>, &str); 5] = [
    ("dataset", "/dataset", None, "your data sets"),
    ("data", "/data", None, "your data"),
    (".cache/huggingface/hub", "/models/huggingface", Some("HF_HUB_CACHE"), "models of the Hugging Face hub"),
    (".cache/huggingface/datasets", "/models/datasets", Some("HF_DATASETS_CACHE"), "data sets of the Hugging Face hub"),
    (".cache/torch", "/models/torch", Some("TORCH_HOME"), "models of torch.hub and torchvision"),
];

/// Those that exist, none of them mounted yet. One that is the workspace, or lies in it, is seen anyway.
pub fn folders(home: &Path, workspace: &Path) -> Vec<Folder> {
    KNOWN
        .iter()
        .filter(|(below, ..)| {
            let real = home.join(below).canonicalize();
            real.is_ok_and(|real| real.is_dir() && !real.starts_with(workspace))
        })
        .map(|(below, container, variable, about)| Folder {
            host: format!("~/{below}"),
            container,
            variable: *variable,
            about,
            mounted: false,
        })
        .collect()
}
