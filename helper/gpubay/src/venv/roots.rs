//! From `sys.path` to the folders that serve it on the host (pure).

use crate::venv::probe::Probe;
use crate::{ContainerPath, HostPath, Mapping, PathMap};

/// Who serves a root on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The venv, in the data folder.
    Venv,
    /// It lies in the workspace.
    Workspace,
    /// It lies in another mount of the host.
    Mounted,
    /// Only the container has it: the mirror copies it.
    Mirror,
}

/// A folder that both sides share, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    pub kind: Kind,
    pub mapping: Mapping,
}

/// One folder that the container's Python imports from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// As `sys.path` has it.
    pub container: ContainerPath,
    /// With links resolved; the same as `container` in most images.
    pub real: ContainerPath,
    pub kind: Kind,
    /// For [`Kind::Mirror`]: the outermost mirrored root that holds `real`; else `real`.
    pub tree: ContainerPath,
    /// Where the host has it; `None` for [`Kind::Mirror`], of which the mirror knows.
    pub host: Option<HostPath>,
}

/// All roots, in the order of `sys.path`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    pub roots: Vec<Root>,
    /// What is in `sys.path` and cannot be on the host: archives, `/`, temporary folders.
    pub unmapped: Vec<ContainerPath>,
}

impl Roots {
    /// The folders to scan: none of them lies in another.
    pub fn trees(&self) -> Vec<ContainerPath> {
        let mut trees: Vec<ContainerPath> = Vec::new();
        for root in self.roots.iter().filter(|root| root.kind == Kind::Mirror) {
            if !trees.contains(&root.tree) {
                trees.push(root.tree.clone());
            }
        }
        trees
    }

    /// Shared folders below a tree, which a scan must not enter.
    pub fn exclude(&self, shared: &[Shared]) -> Vec<ContainerPath> {
        let trees = self.trees();
        let mut exclude: Vec<ContainerPath> = Vec::new();
        for folder in shared {
            let folder = &folder.mapping.container;
            if trees.iter().any(|tree| folder.below(tree).is_some()) && !exclude.contains(folder) {
                exclude.push(folder.clone());
            }
        }
        exclude
    }

    /// Each root with its folder on the host, in the order for `container.pth`: the venv first.
    /// `mirror` says where a tree is kept; a tree that it lacks leaves its roots out.
    pub fn on_host(&self, mirror: impl Fn(&ContainerPath) -> Option<HostPath>) -> Vec<Mapping> {
        let mut found: Vec<(Kind, Mapping)> = Vec::new();
        for root in &self.roots {
            let host = root.host.clone().or_else(|| {
                let rest = root.real.below(&root.tree)?;
                mirror(&root.tree).map(|tree| if rest.is_empty() { tree } else { tree.join(rest) })
            });
            if let Some(host) = host {
                found.push((root.kind, Mapping { host, container: root.container.clone() }));
            }
        }
        // Stable: within the venv and within the rest the order of `sys.path` stays.
        found.sort_by_key(|(kind, _)| *kind != Kind::Venv);
        found.into_iter().map(|(_, mapping)| mapping).collect()
    }

    /// Mirrored roots that no host folder serves, and what never can be: for the shim.
    pub fn unmapped(&self, on_host: &[Mapping]) -> Vec<ContainerPath> {
        let lost = self.roots.iter().map(|root| &root.container);
        let lost = lost.filter(|path| on_host.iter().all(|mapping| mapping.container != **path));
        self.unmapped.iter().chain(lost).cloned().collect()
    }
}

/// Decides for every import root of `probe` (of the venv's interpreter) who serves it.
pub fn roots(probe: &Probe, shared: &[Shared]) -> Roots {
    let mut out = Roots::default();
    let mut seen: Vec<ContainerPath> = Vec::new();
    for (literal, real) in probe.path.iter().chain(&probe.editable) {
        let (Ok(container), Ok(real)) = (ContainerPath::new(literal), ContainerPath::new(real)) else {
            continue;
        };
        // Two names of one folder would be mirrored and offered twice.
        if seen.contains(&real) {
            continue;
        }
        seen.push(real.clone());
        // Only where it really is counts: a link in the workspace that leads into the image would lead
        // to the host's own files on the host.
        let owner = owner(&real, shared);
        match owner {
            Some((kind, host)) => {
                out.roots.push(Root { tree: real.clone(), container, real, kind, host: Some(host) });
            }
            None if is_refused(&real) => out.unmapped.push(container),
            None => {
                out.roots.push(Root { tree: real.clone(), container, real, kind: Kind::Mirror, host: None });
            }
        }
    }
    let mirrored: Vec<ContainerPath> =
        out.roots.iter().filter(|root| root.kind == Kind::Mirror).map(|root| root.real.clone()).collect();
    for root in out.roots.iter_mut().filter(|root| root.kind == Kind::Mirror) {
        let outer = mirrored.iter().filter(|outer| root.real.below(outer).is_some());
        if let Some(outer) = outer.min_by_key(|outer| outer.as_str().len()) {
            root.tree = outer.clone();
        }
    }
    out.unmapped.extend(probe.archives.iter().filter_map(|archive| ContainerPath::new(archive).ok()));
    out
}

/// What is importable inside and cannot be made visible outside, a sentence each.
pub fn unseen(probe: &Probe) -> Vec<String> {
    // Everything here is the container's word.
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    let list = |all: &[String]| {
        let named = all.iter().take(5).map(|one| short(one)).collect::<Vec<_>>().join(", ");
        if all.len() > 5 { format!("{named} and {} more", all.len() - 5) } else { named }
    };
    // The standard library's own archive is on every path, and almost never there.
    let is_stdlib = |path: &String| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name.starts_with("python") && name.strip_suffix(".zip").is_some()
    };
    let zipped: Vec<String> = probe.archives.iter().filter(|path| !is_stdlib(path)).cloned().collect();
    let mut sentences = Vec::new();
    if !zipped.is_empty() {
        sentences
            .push(format!("language tools outside do not see what is imported from an archive: {}", list(&zipped)));
    }
    if !probe.unsaid.is_empty() {
        sentences.push(format!(
            "language tools outside do not see what an editable install puts under another name than its folder's: {}",
            list(&probe.unsaid)
        ));
    }
    sentences
}

/// The map for the shim: workspace, mounts, the host env itself, the venv's libraries, mirrored roots.
///
/// Inside, the venv's `bin` is what the host env's `bin` is outside, so the host env stands for the
/// venv, and only its `lib` leads to the data folder.
pub fn map(
    shared: &[Shared],
    host_env: &HostPath,
    venv: &ContainerPath,
    on_host: &[Mapping],
    trees: &[Mapping],
) -> PathMap {
    let mut map: Vec<Mapping> =
        shared.iter().filter(|s| s.kind != Kind::Venv).map(|shared| shared.mapping.clone()).collect();
    map.push(Mapping { host: host_env.clone(), container: venv.clone() });
    for folder in shared.iter().filter(|s| s.kind == Kind::Venv) {
        if let Ok(lib) = folder.mapping.container.join("lib") {
            map.push(Mapping { host: folder.mapping.host.join("lib"), container: lib });
        }
    }
    for mapping in trees.iter().chain(on_host) {
        if !map.contains(mapping) {
            map.push(mapping.clone());
        }
    }
    PathMap::new(map)
}

fn owner(path: &ContainerPath, shared: &[Shared]) -> Option<(Kind, HostPath)> {
    let (folder, rest) = shared
        .iter()
        .filter_map(|folder| Some((folder, path.below(&folder.mapping.container)?)))
        .max_by_key(|(folder, _)| folder.mapping.container.as_str().len())?;
    let host = &folder.mapping.host;
    Some((folder.kind, if rest.is_empty() { host.clone() } else { host.join(rest) }))
}

/// Folders that are no import root whatever `sys.path` says: copying them would copy the image.
fn is_refused(path: &ContainerPath) -> bool {
    const AT: &[&str] = &[
        "/",
        "/bin",
        "/boot",
        "/etc",
        "/home",
        "/lib",
        "/lib32",
        "/lib64",
        "/media",
        "/mnt",
        "/opt",
        "/root",
        "/sbin",
        "/srv",
        "/usr",
        "/usr/lib",
        "/usr/lib64",
        "/usr/local",
        "/usr/local/lib",
        "/usr/share",
        "/var",
        "/var/lib",
    ];
    const BELOW: &[&str] = &["/dev", "/proc", "/run", "/sys", "/tmp", "/var/tmp", "/.gpubay"];
    AT.contains(&path.as_str())
        || BELOW.iter().any(|folder| ContainerPath::new(folder).is_ok_and(|folder| path.below(&folder).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(path: &str) -> ContainerPath {
        ContainerPath::new(path).expect("a container path")
    }

    fn host(path: &str) -> HostPath {
        HostPath::new(path).expect("a host path")
    }

    fn probe(path: &[(&str, &str)], editable: &[&str], archives: &[&str]) -> Probe {
        Probe {
            version: "3.11.2".into(),
            implementation: "cpython".into(),
            executable: "/app/.venv/bin/python".into(),
            prefix: "/app/.venv".into(),
            base_prefix: "/usr".into(),
            path: path.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            archives: archives.iter().map(|a| (*a).to_owned()).collect(),
            site_packages: vec![],
            user_site: None,
            image_scripts: vec![],
            paths: [].into(),
            editable: editable.iter().map(|a| ((*a).to_owned(), (*a).to_owned())).collect(),
            unsaid: vec![],
            distributions: vec![],
            conda: false,
            has_venv: true,
            has_ensurepip: true,
            has_pip: true,
        }
    }

    fn shared() -> Vec<Shared> {
        let one = |kind, h: &str, c: &str| Shared { kind, mapping: Mapping { host: host(h), container: container(c) } };
        vec![
            one(Kind::Workspace, "/home/ada/ws", "/app"),
            one(Kind::Venv, "/data/venvs/1", "/app/.venv"),
            one(Kind::Mounted, "/home/ada/libs", "/libs"),
        ]
    }

    #[test]
    fn each_root_has_one_owner_and_trees_do_not_nest() {
        let probe = probe(
            &[
                ("/usr/lib/python3.11", "/usr/lib/python3.11"),
                ("/usr/lib/python3.11/lib-dynload", "/usr/lib/python3.11/lib-dynload"),
                ("/app/.venv/lib/python3.11/site-packages", "/app/.venv/lib/python3.11/site-packages"),
                ("/app/src", "/app/src"),
                ("/libs/one", "/libs/one"),
                ("/lib/python3/dist-packages", "/usr/lib/python3/dist-packages"),
                ("/usr/lib/python3/dist-packages", "/usr/lib/python3/dist-packages"),
                ("/tmp/x", "/tmp/x"),
                ("/usr", "/usr"),
            ],
            &["/opt/src", "/"],
            &["/usr/lib/python311.zip"],
        );
        let roots = roots(&probe, &shared());
        let got: Vec<(&str, Kind, &str)> =
            roots.roots.iter().map(|r| (r.container.as_str(), r.kind, r.tree.as_str())).collect();
        assert_eq!(
            got,
            [
                ("/usr/lib/python3.11", Kind::Mirror, "/usr/lib/python3.11"),
                ("/usr/lib/python3.11/lib-dynload", Kind::Mirror, "/usr/lib/python3.11"),
                ("/app/.venv/lib/python3.11/site-packages", Kind::Venv, "/app/.venv/lib/python3.11/site-packages"),
                ("/app/src", Kind::Workspace, "/app/src"),
                ("/libs/one", Kind::Mounted, "/libs/one"),
                ("/lib/python3/dist-packages", Kind::Mirror, "/usr/lib/python3/dist-packages"),
                ("/opt/src", Kind::Mirror, "/opt/src"),
            ]
        );
        let trees: Vec<String> = roots.trees().into_iter().map(String::from).collect();
        assert_eq!(trees, ["/usr/lib/python3.11", "/usr/lib/python3/dist-packages", "/opt/src"]);
        let unmapped: Vec<&str> = roots.unmapped.iter().map(ContainerPath::as_str).collect();
        assert_eq!(unmapped, ["/tmp/x", "/usr", "/", "/usr/lib/python311.zip"]);

        let mirror = |tree: &ContainerPath| (tree.as_str() != "/opt/src").then(|| host(&format!("/m{tree}")));
        let on_host = roots.on_host(mirror);
        let lines: Vec<String> = on_host.iter().map(|m| m.host.to_string()).collect();
        assert_eq!(
            lines,
            [
                "/data/venvs/1/lib/python3.11/site-packages",
                "/m/usr/lib/python3.11",
                "/m/usr/lib/python3.11/lib-dynload",
                "/home/ada/ws/src",
                "/home/ada/libs/one",
                "/m/usr/lib/python3/dist-packages",
            ]
        );
        assert!(roots.unmapped(&on_host).contains(&container("/opt/src")));
        assert!(!roots.unmapped(&on_host).contains(&container("/app/src")));
    }

    #[test]
    fn a_mount_inside_a_tree_is_not_scanned() {
        let roots = roots(&probe(&[("/usr/local/lib/python3.12", "/usr/local/lib/python3.12")], &[], &[]), &[]);
        let inside = Shared {
            kind: Kind::Mounted,
            mapping: Mapping { host: host("/x"), container: container("/usr/local/lib/python3.12/site-packages/x") },
        };
        assert_eq!(roots.exclude(&[inside]), [container("/usr/local/lib/python3.12/site-packages/x")]);
        assert_eq!(roots.exclude(&shared()), []);
    }

    #[test]
    fn the_shims_map_has_the_host_env_for_the_venv_and_the_data_folder_for_its_libraries() {
        let map = map(&shared(), &host("/home/ada/ws/.venv"), &container("/app/.venv"), &[], &[]);
        for (inside, outside) in [
            ("/app/.venv/bin/python", "/home/ada/ws/.venv/bin/python"),
            ("/app/.venv", "/home/ada/ws/.venv"),
            ("/app/.venv/lib/python3.11/site-packages", "/data/venvs/1/lib/python3.11/site-packages"),
            ("/app/train.py", "/home/ada/ws/train.py"),
        ] {
            assert_eq!(map.to_host(&container(inside)), Some(outside.into()), "{inside}");
        }
    }
}
