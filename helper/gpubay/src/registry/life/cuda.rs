//! NVIDIA's own CUDA images: which tags there are, which of them NVIDIA has given up, and what is nearest to one. Pure.
//!
//! Sources, read in November 2026: doc/support-policy.md and doc/supported-tags.md of gitlab.com/nvidia/container-images/cuda
//! (the policy: of a toolkit only its last release is looked after, and two major versions at a time; what is given up
//! is deleted half a year later), and for what came after the last copy of that list the tags that public Dockerfiles
//! are built from. Of a release that is not listed nothing is said.

use std::cmp::Ordering;

use super::{Day, How, Past};
use crate::gpu::cuda::Cuda;

/// CUDA 13 came out, and 11 was given up with it.
const END_OF_11: Day = (2025, 8, 4);
/// Docker Hub and NVIDIA's own registry hold none that is older.
const OLDEST_LEFT: u32 = 11;

/// A release that is looked after.
struct Release {
    version: (u32, u32, u32),
    /// What its tags with cuDNN call that.
    cudnn: &'static str,
    distros: &'static [&'static str],
    without_cudnn: &'static [&'static str],
}

const fn release(
    version: (u32, u32, u32),
    cudnn: &'static str,
    distros: &'static [&'static str],
    without_cudnn: &'static [&'static str],
) -> Release {
    Release { version, cudnn, distros, without_cudnn }
}

const OLD: &[&str] = &["ubuntu20.04", "ubuntu22.04", "rockylinux8", "rockylinux9", "ubi7", "ubi8", "ubi9", "centos7"];
const RED: &[&str] = &["rockylinux8", "rockylinux9", "ubi8", "ubi9", "oraclelinux8", "oraclelinux9"];

/// The oldest first. Two of one toolkit: the later one is known on some distributions only.
const RELEASES: [Release; 17] = [
    release(
        (12, 0, 1),
        "cudnn8",
        &["ubuntu18.04", "ubuntu20.04", "ubuntu22.04", "rockylinux8", "rockylinux9", "ubi7", "ubi8", "ubi9", "centos7"],
        &[],
    ),
    release((12, 1, 1), "cudnn8", OLD, &[]),
    release((12, 2, 2), "cudnn8", OLD, &[]),
    release((12, 3, 2), "cudnn9", OLD, &[]),
    release((12, 4, 1), "cudnn", &["ubuntu20.04", "ubuntu22.04", "rockylinux8", "rockylinux9", "ubi8", "ubi9"], &[]),
    release(
        (12, 5, 1),
        "cudnn",
        &["ubuntu20.04", "ubuntu22.04", "rockylinux8", "rockylinux9", "ubi8", "ubi9"],
        &["ubuntu24.04"],
    ),
    release(
        (12, 6, 3),
        "cudnn",
        &["ubuntu20.04", "ubuntu22.04", "ubuntu24.04", "rockylinux8", "rockylinux9", "ubi8", "ubi9"],
        &["amzn2023", "cm2"],
    ),
    release((12, 8, 1), "cudnn", &["ubuntu20.04", "ubuntu22.04", "ubuntu24.04"], &[]),
    release((12, 8, 1), "cudnn", RED, &["amzn2023", "cm2"]),
    release((12, 9, 1), "cudnn", RED, &["amzn2023", "cm2", "azl3"]),
    release((12, 9, 2), "cudnn", &["ubuntu20.04", "ubuntu22.04", "ubuntu24.04"], &[]),
    release((13, 0, 2), "cudnn", RED, &["amzn2023", "azl3"]),
    release((13, 0, 3), "cudnn", &["ubuntu22.04", "ubuntu24.04"], &[]),
    release((13, 1, 2), "cudnn", &["ubuntu22.04", "ubuntu24.04"], &[]),
    release((13, 2, 1), "cudnn", &["ubuntu22.04", "ubuntu24.04"], &[]),
    release((13, 3, 1), "cudnn", &["ubuntu22.04", "ubuntu24.04", "ubuntu26.04"], &[]),
    release((13, 4, 2), "cudnn", &["ubuntu24.04", "ubuntu26.04"], &[]),
];

/// What NVIDIA's package archive for Ubuntu 18.04 holds of a toolkit whose images are deleted. The versions are those of its
/// last images (dist/end-of-life of the same repository).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packages {
    pub cuda: Cuda,
    /// Of most packages.
    pub version: &'static str,
    /// Of cuBLAS, where that is a package of its own.
    pub cublas: Option<&'static str>,
    /// Of cuDNN, where the archive has one for this toolkit: its major version, and all of it.
    pub cudnn: Option<(&'static str, &'static str)>,
}

const ARCHIVED: [Packages; 3] = [
    Packages { cuda: Cuda::new(10, 0), version: "10.0.130-1", cublas: None, cudnn: None },
    Packages { cuda: Cuda::new(10, 1), version: "10.1.243-1", cublas: Some("10.2.1.243-1"), cudnn: None },
    Packages {
        cuda: Cuda::new(10, 2),
        version: "10.2.89-1",
        cublas: Some("10.2.2.89-1"),
        cudnn: Some(("8", "8.6.0.163-1")),
    },
];

pub fn packages(cuda: Cuda) -> Option<&'static Packages> {
    ARCHIVED.iter().find(|one| one.cuda == cuda)
}

/// For who asked for another.
pub fn archived() -> String {
    ARCHIVED.map(|one| one.cuda.to_string()).join(", ")
}

/// A tag taken apart: `12.4.1-cudnn-devel-ubuntu22.04`, and the forms that older ones have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    pub cuda: Cuda,
    pub patch: Option<u32>,
    pub cudnn: bool,
    /// `base`, `runtime`, `devel`; what else there was is kept.
    pub kind: Option<String>,
    pub distro: Option<String>,
}

impl Tag {
    /// `None` for one that begins with no version.
    pub fn parse(tag: &str) -> Option<Self> {
        let mut words = tag.split('-');
        let version = words.next()?;
        let cuda = Cuda::parse(version)?;
        let mut found = Self {
            cuda,
            patch: version.split('.').nth(2).and_then(|patch| patch.parse().ok()),
            cudnn: false,
            kind: None,
            distro: None,
        };
        for word in words {
            if word.starts_with("cudnn") {
                found.cudnn = true;
            } else if word.chars().any(|c| c.is_ascii_digit()) && word.starts_with(|c: char| c.is_ascii_alphabetic()) {
                found.distro = Some(word.to_owned());
            } else if found.kind.is_none() {
                found.kind = Some(word.to_owned());
            }
        }
        Some(found)
    }

    fn version(&self) -> String {
        self.patch.map_or_else(|| self.cuda.to_string(), |patch| format!("{}.{patch}", self.cuda))
    }
}

/// The repository of an image that is one of NVIDIA's CUDA images, and its tag; `None` for any other image. Mirrors have
/// it below a name of their own.
pub fn of_nvidia(image: &str) -> Option<(&str, Option<&str>)> {
    let image = image.split('@').next()?;
    let (repository, tag) = match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (image, None),
    };
    (repository == "nvidia/cuda" || repository.ends_with("/nvidia/cuda")).then_some((repository, tag))
}

/// Whether NVIDIA decides what that repository holds.
fn is_nvidias_own(repository: &str) -> bool {
    ["nvidia/cuda", "docker.io/nvidia/cuda", "index.docker.io/nvidia/cuda", "nvcr.io/nvidia/cuda"].contains(&repository)
}

pub(super) fn past(repository: &str, tag: &Tag, today: Day) -> Option<Past> {
    let what = format!("CUDA {}", tag.version());
    let instead = format!("{repository}:{}", nearest(tag, today)?);
    let how = match tag.cuda.major.cmp(&OLDEST_LEFT) {
        Ordering::Less if is_nvidias_own(repository) => {
            How::Deleted { again: packages(tag.cuda).map(|_| format!("cuda:{}", tag.cuda)) }
        }
        Ordering::Less => How::Over,
        Ordering::Equal if END_OF_11 < today => How::Since(END_OF_11),
        Ordering::Equal => return of_distro(tag, instead, today),
        Ordering::Greater => match replaced_by(tag) {
            Some(by) => How::Replaced(by),
            None => return of_distro(tag, instead, today),
        },
    };
    Some(Past { what, how, instead })
}

/// Its toolkit is looked after, and what it stands on may not be.
fn of_distro(tag: &Tag, instead: String, today: Day) -> Option<Past> {
    let distro = tag.distro.as_deref()?;
    let ended = end_of(distro).filter(|ended| *ended < today)?;
    Some(Past { what: distro_name(distro), how: How::Since(ended), instead })
}

/// The last day of what NVIDIA's images stand on, where that is known: Ubuntu's standard support, Red Hat's maintenance, Azure
/// Linux's support (ubuntu.com/about/release-cycle, access.redhat.com/support/policy, learn.microsoft.com, read in November 2026).
fn end_of(distro: &str) -> Option<Day> {
    if let Some(version) = distro.strip_prefix("ubuntu") {
        return super::end_of("ubuntu", version);
    }
    match distro {
        "centos6" => Some((2020, 11, 30)),
        "centos7" | "ubi7" => Some((2024, 6, 30)),
        "centos8" => Some((2021, 12, 31)),
        "cm2" => Some((2025, 7, 31)),
        _ => None,
    }
}

fn distro_name(distro: &str) -> String {
    let (name, version) = distro.split_at(distro.find(|c: char| c.is_ascii_digit()).unwrap_or(distro.len()));
    let name = match name {
        "ubuntu" => "Ubuntu",
        "centos" => "CentOS",
        "ubi" => "Red Hat's UBI",
        "cm" => "CBL-Mariner",
        other => other,
    };
    format!("{name} {version}")
}

/// The later release of the same toolkit, on the same distribution.
fn replaced_by(tag: &Tag) -> Option<String> {
    let (patch, distro) = (tag.patch?, tag.distro.as_deref()?);
    let later = RELEASES.iter().rfind(|release| {
        let (major, minor, last) = release.version;
        Cuda::new(major, minor) == tag.cuda && last > patch && release.has(distro, false)
    })?;
    Some(later.name())
}

impl Release {
    fn has(&self, distro: &str, cudnn: bool) -> bool {
        self.distros.contains(&distro) || (!cudnn && self.without_cudnn.contains(&distro))
    }

    fn name(&self) -> String {
        let (major, minor, patch) = self.version;
        format!("{major}.{minor}.{patch}")
    }
}

/// The tag that is looked after and is most like `tag`: its flavour, its distribution where that has one and is looked after itself,
/// and of these the same toolkit, or the next newer one.
pub fn nearest(tag: &Tag, today: Day) -> Option<String> {
    let mut distro = tag.distro.as_deref().unwrap_or("ubuntu22.04");
    let lives = |distro: &str| end_of(distro).is_none_or(|ended| ended >= today);
    while !lives(distro) || !RELEASES.iter().any(|release| release.has(distro, tag.cudnn)) {
        let Some(next) = akin(distro) else { break };
        distro = next;
    }
    let those = || RELEASES.iter().filter(|release| release.has(distro, tag.cudnn));
    let of = |release: &&Release| Cuda::new(release.version.0, release.version.1);
    let release = those()
        .rfind(|release| of(release) == tag.cuda)
        .or_else(|| those().find(|release| of(release) > tag.cuda))
        .or_else(|| those().next_back())?;
    let kind = tag.kind.as_deref().filter(|kind| ["base", "runtime", "devel"].contains(kind)).unwrap_or("devel");
    let cudnn = if tag.cudnn && kind != "base" { format!("{}-", release.cudnn) } else { String::new() };
    Some(format!("{}-{cudnn}{kind}-{distro}", release.name()))
}

/// What is most like a distribution that has no images, or no life; `None`: the newest is no better.
fn akin(distro: &str) -> Option<&'static str> {
    Some(match distro {
        "ubuntu14.04" | "ubuntu16.04" | "ubuntu17.10" => "ubuntu18.04",
        "ubuntu18.04" => "ubuntu20.04",
        "ubuntu22.04" => "ubuntu24.04",
        "ubuntu24.04" => "ubuntu26.04",
        "ubuntu26.04" => return None,
        "centos6" => "centos7",
        "centos7" | "centos8" => "rockylinux8",
        "ubi7" => "ubi8",
        "cm2" => "azl3",
        // Ubuntu 20.04 as well.
        _ => "ubuntu22.04",
    })
}

/// The one that most software is tried on first.
const UBUNTUS: [&str; 5] = ["ubuntu24.04", "ubuntu22.04", "ubuntu26.04", "ubuntu20.04", "ubuntu18.04"];

/// The last releases of CUDA 11, with the newest Ubuntu of each: given up, and still there.
const ENDED: [((u32, u32, u32), &str); 8] = [
    ((11, 0, 3), "ubuntu20.04"),
    ((11, 1, 1), "ubuntu20.04"),
    ((11, 2, 2), "ubuntu20.04"),
    ((11, 4, 3), "ubuntu20.04"),
    ((11, 5, 2), "ubuntu20.04"),
    ((11, 6, 2), "ubuntu20.04"),
    ((11, 7, 1), "ubuntu22.04"),
    ((11, 8, 0), "ubuntu22.04"),
];

/// The tag that `cuda:12.4` means, where there is one: the last release, on the newest Ubuntu, with cuDNN
/// and compiler unless the tag names another flavour. `None`: no such tag is known.
pub fn complete(tag: &Tag) -> Option<String> {
    let kind = tag.kind.as_deref().unwrap_or("devel");
    let cudnn = tag.cudnn || (tag.kind.is_none() && kind == "devel");
    let of = |(major, minor, _): (u32, u32, u32)| Cuda::new(major, minor);
    if let Some(((major, minor, patch), newest)) = ENDED.iter().find(|(version, _)| of(*version) == tag.cuda) {
        let with = if cudnn && kind != "base" { "cudnn8-" } else { "" };
        return Some(format!("{major}.{minor}.{patch}-{with}{kind}-{}", tag.distro.as_deref().unwrap_or(newest)));
    }
    let those = RELEASES.iter().filter(|release| of(release.version) == tag.cuda);
    let fits = |release: &&Release, distro: &str| release.has(distro, cudnn);
    let found = those.rev().find_map(|release| {
        let distro = match tag.distro.as_deref() {
            Some(distro) => fits(&release, distro).then_some(distro),
            None => UBUNTUS.into_iter().find(|distro| fits(&release, distro)),
        };
        distro.map(|distro| (release, distro.to_owned()))
    });
    let (release, distro) = found?;
    let with = if cudnn && kind != "base" { format!("{}-", release.cudnn) } else { String::new() };
    Some(format!("{}-{with}{kind}-{distro}", release.name()))
}

/// The toolkits that are looked after, for who named another.
pub fn living() -> Vec<String> {
    let mut all: Vec<String> =
        RELEASES.iter().map(|release| Cuda::new(release.version.0, release.version.1).to_string()).collect();
    all.dedup();
    all
}

/// All of a major version that are to be had, one way or another.
pub fn of_major(major: &str) -> Vec<String> {
    let Ok(major) = major.parse::<u32>() else { return Vec::new() };
    let archived = ARCHIVED.iter().map(|one| one.cuda);
    let ended = ENDED.iter().map(|((major, minor, _), _)| Cuda::new(*major, *minor));
    let living = RELEASES.iter().map(|release| Cuda::new(release.version.0, release.version.1));
    let mut all: Vec<String> =
        archived.chain(ended).chain(living).filter(|cuda| cuda.major == major).map(|cuda| cuda.to_string()).collect();
    all.dedup();
    all
}

/// What to write for an image of NVIDIA's that names no tag, or `latest`, which they do not have. `None`: it names one, or is
/// a mirror's.
pub fn instead_of_latest(image: &str) -> Option<String> {
    let (repository, tag) = of_nvidia(image).filter(|_| !image.contains('@'))?;
    let none = tag.is_none_or(|tag| tag == "latest") && is_nvidias_own(repository);
    let newest = RELEASES.last().filter(|_| none)?;
    let tag =
        Tag { cuda: Cuda::new(newest.version.0, newest.version.1), patch: None, cudnn: true, kind: None, distro: None };
    Some(format!("{repository}:{}", complete(&tag)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::life::past;

    const TODAY: Day = (2026, 11, 27);

    #[test]
    fn tags_are_taken_apart_in_every_form_that_there_was() {
        let tag = |text| Tag::parse(text).map(|tag| (tag.version(), tag.cudnn, tag.kind, tag.distro));
        let some = |version: &str, cudnn, kind: Option<&str>, distro: Option<&str>| {
            Some((version.to_owned(), cudnn, kind.map(str::to_owned), distro.map(str::to_owned)))
        };
        for (text, expected) in [
            ("12.4.1-cudnn-devel-ubuntu22.04", some("12.4.1", true, Some("devel"), Some("ubuntu22.04"))),
            ("11.8.0-base-ubi8", some("11.8.0", false, Some("base"), Some("ubi8"))),
            ("10.2-cudnn7-runtime-centos7", some("10.2", true, Some("runtime"), Some("centos7"))),
            ("9.0-devel", some("9.0", false, Some("devel"), None)),
            ("10.2", some("10.2", false, None, None)),
            ("latest", None),
            ("ubuntu22.04", None),
        ] {
            assert_eq!(tag(text), expected, "{text}");
        }
    }

    #[test]
    fn what_nvidia_gave_up_is_told_with_the_nearest_that_it_has() {
        for (image, how, nearest) in [
            ("nvidia/cuda:10.2-devel-ubuntu18.04", "deleted", "nvidia/cuda:12.0.1-devel-ubuntu22.04"),
            ("nvidia/cuda:10.2-cudnn8-devel-ubuntu18.04", "deleted", "nvidia/cuda:12.0.1-cudnn8-devel-ubuntu22.04"),
            ("nvcr.io/nvidia/cuda:9.0-base-ubuntu16.04", "deleted", "nvcr.io/nvidia/cuda:12.0.1-base-ubuntu22.04"),
            ("nvidia/cuda:10.1-runtime-centos8", "deleted", "nvidia/cuda:12.0.1-runtime-rockylinux8"),
            ("nvidia/cuda:10.2", "deleted", "nvidia/cuda:12.0.1-devel-ubuntu22.04"),
            (
                "harbor.lan/hub/nvidia/cuda:10.2-devel-ubuntu18.04",
                "mends nothing",
                "harbor.lan/hub/nvidia/cuda:12.0.1-",
            ),
            ("nvidia/cuda:11.8.0-cudnn8-runtime-ubuntu22.04", "2025-08-04", "12.0.1-cudnn8-runtime-ubuntu22.04"),
            ("nvidia/cuda:12.4.0-devel-ubuntu22.04", "by 12.4.1", "nvidia/cuda:12.4.1-devel-ubuntu22.04"),
            ("nvidia/cuda:12.3.1-cudnn8-devel-ubuntu22.04@sha256:00", "by 12.3.2", "12.3.2-cudnn9-devel-ubuntu22.04"),
            ("nvidia/cuda:13.0.0-cudnn-devel-rockylinux9", "by 13.0.2", "13.0.2-cudnn-devel-rockylinux9"),
            ("nvidia/cuda:12.6.0-cudnn-devel-ubuntu24.04", "by 12.6.3", "12.6.3-cudnn-devel-ubuntu24.04"),
            ("nvidia/cuda:11.8.0-devel-centos7", "2025-08-04", "nvidia/cuda:12.0.1-devel-rockylinux8"),
            ("nvidia/cuda:12.8.0-devel-ubuntu20.04", "by 12.8.1", "nvidia/cuda:12.8.1-devel-ubuntu22.04"),
        ] {
            let found = past(image, TODAY).unwrap_or_else(|| panic!("{image} is past its life"));
            let (said, next) = (found.said(), found.next());
            assert!(said.starts_with("CUDA ") && said.contains(how), "{image}: {said}");
            assert!(next.contains(nearest), "{image}: {next}");
        }
        // The toolkit is looked after, and what it stands on is not.
        for (image, what, nearest) in [
            ("nvidia/cuda:12.0.1-devel-ubuntu18.04", "Ubuntu 18.04", "nvidia/cuda:12.0.1-devel-ubuntu22.04"),
            (
                "nvidia/cuda:12.8.1-cudnn-devel-ubuntu20.04",
                "Ubuntu 20.04",
                "nvidia/cuda:12.8.1-cudnn-devel-ubuntu22.04",
            ),
            ("nvidia/cuda:12.3.2-base-ubi7", "Red Hat's UBI 7", "nvidia/cuda:12.3.2-base-ubi8"),
            ("nvidia/cuda:12.6.3-devel-cm2", "CBL-Mariner 2", "nvidia/cuda:12.9.1-devel-azl3"),
        ] {
            let found = past(image, TODAY).unwrap_or_else(|| panic!("{image} stands on what is past its life"));
            assert_eq!((found.what.as_str(), found.instead.as_str()), (what, nearest), "{image}");
        }
        let deleted = past("nvidia/cuda:10.2-devel-ubuntu18.04", TODAY).expect("past").next();
        assert!(deleted.contains("`gpubay init --base cuda:10.2`"), "{deleted}");
        let older = past("nvidia/cuda:8.0-devel", TODAY).expect("past").next();
        assert!(!older.contains("gpubay init"), "there is no recipe: {older}");
    }

    #[test]
    fn what_is_looked_after_and_what_is_not_known_is_not_judged() {
        for image in [
            "nvidia/cuda:12.4.1-devel-ubuntu22.04",
            "nvidia/cuda:13.4.2-cudnn-devel-ubuntu24.04",
            // Later than the list.
            "nvidia/cuda:13.4.3-cudnn-devel-ubuntu24.04",
            "nvidia/cuda:13.9.0-base-ubuntu24.04",
            // A later one is not known on this distribution.
            "nvidia/cuda:12.9.1-devel-ubi9",
            "nvidia/cuda:latest",
            "nvidia/cuda",
            "me/cuda:10.2-devel-ubuntu18.04",
            "localhost:5000/nvidia/cuda",
        ] {
            assert_eq!(past(image, TODAY), None, "{image}");
        }
        assert_eq!(past("nvidia/cuda:11.8.0-base-ubuntu22.04", END_OF_11), None);
    }

    #[test]
    fn every_release_is_nearest_to_itself() {
        for release in &RELEASES {
            for distro in release.distros {
                for kind in ["base", "runtime", "devel"] {
                    let tag = format!("{}-{kind}-{distro}", release.name());
                    let lives = end_of(distro).is_none_or(|ended| ended >= TODAY);
                    let near = nearest(&Tag::parse(&tag).expect("a tag"), TODAY).expect("one");
                    assert_eq!(near == tag, lives, "{tag}: {near}");
                    assert_eq!(super::past("nvidia/cuda", &Tag::parse(&near).expect("a tag"), TODAY), None, "{near}");
                    assert_eq!(complete(&Tag::parse(&tag).expect("a tag")), Some(tag));
                }
            }
        }
    }

    #[test]
    fn a_toolkit_alone_means_its_last_release() {
        for (short, tag) in [
            ("12.4", Some("12.4.1-cudnn-devel-ubuntu22.04")),
            ("12.6", Some("12.6.3-cudnn-devel-ubuntu24.04")),
            ("12.3", Some("12.3.2-cudnn9-devel-ubuntu22.04")),
            ("13.4", Some("13.4.2-cudnn-devel-ubuntu24.04")),
            ("12.4-runtime", Some("12.4.1-runtime-ubuntu22.04")),
            ("12.4-cudnn-runtime", Some("12.4.1-cudnn-runtime-ubuntu22.04")),
            ("12.9-base-ubi9", Some("12.9.1-base-ubi9")),
            ("12.5-devel-ubuntu24.04", Some("12.5.1-devel-ubuntu24.04")),
            ("12.5-cudnn-devel-ubuntu24.04", None),
            ("12.7", None),
            ("11.8", Some("11.8.0-cudnn8-devel-ubuntu22.04")),
            ("11.2-base-ubi8", Some("11.2.2-base-ubi8")),
            ("10.2", None),
        ] {
            assert_eq!(complete(&Tag::parse(short).expect("a tag")).as_deref(), tag, "{short}");
        }
        assert!(living().contains(&"12.4".to_owned()) && !living().contains(&"11.8".to_owned()));
    }
}
