//! What an image requires of driver and GPU: the language of `NVIDIA_REQUIRE_CUDA`. Pure.
//!
//! As NVIDIA's container library reads it: alternatives between blanks, of which one must be met; in each, conditions
//! between commas, of which all must be: `cuda>=12.4 brand=tesla,driver>=470,driver<471`.

use std::cmp::Ordering;

use super::cuda::{Cuda, compare};

/// What a machine answers. `None`: nobody tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answers<'a> {
    pub(super) cuda: Option<Cuda>,
    pub(super) driver: &'a str,
    pub(super) brand: Option<&'a str>,
}

struct Condition<'a> {
    /// In lower case.
    name: String,
    relation: &'a str,
    value: &'a str,
}

/// Those with two characters first.
const RELATIONS: [&str; 7] = [">=", "<=", "==", "!=", "=", "<", ">"];

fn conditions(alternative: &str) -> impl Iterator<Item = Option<Condition<'_>>> {
    alternative.split(',').map(|text| {
        let at = text.find(['<', '>', '=', '!'])?;
        let relation = *RELATIONS.iter().find(|relation| text[at..].starts_with(**relation))?;
        let value = text[at + relation.len()..].trim();
        Some(Condition { name: text[..at].trim().to_lowercase(), relation, value })
    })
}

impl Condition<'_> {
    /// `None`: that is not known, or in a language that is not.
    fn met(&self, answers: &Answers<'_>) -> Option<bool> {
        let order = match self.name.as_str() {
            "cuda" => {
                let asked = Cuda::parse(self.value).or_else(|| Some(Cuda::new(self.value.parse().ok()?, 0)))?;
                answers.cuda?.cmp(&asked)
            }
            "driver" => compare(answers.driver, self.value)?,
            "brand" => {
                if answers.brand?.eq_ignore_ascii_case(self.value) {
                    Ordering::Equal
                } else {
                    Ordering::Less
                }
            }
            _ => return None,
        };
        Some(match self.relation {
            ">=" => order.is_ge(),
            "<=" => order.is_le(),
            "!=" => order.is_ne(),
            "<" => order.is_lt(),
            ">" => order.is_gt(),
            _ => order.is_eq(),
        })
    }
}

/// `false` where one is not met, `None` where that hangs on what is not known.
fn all(alternative: &str, answers: &Answers<'_>) -> Option<bool> {
    let found: Vec<Option<bool>> =
        conditions(alternative).map(|condition| condition.and_then(|one| one.met(answers))).collect();
    if found.contains(&Some(false)) {
        return Some(false);
    }
    found.iter().all(|one| *one == Some(true)).then_some(true)
}

/// Whether a requirement is met. `None`: what would decide that is not known.
pub(super) fn met(requirement: &str, answers: &Answers<'_>) -> Option<bool> {
    let found: Vec<Option<bool>> = requirement.split_whitespace().map(|one| all(one, answers)).collect();
    if found.contains(&Some(true)) || found.is_empty() {
        return Some(true);
    }
    found.iter().all(|one| *one == Some(false)).then_some(false)
}

/// Whether an alternative speaks of this driver's branch: those are the branches that the image's cuda-compat takes.
pub(super) fn lists(requirement: &str, driver: &str) -> bool {
    requirement.split_whitespace().any(|alternative| {
        let of_driver: Vec<_> = conditions(alternative).flatten().filter(|one| one.name == "driver").collect();
        let answers = Answers { cuda: None, driver, brand: None };
        !of_driver.is_empty() && of_driver.iter().all(|one| one.met(&answers) == Some(true))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the images say it, shortened.
    const CUDA_12_4: &str = "cuda>=12.4 brand=tesla,driver>=470,driver<471 brand=geforce,driver>=470,driver<471 \
        brand=tesla,driver>=525,driver<526 brand=tesla,driver>=535,driver<536";

    fn of(requirement: &str, cuda: Option<(u32, u32)>, driver: &str, brand: Option<&str>) -> Option<bool> {
        let cuda = cuda.map(|(major, minor)| Cuda::new(major, minor));
        met(requirement, &Answers { cuda, driver, brand })
    }

    #[test]
    fn one_alternative_is_enough_and_all_of_it_counts() {
        for (cuda, driver, brand, expected) in [
            (Some((12, 4)), "550.54", Some("geforce"), Some(true)),
            (Some((13, 0)), "580.65", None, Some(true)),
            (Some((12, 2)), "535.54", Some("tesla"), Some(true)),
            (Some((12, 2)), "535.54", Some("geforce"), Some(false)),
            (Some((12, 2)), "535.54", None, None),
            (Some((11, 4)), "470.57", Some("geforce"), Some(true)),
            (Some((11, 4)), "470.57", Some("titan"), Some(false)),
            (Some((11, 8)), "520.61", Some("tesla"), Some(false)),
            (Some((11, 8)), "520.61", None, Some(false)),
            (None, "545.1", Some("tesla"), None),
        ] {
            assert_eq!(of(CUDA_12_4, cuda, driver, brand), expected, "{cuda:?} {driver} {brand:?}");
        }
    }

    #[test]
    fn every_relation_is_known_and_what_is_not_decides_nothing() {
        for (requirement, expected) in [
            ("driver=535.54", Some(true)),
            ("driver==535.54", Some(true)),
            ("driver!=535.54", Some(false)),
            ("driver<=535.54", Some(true)),
            ("driver>535", Some(true)),
            ("CUDA>=12.2", Some(true)),
            ("cuda>=13", Some(false)),
            ("", Some(true)),
            ("arch>=7.0", None),
            ("nonsense", None),
            ("nonsense,cuda>=13", Some(false)),
        ] {
            assert_eq!(of(requirement, Some((12, 2)), "535.54", Some("tesla")), expected, "{requirement}");
        }
    }

    #[test]
    fn the_branches_that_cuda_compat_takes_are_read() {
        for (driver, expected) in [("470.57.02", true), ("535.183", true), ("510.47", false), ("550.54", false)] {
            assert_eq!(lists(CUDA_12_4, driver), expected, "{driver}");
        }
        assert!(!lists("cuda>=12.4", "470.57"));
    }
}
