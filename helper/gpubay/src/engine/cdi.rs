//! CDI devices of an engine that does not tell them: Podman lists none anywhere, and a Docker before 28.2 says only where their
//! specifications are. On this machine these are read where the engine reads them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::info::release;

/// Where specifications lie that nobody moved; the later folder counts where both name a device.
const USUAL: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// Podman's own configuration, the later file counts.
const CONFIGURATION: [&str; 4] = [
    "/usr/share/containers/containers.conf",
    "/usr/share/containers/containers.conf.d",
    "/etc/containers/containers.conf",
    "/etc/containers/containers.conf.d",
];
/// In bytes. One of eight divided GPUs has some 100 KiB.
const LARGEST: u64 = 4 << 20;

/// What of a specification is asked for; the engine reads the rest.
#[derive(Deserialize)]
struct Specification {
    kind: String,
    devices: Vec<Device>,
}

#[derive(Deserialize)]
struct Device {
    name: String,
}

/// Where a Podman of that version looks on this machine. `home`: that of the user who runs it, if it is an ordinary one.
pub(super) fn podmans_folders(version: &str, home: Option<&Path>) -> Vec<PathBuf> {
    folders(version, &configuration(home))
}

/// The texts of Podman's configuration, the later one counts.
fn configuration(home: Option<&Path>) -> Vec<String> {
    let own = home.into_iter().flat_map(|home| {
        ["containers.conf", "containers.conf.d"].map(|name| home.join(".config/containers").join(name))
    });
    let places = CONFIGURATION.iter().map(PathBuf::from).chain(own);
    places
        .flat_map(|place| if place.is_dir() { entries(&place, &["conf"]) } else { vec![place] })
        .filter_map(|file| read(&file))
        .collect()
}

/// The setting is heeded from 5.5 on. The releases of that number know only the first of the usual folders.
fn folders(version: &str, configuration: &[String]) -> Vec<PathBuf> {
    let release = release(version);
    let mut folders: Vec<PathBuf> =
        USUAL.iter().take(if release == (5, 5) { 1 } else { 2 }).map(PathBuf::from).collect();
    for text in configuration.iter().filter(|_| release >= (5, 5)) {
        let Ok(table) = text.parse::<toml::Table>() else { continue };
        let Some(set) =
            table.get("engine").and_then(|engine| engine.get("cdi_spec_dirs")).and_then(|set| set.as_array())
        else {
            continue;
        };
        // `{append = true}` among the texts: they come after what was set before.
        if !set.iter().any(|value| value.get("append").and_then(toml::Value::as_bool) == Some(true)) {
            folders.clear();
        }
        folders.extend(set.iter().filter_map(|value| value.as_str()).map(PathBuf::from));
    }
    folders
}

/// Full names (`nvidia.com/gpu=0`), sorted. Devices that two files of one folder name cancel each other, as the engine has it.
pub(super) fn devices(folders: &[PathBuf]) -> Vec<String> {
    let mut devices = BTreeSet::new();
    for folder in folders {
        let (mut here, mut twice) = (BTreeSet::new(), BTreeSet::new());
        for file in entries(folder, &["json", "yaml"]) {
            for device in read(&file).map(|text| specified(&text, &file)).unwrap_or_default() {
                if !here.insert(device.clone()) {
                    twice.insert(device);
                }
            }
        }
        devices.extend(here);
        devices.retain(|device| !twice.contains(device));
    }
    devices.into_iter().collect()
}

fn specified(text: &str, file: &Path) -> Vec<String> {
    // JSON is YAML, too.
    match serde_saphyr::from_str::<Specification>(text) {
        Ok(Specification { kind, devices }) => {
            devices.into_iter().map(|Device { name }| format!("{kind}={name}")).collect()
        }
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "is no CDI specification");
            Vec::new()
        }
    }
}

/// Files of these extensions, by name.
fn entries(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path())).collect();
    found.retain(|path| path.extension().is_some_and(|is| extensions.iter().any(|extension| is == *extension)));
    found.sort();
    found
}

/// `None`: there is none, or nothing to be read.
fn read(file: &Path) -> Option<String> {
    let metadata = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?;
    if metadata.len() > LARGEST {
        tracing::warn!(file = %file.display(), bytes = metadata.len(), "is too large to be read");
        return None;
    }
    std::fs::read_to_string(file)
        .inspect_err(|error| tracing::warn!(file = %file.display(), %error, "is not read"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOLKIT: &str = "---\ncdiVersion: 0.5.0\nkind: nvidia.com/gpu\ncontainerEdits:\n  deviceNodes:\n  - path: /dev/nvidiactl\n\
        devices:\n- containerEdits:\n    deviceNodes:\n    - path: /dev/nvidia0\n  name: \"0\"\n- name: GPU-1a\n  containerEdits: {}\n\
        - name: all\n";

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn specifications_of_both_forms_name_their_devices() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write("nvidia.yaml", TOOLKIT);
        write("other.json", r#"{"cdiVersion": "0.6.0", "kind": "example.com/net", "devices": [{"name": "eth"}]}"#);
        write("notes.txt", TOOLKIT);
        write("broken.yaml", "kind: [");
        let all = ["example.com/net=eth", "nvidia.com/gpu=0", "nvidia.com/gpu=GPU-1a", "nvidia.com/gpu=all"];
        assert_eq!(devices(&[PathBuf::from("/nonexistent"), folder.path().to_owned()]), texts(&all));
        // Two that name the same device cancel each other.
        write("again.json", r#"{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [{"name": "0"}]}"#);
        assert_eq!(devices(&[folder.path().to_owned()]), texts(&[all[0], all[2], all[3]]));
    }

    #[test]
    fn folders_are_those_that_the_release_looks_into() {
        let of = |version: &str, texts: &[&str]| {
            folders(version, &texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        };
        let set = "[engine]\ncdi_spec_dirs = [\"/opt/cdi\"]\n";
        let more = "[engine]\ncdi_spec_dirs = [\"/opt/more\", {append = true}]\n";
        assert_eq!(of("5.4.2", &[set]), paths(&USUAL));
        assert_eq!(of("5.5.1", &[]), paths(&["/etc/cdi"]));
        assert_eq!(of("5.6.0", &["[containers]\n", "no toml ["]), paths(&USUAL));
        assert_eq!(of("5.6.0", &[set, more]), paths(&["/opt/cdi", "/opt/more"]));
        assert_eq!(of("5.6.0", &[more, set]), paths(&["/opt/cdi"]));
    }
}
