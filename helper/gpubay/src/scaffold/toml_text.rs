//! The text of a fresh `gpubay.toml`. Pure.

use super::Folder;

/// `dockerfile` is relative to the workspace; `None` where several could be meant, which `gpubay up` asks once.
/// `lean`: that Dockerfile leaves bytecode out of the image.
pub(super) fn text(dockerfile: Option<&str>, lean: bool, folders: &[Folder]) -> String {
    let mut text =
        "# How `gpubay up` runs this folder. What is left out has a good default; `gpubay schema` lists every key.\n"
            .to_owned();
    if let Some(dockerfile) = dockerfile {
        text.push_str(&format!("\n[image]\ndockerfile = {}\n", quoted(dockerfile)));
        if lean {
            text.push_str("# Packages that are imported several times faster, in a larger image:\n");
            text.push_str("# args = { BYTECODE = \"--compile\" }\n");
        }
    }
    text.push_str("\n[gpus]\n# One free GPU, and the CPU where there is none. \"all\", \"none\" and numbers are possible, too.\nuse = \"auto\"\n");
    if folders.is_empty() {
        return text;
    }
    text.push_str("\n[container]\n");
    text.push_str("# Folders of this machine that the container sees. `gpubay up` asks once whether it may.\n");
    if folders.iter().any(|folder| !folder.mounted) {
        text.push_str("# Those behind a # were found here and are not mounted: take the # away where you want one.\n");
    }
    text.push_str("mounts = [\n");
    for folder in folders {
        text.push_str(&format!("    {}{},\n", comment(folder), quoted(&folder.mount())));
    }
    text.push_str("]\n");
    let variables: Vec<&Folder> = folders.iter().filter(|folder| folder.variable.is_some()).collect();
    if !variables.is_empty() {
        text.push_str("\n[container.env]\n# Each belongs to the mount of the same folder.\n");
        for folder in variables {
            let name = folder.variable.unwrap_or_default();
            text.push_str(&format!("{}{name} = {}\n", comment(folder), quoted(folder.container)));
        }
    }
    text
}

fn comment(folder: &Folder) -> &'static str {
    if folder.mounted { "" } else { "# " }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
