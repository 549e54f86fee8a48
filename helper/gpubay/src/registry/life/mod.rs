//! How long the makers of common base images look after them. A version that is not listed is not judged.

pub mod cuda;

/// Year, month, day.
pub type Day = (i32, u8, u8);

/// By the clock of this machine.
pub fn today() -> Day {
    let date = time::OffsetDateTime::now_utc().date();
    (date.year(), u8::from(date.month()), date.day())
}

/// A version whose maker has ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// `Python 3.8`
    pub what: String,
    pub how: How,
    /// A version that is looked after for longest yet, or the image that is most like it.
    pub instead: String,
}

/// How a maker has ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// The last day on which it was mended.
    Since(Day),
    /// That is not known to the day.
    Over,
    /// The maker's registries hold it no more. `again`: what `init --base` takes to write a recipe for one like it.
    Deleted { again: Option<String> },
    /// By a later release of the same, here.
    Replaced(String),
}

impl Past {
    pub fn said(&self) -> String {
        let what = &self.what;
        let how = match &self.how {
            How::Since((year, month, day)) => {
                format!("its maker has mended nothing since {year}-{month:02}-{day:02}")
            }
            How::Over => "its maker mends nothing of it any more".to_owned(),
            How::Deleted { .. } => "its maker has deleted its images".to_owned(),
            How::Replaced(by) => format!("its maker has replaced it by {by}, and deletes what is replaced"),
        };
        format!("{what} is past its life: {how}")
    }

    /// What to do.
    pub fn next(&self) -> String {
        match &self.how {
            How::Deleted { again: Some(again) } => format!(
                "{} is looked after; `gpubay init --base {again}` writes a recipe for such a base, unsupported.",
                self.instead
            ),
            _ => format!("{} is looked after.", self.instead),
        }
    }
}

struct Line {
    /// Last component of the image's name.
    image: &'static str,
    name: &'static str,
    /// What a tag begins with, up to a `-`, a `.` or its end.
    versions: &'static [(&'static str, Day)],
    instead: &'static str,
}

/// Sources: the release cycles that the makers publish (peps.python.org and devguide.python.org, ubuntu.com/about/release-cycle
/// for standard support, wiki.debian.org/LTS, alpinelinux.org/releases), read in November 2026.
const LINES: [Line; 4] = [
    Line {
        image: "python",
        name: "Python",
        versions: &[
            ("2", (2020, 1, 1)),
            ("3.5", (2020, 9, 30)),
            ("3.6", (2021, 12, 23)),
            ("3.7", (2023, 6, 27)),
            ("3.8", (2024, 10, 7)),
            ("3.9", (2025, 10, 31)),
            ("3.10", (2026, 10, 31)),
            ("3.11", (2027, 10, 31)),
        ],
        instead: "3.13",
    },
    Line {
        image: "ubuntu",
        name: "Ubuntu",
        versions: &[
            ("14.04", (2019, 4, 30)),
            ("trusty", (2019, 4, 30)),
            ("16.04", (2021, 4, 30)),
            ("xenial", (2021, 4, 30)),
            ("18.04", (2023, 5, 31)),
            ("bionic", (2023, 5, 31)),
            ("20.04", (2025, 5, 31)),
            ("focal", (2025, 5, 31)),
            ("22.04", (2027, 4, 30)),
            ("jammy", (2027, 4, 30)),
        ],
        instead: "24.04",
    },
    Line {
        image: "debian",
        name: "Debian",
        versions: &[
            ("8", (2020, 6, 30)),
            ("jessie", (2020, 6, 30)),
            ("9", (2022, 6, 30)),
            ("stretch", (2022, 6, 30)),
            ("10", (2024, 6, 30)),
            ("buster", (2024, 6, 30)),
            ("11", (2026, 8, 31)),
            ("bullseye", (2026, 8, 31)),
        ],
        instead: "13",
    },
    Line {
        image: "alpine",
        name: "Alpine",
        versions: &[("3.17", (2024, 11, 22)), ("3.18", (2025, 5, 9)), ("3.19", (2025, 11, 1)), ("3.20", (2026, 4, 1))],
        instead: "3.22",
    },
];

/// Whether `image`, as a `FROM` names it, is past its life on `today`.
pub fn past(image: &str, today: Day) -> Option<Past> {
    if let Some((repository, tag)) = cuda::of_nvidia(image) {
        return cuda::past(repository, &cuda::Tag::parse(tag?)?, today);
    }
    let image = image.split('@').next()?;
    let (repository, tag) = image.rsplit_once(':')?;
    let name = repository.rsplit('/').next()?;
    let line = LINES.iter().find(|line| line.image == name)?;
    let matches = |version: &str| {
        tag.strip_prefix(version).is_some_and(|rest| rest.is_empty() || rest.starts_with('-') || rest.starts_with('.'))
    };
    let (version, ended) = line.versions.iter().rfind(|(version, _)| matches(version))?;
    (*ended < today).then(|| Past {
        what: format!("{} {version}", line.name),
        how: How::Since(*ended),
        instead: format!("{repository}:{}", line.instead),
    })
}

/// Of a version of what is listed: its last day.
fn end_of(image: &str, version: &str) -> Option<Day> {
    let line = LINES.iter().find(|line| line.image == image)?;
    line.versions.iter().find(|(known, _)| *known == version).map(|(_, ended)| *ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_judged_by_its_makers_own_end() {
        let today = (2026, 11, 27);
        let what = |image| past(image, today).map(|past| past.what);
        for (image, wanted) in [
            ("python:3.8", Some("Python 3.8")),
            ("python:3.8.19-slim", Some("Python 3.8")),
            ("docker.io/library/python:3.10-bookworm", Some("Python 3.10")),
            ("python:2.7", Some("Python 2")),
            ("ubuntu:20.04", Some("Ubuntu 20.04")),
            ("ubuntu:focal-20240101", Some("Ubuntu focal")),
            ("debian:bullseye-slim", Some("Debian bullseye")),
            ("debian:11.9", Some("Debian 11")),
            ("python:3.12", None),
            ("python:3.1", None),
            ("python:latest", None),
            ("python", None),
            ("me/python-app:3.8", None),
            ("localhost:5000/x", None),
            ("ubuntu:24.04@sha256:00", None),
            ("debian:12", None),
        ] {
            assert_eq!(what(image).as_deref(), wanted, "{image}");
        }
        assert_eq!(past("python:3.8", (2024, 10, 7)), None);
        let next = |image| past(image, today).map(|past| past.next());
        assert_eq!(next("ubuntu:20.04").as_deref(), Some("ubuntu:24.04 is looked after."));
        assert_eq!(
            next("hub.lan:5000/library/python:3.8-slim").as_deref(),
            Some("hub.lan:5000/library/python:3.13 is looked after.")
        );
    }
}
