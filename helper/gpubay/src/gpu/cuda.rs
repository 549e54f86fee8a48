//! Whether a driver runs the CUDA that an image brings. Pure.
//!
//! Sources, read in November 2026: NVIDIA's CUDA Toolkit Release Notes (tables of toolkits and drivers for Linux on PCs), its
//! CUDA Compatibility guide (minor version compatibility since CUDA 11; forward compatibility, for data-center GPUs and some
//! RTX cards, by the package cuda-compat), and for the branches that each package takes the requirements which NVIDIA's own
//! images declare (gitlab.com/nvidia/container-images/cuda, `NVIDIA_REQUIRE_CUDA`).

use super::require::{self, Answers};

/// Of a toolkit: `12.4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cuda {
    pub major: u32,
    pub minor: u32,
}

impl Cuda {
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// `12.4`, or that and more: `12.4.1`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.');
        let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        parts.all(|part| part.parse::<u32>().is_ok()).then_some(Self { major, minor })
    }
}

impl std::fmt::Display for Cuda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// From 11 on a driver that runs one toolkit of a major version runs all of it (minor version compatibility).
const SINCE_11: [(u32, &str); 3] = [(11, "450.80.02"), (12, "525.60.13"), (13, "580.65.06")];
/// Before, each has its own.
const SINGLE: [(Cuda, &str); 10] = [
    (Cuda::new(7, 0), "346.46"),
    (Cuda::new(7, 5), "352.31"),
    (Cuda::new(8, 0), "375.26"),
    (Cuda::new(9, 0), "384.81"),
    (Cuda::new(9, 1), "390.46"),
    (Cuda::new(9, 2), "396.26"),
    (Cuda::new(10, 0), "410.48"),
    (Cuda::new(10, 1), "418.39"),
    (Cuda::new(10, 2), "440.33"),
    // The rest of 11 needs more.
    (Cuda::new(11, 0), "450.36.06"),
];
/// The last toolkit of a major version that has had its last.
const LAST_OF: [Cuda; 2] = [Cuda::new(11, 8), Cuda::new(12, 9)];

/// Every toolkit up to there is in one of the tables, or never was.
const LAST_KNOWN: Cuda = Cuda::new(13, u32::MAX);

/// The driver branches below the least that cuda-compat of a toolkit takes.
fn compat_takes(cuda: Cuda) -> &'static [u32] {
    match (cuda.major, cuda.minor) {
        (10, 1 | 2) | (11, 0..=4) => &[418],
        (12, 0..=8) => &[470],
        (13, _) => &[535, 550, 565, 570, 575],
        _ => &[],
    }
}

/// The least driver that runs it; `None`: not known here.
pub fn needs(cuda: Cuda) -> Option<&'static str> {
    let single = SINGLE.iter().find(|(known, _)| *known == cuda).map(|(_, driver)| *driver);
    single.or_else(|| SINCE_11.iter().find(|(major, _)| *major == cuda.major).map(|(_, driver)| *driver))
}

/// `550.54.15` by its parts.
fn parts(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>().filter(|parts| !parts.is_empty())
}

pub(super) fn compare(one: &str, other: &str) -> Option<std::cmp::Ordering> {
    let (mut one, mut other) = (parts(one)?, parts(other)?);
    let most = one.len().max(other.len());
    one.resize(most, 0);
    other.resize(most, 0);
    Some(one.cmp(&other))
}

fn runs(driver: &str, least: &str) -> Option<bool> {
    compare(driver, least).map(std::cmp::Ordering::is_ge)
}

/// The newest toolkit that a driver runs: `11.8`, or `13` of a major version that goes on.
pub fn newest_for(driver: &str) -> Option<String> {
    let fits = |least: &str| runs(driver, least) == Some(true);
    if let Some((major, _)) = SINCE_11.iter().rfind(|(_, least)| fits(least)) {
        let last = LAST_OF.iter().find(|last| last.major == *major);
        return Some(last.map_or_else(|| major.to_string(), Cuda::to_string));
    }
    SINGLE.iter().rfind(|(_, least)| fits(least)).map(|(cuda, _)| cuda.to_string())
}

/// What is known of the driver that an image's programs would meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// `550.54.15`
    pub driver: String,
    /// The newest toolkit that it runs by itself, as it says.
    pub cuda: Option<Cuda>,
    /// What its GPUs are sold as, in the words of [`require`]; of some it may not be known.
    pub brands: Vec<Option<String>>,
    /// Containers get GPUs through the NVIDIA runtime, which holds an image to what that requires.
    pub checked_by_runtime: bool,
}

/// What an image says of its CUDA, by itself or by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    pub cuda: Cuda,
    /// The value of `NVIDIA_REQUIRE_CUDA`, where the image is here.
    pub requirement: Option<String>,
    /// It holds the package cuda-compat.
    pub compat: bool,
    /// It does not tell the NVIDIA runtime itself to ask for nothing.
    pub enforced: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fit {
    Fits,
    /// The driver is older than the least, and the image's cuda-compat makes up for it on these GPUs.
    ByCompat,
    /// The driver is older than the least.
    TooOld {
        needs: &'static str,
        /// It might do all the same: cuda-compat takes this driver, on GPUs for data centers, and nobody tells whether
        /// these are such.
        perhaps: bool,
    },
    /// It is of a later major version than the newest that the driver says it runs.
    TooNew {
        newest: Cuda,
    },
    /// The driver runs it, and the NVIDIA runtime refuses to start it.
    Refused {
        asks: String,
    },
    /// Nothing is known that would tell.
    Unknown,
}

/// Whether programs in an image can use the machine's GPUs through the image's CUDA.
pub fn fit(wants: &Wants, machine: &Machine) -> Fit {
    let Some(needs) = needs(wants.cuda) else {
        // What no table here knows yet its driver may.
        return match machine.cuda {
            Some(newest) if newest >= wants.cuda => Fit::Fits,
            Some(newest) if newest.major < wants.cuda.major && wants.cuda > LAST_KNOWN => Fit::TooNew { newest },
            _ => Fit::Unknown,
        };
    };
    match runs(&machine.driver, needs) {
        None => Fit::Unknown,
        Some(true) => match refusal(wants, machine) {
            Some(asks) => Fit::Refused { asks },
            None => Fit::Fits,
        },
        Some(false) => {
            let compat = wants.compat && takes(wants, machine);
            match (compat, compat_runs_on(&machine.brands)) {
                (true, Some(true)) => Fit::ByCompat,
                (compat, on) => Fit::TooOld { needs, perhaps: compat && on.is_none() },
            }
        }
    }
}

/// Whether cuda-compat of the image is made for this driver.
fn takes(wants: &Wants, machine: &Machine) -> bool {
    match &wants.requirement {
        // Which brands that lists is another question: `compat_runs_on` answers it.
        Some(text) => require::lists(text, &machine.driver),
        None => {
            let branch = machine.driver.split('.').next().and_then(|branch| branch.parse().ok());
            branch.is_some_and(|branch| compat_takes(wants.cuda).contains(&branch))
        }
    }
}

/// cuda-compat works on GPUs for data centers, and on some RTX cards for workstations. `None`: that is not known.
fn compat_runs_on(brands: &[Option<String>]) -> Option<bool> {
    let runs = |brand: &Option<String>| match brand.as_deref()? {
        "tesla" | "nvidia" | "grid" | "vapps" | "vpc" | "vcs" | "vws" | "cloudgaming" => Some(true),
        "geforce" | "geforcertx" | "titan" | "titanrtx" | "nvs" => Some(false),
        _ => None,
    };
    let all: Vec<Option<bool>> = brands.iter().map(runs).collect();
    if all.contains(&Some(false)) {
        return Some(false);
    }
    (!all.is_empty() && all.iter().all(|one| *one == Some(true))).then_some(true)
}

/// What the NVIDIA runtime asks for in vain, where it is sure to.
fn refusal(wants: &Wants, machine: &Machine) -> Option<String> {
    let text = wants.requirement.as_deref().filter(|_| machine.checked_by_runtime && wants.enforced)?;
    let unsure = [None];
    let brands = if machine.brands.is_empty() { &unsure[..] } else { &machine.brands };
    let refused = |brand: &Option<String>| {
        let answers = Answers { cuda: machine.cuda, driver: &machine.driver, brand: brand.as_deref() };
        require::met(text, &answers) == Some(false)
    };
    brands.iter().all(refused).then(|| text.split_whitespace().next().unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(cuda: &str) -> Wants {
        Wants { cuda: Cuda::parse(cuda).expect("a version"), requirement: None, compat: true, enforced: true }
    }

    fn machine(driver: &str, brands: &[&str]) -> Machine {
        let brands = brands.iter().map(|brand| (!brand.is_empty()).then(|| (*brand).to_owned())).collect();
        Machine { driver: driver.to_owned(), brands, ..Machine::default() }
    }

    #[test]
    fn the_least_driver_is_that_of_the_major_version() {
        for (cuda, driver) in [
            ("13.4.1", Some("580.65.06")),
            ("12.0", Some("525.60.13")),
            ("12.9", Some("525.60.13")),
            ("11.8.0", Some("450.80.02")),
            ("11.0.3", Some("450.36.06")),
            ("10.2", Some("440.33")),
            ("9.0", Some("384.81")),
            ("14.0", None),
            ("10.3", None),
        ] {
            assert_eq!(needs(Cuda::parse(cuda).expect("a version")), driver, "{cuda}");
        }
        for text in ["12", "", "a.b", "12.x", "12.4-devel"] {
            assert_eq!(Cuda::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_driver_runs_what_is_not_newer_than_it() {
        for (cuda, driver, fits) in [
            ("12.4", "525.60.13", true),
            ("12.4", "525.60.12", false),
            ("12.4", "470.57.02", false),
            ("12.9", "550.54", true),
            ("13.0", "575.57.08", false),
            ("13.0", "580.65.06", true),
            ("13.0", "580.159", true),
            ("11.8", "450.80.02", true),
            ("11.8", "450.51", false),
            ("10.2", "595.71.05", true),
        ] {
            let found = fit(&wants(cuda), &machine(driver, &["geforce"]));
            assert_eq!(found == Fit::Fits, fits, "{cuda} on {driver}: {found:?}");
        }
        assert_eq!(fit(&wants("15.0"), &machine("470.57", &[])), Fit::Unknown);
        // A later one than the table's is judged by what the driver says of itself, if it does.
        let says = |cuda: &str, newest: (u32, u32)| {
            fit(&wants(cuda), &Machine { cuda: Some(Cuda::new(newest.0, newest.1)), ..machine("590.1", &[]) })
        };
        assert_eq!(says("14.0", (13, 1)), Fit::TooNew { newest: Cuda::new(13, 1) });
        assert_eq!(says("99.9", (14, 2)), Fit::TooNew { newest: Cuda::new(14, 2) });
        assert_eq!((says("14.0", (14, 0)), says("14.3", (14, 0))), (Fit::Fits, Fit::Unknown));
        assert_eq!(says("10.3", (9, 0)), Fit::Unknown, "there is none");
        assert_eq!(fit(&wants("12.0"), &machine("of an unknown version", &[])), Fit::Unknown);
        for (driver, newest) in [
            ("470.57.02", Some("11.8")),
            ("535.1", Some("12.9")),
            ("620.10", Some("13")),
            ("440.33.01", Some("10.2")),
            ("450.51", Some("11.0")),
            ("300.1", None),
            ("?", None),
        ] {
            assert_eq!(newest_for(driver).as_deref(), newest, "{driver}");
        }
    }

    #[test]
    fn cuda_compat_makes_up_for_an_old_driver_where_it_works() {
        let old = |perhaps| Fit::TooOld { needs: "525.60.13", perhaps };
        for (driver, brands, compat, expected) in [
            ("470.57.02", vec!["tesla", "nvidia"], true, Fit::ByCompat),
            ("470.57.02", vec!["tesla"], false, old(false)),
            ("470.57.02", vec!["geforce"], true, old(false)),
            ("470.57.02", vec!["tesla", "geforcertx"], true, old(false)),
            ("470.57.02", vec!["nvidiartx"], true, old(true)),
            ("470.57.02", vec!["tesla", ""], true, old(true)),
            ("470.57.02", vec![], true, old(true)),
            // A branch that no package takes.
            ("510.47", vec!["tesla"], true, old(false)),
            ("460.32", vec![], true, old(false)),
        ] {
            let wants = Wants { compat, ..wants("12.4.1") };
            assert_eq!(fit(&wants, &machine(driver, &brands)), expected, "{driver} {brands:?}");
        }
        assert_eq!(fit(&wants("13.0"), &machine("535.54", &["nvidia"])), Fit::ByCompat);
        // An image that is here says itself which branches it takes.
        let listed = Some("cuda>=12.9 brand=tesla,driver>=510,driver<511".to_owned());
        let of = |driver| fit(&Wants { requirement: listed.clone(), ..wants("12.9") }, &machine(driver, &["tesla"]));
        assert_eq!((of("510.47"), of("470.57")), (Fit::ByCompat, old(false)));
    }

    #[test]
    fn what_the_runtime_would_refuse_is_told_only_where_it_is_sure() {
        let wants =
            Wants { requirement: Some("cuda>=12.9 brand=tesla,driver>=535,driver<536".to_owned()), ..wants("12.9.1") };
        let of = |brands: &[&str], cuda, checked_by_runtime| {
            fit(&wants, &Machine { cuda, checked_by_runtime, ..machine("535.54.03", brands) })
        };
        let old = Some(Cuda::new(12, 2));
        let refused = Fit::Refused { asks: "cuda>=12.9".to_owned() };
        assert_eq!(of(&["geforce"], old, true), refused);
        assert_eq!(of(&["geforce"], old, false), Fit::Fits, "CDI asks nothing");
        let off = Wants { enforced: false, ..wants.clone() };
        let checked = Machine { cuda: old, checked_by_runtime: true, ..machine("535.54.03", &["geforce"]) };
        assert_eq!(fit(&off, &checked), Fit::Fits, "the image says so itself");
        assert_eq!(of(&["tesla"], old, true), Fit::Fits, "listed");
        assert_eq!(of(&["tesla", "geforce"], old, true), Fit::Fits, "on one of them");
        assert_eq!(of(&[], old, true), Fit::Fits, "it may be listed");
        assert_eq!(of(&["geforce"], None, true), Fit::Fits, "nobody tells");
        assert_eq!(of(&["geforce"], Some(Cuda::new(12, 9)), true), Fit::Fits);
    }
}
