//! Known holes of the engine and of the runc below it: what a hostile image or Dockerfile could do there.
//!
//! Asked only where a container is made or an image built: an engine starts two programs to tell the
//! versions, 15 to 30 ms.

use bollard::models::SystemVersionComponents;

use super::Engine;

/// A release, without what a packager adds.
type Release = [u32; 3];

/// Builds of distributions that carry the fix for CVE-2024-21626 under an older number: what stands before
/// the last number, and the least such number.
const MENDED_RUNC: &[(&str, u32)] = &[
    ("1.1.5+ds1-1+deb12u", 1),
    ("1.0.0~rc93+ds1-5+deb11u", 3),
    ("1.1.7-0ubuntu1~20.04.", 2),
    ("1.1.7-0ubuntu1~22.04.", 2),
    ("1.1.7-0ubuntu2.", 2),
];

/// A hole that the engine is known to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Its number in the list of Common Vulnerabilities and Exposures; the first where it has several.
    pub cve: &'static str,
    /// A sentence that names the version that has it and the first without.
    pub text: String,
}

/// One line for all of them, where somebody came for something else.
pub fn in_short(holes: &[Hole]) -> Option<String> {
    let numbers: Vec<&str> = holes.iter().map(|hole| hole.cve).collect();
    (!numbers.is_empty()).then(|| {
        format!(
            "the engine has known holes ({}): `gpubay doctor` says what they are and what mends them",
            numbers.join(", ")
        )
    })
}

impl Engine {
    /// What it is known to have. An engine that does not tell its versions has none that is known.
    pub async fn holes(&self) -> Vec<Hole> {
        match self.docker.version().await {
            Ok(version) => holes_of(&version.components.unwrap_or_default()),
            Err(error) => {
                tracing::debug!(%error, "the engine does not tell its versions");
                Vec::new()
            }
        }
    }
}

impl Engine {
    /// The version of its runc, where that is one of those that do not tell systemd of a device that has no link in
    /// /dev/char: the next `systemctl daemon-reload` takes it from what runs.
    pub async fn forgetful_runc(&self) -> Option<String> {
        let version = self.docker.version().await.ok()?;
        forgetful(&version.components.unwrap_or_default())
    }
}

fn forgetful(components: &[SystemVersionComponents]) -> Option<String> {
    let runc = components.iter().find(|component| component.name == "runc")?;
    let release = release(&runc.version)?;
    ([1, 1, 3]..[1, 1, 7]).contains(&release).then(|| runc.version.clone())
}

fn holes_of(components: &[SystemVersionComponents]) -> Vec<Hole> {
    let mut holes = Vec::new();
    let named = |name: &str| components.iter().find(|component| component.name == name);
    if let Some(runc) = named("runc")
        && let Some(release) = release(&runc.version)
        && release < [1, 1, 12]
    {
        let details = runc.details.as_ref();
        // Debian writes its own revision there.
        let revision = details.and_then(|details| details.get("GitCommit")).map_or("", String::as_str);
        if !is_mended(&runc.version) && !is_mended(revision) {
            let text = format!(
                "the engine's runc {} lets an image or a Dockerfile out of its container by its working directory \
                 (CVE-2024-21626, mended in runc 1.1.12): use only images that you trust until it is updated",
                runc.version
            );
            holes.push(Hole { cve: "CVE-2024-21626", text });
        }
    }
    // Podman calls itself otherwise and counts otherwise.
    let Some(engine) = named("Engine") else { return holes };
    let Some(release) = release(&engine.version) else { return holes };
    // The number of a distribution's package does not tell what was mended in it.
    let packaged = engine.version.contains(|c: char| !c.is_ascii_digit() && c != '.');
    let unless = if packaged { ", unless your distribution has mended it under this number" } else { "" };
    if release < [24, 0, 9] || ([25, 0, 0]..[25, 0, 2]).contains(&release) {
        let text = format!(
            "Docker {}{unless}, lets a stranger's Dockerfile or `# syntax=` reach out of its build \
             (CVE-2024-23651, -23652 and -23653, mended in 24.0.9 and 25.0.2): build only what you trust",
            engine.version
        );
        holes.push(Hole { cve: "CVE-2024-23651", text });
    }
    // 25.0 is kept alive and has got the fix.
    if release < [29, 5, 1] && release[..2] != [25, 0] {
        let text = format!(
            "Docker {}{unless}, runs a container's own `xz` as root of the host when a compressed archive is copied \
             into it (CVE-2026-41567, mended in 29.5.1): gpubay sends none; do not pipe one into `docker cp`",
            engine.version
        );
        holes.push(Hole { cve: "CVE-2026-41567", text });
    }
    holes
}

/// `28.5.2+dfsg4`, `1.1.5+ds1`, `1.2.0-rc.1`; `None` for what begins with no number.
fn release(version: &str) -> Option<Release> {
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let mut numbers = version[..end].split('.');
    let major = numbers.next()?.parse().ok()?;
    let mut next = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    Some([major, next(), next()])
}

fn is_mended(build: &str) -> bool {
    MENDED_RUNC.iter().any(|(stem, least)| {
        let number = build.strip_prefix(stem).map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        number.flatten().and_then(|number| number.parse::<u32>().ok()).is_some_and(|number| number >= *least)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_runc_forgets_devices() {
        let runc = |version: &str| SystemVersionComponents {
            name: "runc".to_owned(),
            version: version.to_owned(),
            details: None,
        };
        for (version, forgets) in [
            ("1.1.2", false),
            ("1.1.3", true),
            ("1.1.5+ds1", true),
            ("1.1.7", false),
            ("1.2.0-rc.1", false),
            ("unknown", false),
        ] {
            assert_eq!(forgetful(&[runc(version)]).is_some(), forgets, "{version}");
        }
        assert_eq!(forgetful(&[]), None);
    }
}
