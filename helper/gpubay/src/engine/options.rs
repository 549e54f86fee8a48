//! The create options of a container by name, so that a difference can be told in the user's words.

use std::collections::BTreeMap;

use gpubay_protocol::agent::AGENT_DIR;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{CreateSpec, GpuRequest};

/// A value longer than this is told only by its hash.
const LONGEST: usize = 200;

/// Keys of the engine's API whose name in `gpubay.toml` is another than their own in small letters.
const NAMES: &[(&str, &str)] = &[
    ("NanoCpus", "cpus"),
    ("NetworkMode", "network"),
    ("RestartPolicy", "restart"),
    ("IpcMode", "ipc"),
    ("PidMode", "pid"),
    ("UTSMode", "uts"),
    ("UsernsMode", "userns"),
    ("CgroupnsMode", "cgroupns"),
    ("CpusetCpus", "cpuset"),
    ("ReadonlyRootfs", "read_only"),
    ("Dns", "dns"),
    ("DnsOptions", "dns_option"),
    ("StorageOpt", "storage_opts"),
    ("LogConfig", "log_driver"),
    ("WorkingDir", "workdir"),
    ("Cmd", "entrypoint"),
    ("Healthcheck", "health"),
    ("NetworkingConfig", "network settings"),
];

impl CreateSpec {
    /// Over every create option but the image, the name, the labels of ours and the GPUs' request:
    /// what makes a container of another fingerprint a different one.
    pub fn fingerprint(&self) -> String {
        // serde_json sorts the keys of its own maps, so equal options give equal text.
        hash(&self.counted().to_string())
    }

    /// What [`CreateSpec::fingerprint`] is over, option by option. Values that may be secrets are hashed:
    /// those of variables and labels, and what a log driver or a health check is told.
    pub fn named_options(&self) -> BTreeMap<String, String> {
        let mut named = BTreeMap::new();
        let Value::Object(body) = self.counted() else { return named };
        for (key, value) in body {
            match (key.as_str(), value) {
                ("HostConfig", Value::Object(host)) => {
                    for (key, value) in host {
                        host_option(&key, value, &mut named);
                    }
                }
                // `NAME=value`
                ("Env", Value::Array(list)) => {
                    for entry in list {
                        let entry = entry.as_str().unwrap_or_default();
                        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
                        named.insert(format!("env.{name}"), hashed(value));
                    }
                }
                ("Labels", Value::Object(labels)) => {
                    for (name, value) in labels {
                        named.insert(format!("labels.{name}"), hashed(value.as_str().unwrap_or_default()));
                    }
                }
                // Published ports are exposed, too, and told as such.
                ("ExposedPorts", Value::Object(ports)) => {
                    let published: Vec<String> = self.ports.iter().map(super::create::container_port).collect();
                    let exposed: Vec<&str> =
                        ports.keys().filter(|port| !published.contains(port)).map(String::as_str).collect();
                    if !exposed.is_empty() {
                        named.insert("expose".to_owned(), exposed.join(", "));
                    }
                }
                ("Healthcheck", value) if !empty(&value) => _ = named.insert(name(&key), hashed(&value.to_string())),
                (_, value) if !empty(&value) => _ = named.insert(name(&key), shown(&key, &value)),
                _ => {}
            }
        }
        named
    }

    fn counted(&self) -> Value {
        let mut body = Self { gpu: GpuRequest::None, ..self.clone() }.body();
        body.image = None;
        if let Some(labels) = &mut body.labels {
            labels.retain(|name, _| !name.starts_with("gpubay.") && name != "devcontainer.metadata");
        }
        serde_json::to_value(&body).unwrap_or_default()
    }
}

fn host_option(key: &str, value: Value, named: &mut BTreeMap<String, String>) {
    match (key, value) {
        ("Mounts", Value::Array(mounts)) => {
            for mount in mounts {
                let text = |field: &str| mount[field].as_str().unwrap_or_default();
                let target = text("Target");
                // It changes with the version of GPU Bay, which is what there is to say.
                let name = if target == format!("{AGENT_DIR}/bin") {
                    "gpubay's agent".to_owned()
                } else {
                    format!("mounts.{target}")
                };
                let source = if text("Source").is_empty() { text("Type") } else { text("Source") };
                let end = if mount["ReadOnly"] == Value::Bool(true) { ":ro" } else { "" };
                named.insert(name, format!("{source}{end}"));
            }
        }
        ("PortBindings", Value::Object(ports)) => {
            for (port, bindings) in ports {
                let addresses: Vec<String> = bindings
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|one| {
                        let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
                        format!("{}:{}", text("HostIp"), text("HostPort"))
                    })
                    .collect();
                named.insert(format!("ports.{port}"), addresses.join(", "));
            }
        }
        ("LogConfig", value) if !empty(&value) => _ = named.insert(name(key), hashed(&value.to_string())),
        ("RestartPolicy", value) => {
            let policy = value["Name"].as_str().unwrap_or("no");
            let most = value["MaximumRetryCount"].as_i64().map(|most| format!(":{most}")).unwrap_or_default();
            named.insert(name(key), format!("{policy}{most}"));
        }
        ("Tmpfs" | "Sysctls" | "Annotations" | "StorageOpt", Value::Object(map)) => {
            for (entry, value) in map {
                named.insert(format!("{}.{entry}", name(key)), shown(key, &value));
            }
        }
        (key, value) if !empty(&value) => _ = named.insert(name(key), shown(key, &value)),
        _ => {}
    }
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// As a person would write it in `gpubay.toml`.
fn shown(key: &str, value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => match (key, number.as_i64()) {
            ("Memory" | "ShmSize" | "MemoryReservation" | "MemorySwap", Some(bytes)) => size(bytes),
            ("NanoCpus", Some(nano)) => {
                let text = format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            _ => number.to_string(),
        },
        Value::Array(list) if list.iter().all(Value::is_string) => {
            list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    if text.len() > LONGEST { hashed(&text) } else { text }
}

fn size(bytes: i64) -> String {
    [(1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k")]
        .into_iter()
        .find(|(unit, _)| bytes > 0 && bytes % unit == 0)
        .map_or_else(|| bytes.to_string(), |(unit, letter)| format!("{}{letter}", bytes / unit))
}

/// `CapAdd` is `cap_add`.
fn name(key: &str) -> String {
    if let Some((_, name)) = NAMES.iter().find(|(known, _)| *known == key) {
        return (*name).to_owned();
    }
    let mut name = String::new();
    for c in key.chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

/// Tells whether two values are the same, and not what they are.
fn hashed(text: &str) -> String {
    format!("#{}", &hash(text)[..12])
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
