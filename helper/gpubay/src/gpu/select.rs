//! Which devices are meant, and which are the best. Pure.

use super::offer::{CDI_KIND, Candidate, place, placed};
use super::{GpuError, gib};
use crate::config::model::{GpuCount, GpuSelection};

/// Positions of the chosen ones, in the order that was asked for.
///
/// # Errors
/// [`GpuError`]: what is named and not there, or in trouble; more than there is, or than fits.
pub(super) fn choose(wanted: &GpuSelection, offered: &[Candidate]) -> Result<Vec<usize>, GpuError> {
    let sound = |at: &usize| offered[*at].trouble().is_none();
    match wanted {
        GpuSelection::None => Ok(Vec::new()),
        GpuSelection::All => Ok((0..offered.len()).filter(sound).collect()),
        GpuSelection::Auto => {
            Ok(best_first(offered, (0..offered.len()).filter(sound).collect()).into_iter().take(1).collect())
        }
        GpuSelection::Count(wish) => count(wish, offered),
        GpuSelection::Named(names) => {
            let mut chosen = Vec::new();
            for name in names {
                let at = named(name, offered)?;
                if chosen.contains(&at) {
                    return Err(GpuError::Twice { asked: name.clone(), is: offered[at].shown() });
                }
                if let Some(trouble) = offered[at].trouble() {
                    return Err(GpuError::Trouble { asked: name.clone(), trouble: trouble.to_owned() });
                }
                chosen.push(at);
            }
            Ok(chosen)
        }
    }
}

fn count(wish: &GpuCount, offered: &[Candidate]) -> Result<Vec<usize>, GpuError> {
    let fits = |at: &usize| unfit(wish, &offered[*at]).is_none();
    let fitting: Vec<usize> = (0..offered.len()).filter(fits).collect();
    if fitting.len() < wish.count as usize {
        let (asked, offers) = (wish.count, offered.len() as u32);
        let any = GpuCount::of(asked);
        if *wish == any && offered.iter().all(|one| one.trouble().is_none()) {
            return Err(GpuError::TooMany { asked, offered: offers });
        }
        let why = (0..offered.len()).filter_map(|at| Some((at, unfit(wish, &offered[at])?)));
        let why = why.map(|(at, why)| format!("GPU {} {why}", offered[at].shown())).collect::<Vec<_>>().join(", ");
        let asked = GpuSelection::Count(wish.clone()).typed();
        return Err(GpuError::TooFew { asked, fit: fitting.len() as u32, offered: offers, why });
    }
    let mut chosen = best_first(offered, fitting);
    chosen.truncate(wish.count as usize);
    // Several are used together, and people count them by their places.
    chosen.sort_unstable();
    Ok(chosen)
}

/// Why it is not like that: fits «GPU 3 …». What nobody tells counts for it.
fn unfit(wish: &GpuCount, one: &Candidate) -> Option<String> {
    if let Some(trouble) = one.trouble() {
        return Some(format!("cannot be used ({trouble})"));
    }
    let known = one.known.as_ref()?;
    if let Some(name) = &wish.name
        && !known.model.to_lowercase().contains(&name.to_lowercase())
    {
        return Some(format!("is a {}", known.model));
    }
    match (&wish.mig, &known.profile) {
        (Some(_), None) => return Some("is not divided".to_owned()),
        (Some(wanted), Some(profile)) if wanted != profile => return Some(format!("is a slice {profile}")),
        _ => {}
    }
    let free = one.free()?;
    (free < wish.min_free?).then(|| format!("has {} free", gib(free)))
}

/// The least used first: nobody on it, little to do, much memory free.
fn best_first(offered: &[Candidate], mut of: Vec<usize>) -> Vec<usize> {
    of.sort_by_key(|at| {
        let one = &offered[*at];
        let known = one.known.as_ref();
        let busy = known.is_some_and(|known| known.processes > 0);
        let use_ = known.and_then(|known| known.utilization).unwrap_or(0);
        (busy, use_, std::cmp::Reverse(one.free().unwrap_or(0)), *at)
    });
    of
}

/// The one that is meant by an index, a slice's place, a UUID or its beginning, or a CDI name.
fn named(name: &str, offered: &[Candidate]) -> Result<usize, GpuError> {
    let asked = name.strip_prefix(CDI_KIND).unwrap_or(name);
    let exactly = |one: &Candidate| {
        one.name == asked
            || one.uuid.as_deref() == Some(asked)
            || place(asked).is_some_and(|place| one.place == Some(place))
    };
    if let Some(at) = offered.iter().position(exactly) {
        return Ok(at);
    }
    let begins = |one: &Candidate| one.uuid.as_ref().is_some_and(|uuid| uuid.starts_with(asked));
    let by_uuid: Vec<usize> = if asked.starts_with("GPU-") || asked.starts_with("MIG-") {
        (0..offered.len()).filter(|at| begins(&offered[*at])).collect()
    } else {
        Vec::new()
    };
    match by_uuid[..] {
        [at] => Ok(at),
        [] => Err(GpuError::Unknown { asked: asked.to_owned(), offered: shown(asked, offered) }),
        _ => Err(GpuError::Ambiguous {
            asked: asked.to_owned(),
            means: by_uuid.iter().filter_map(|at| offered[*at].uuid.clone()).collect(),
        }),
    }
}

/// What there is, in the words of who asked.
fn shown(asked: &str, offered: &[Candidate]) -> Vec<String> {
    let by_uuid = asked.starts_with("GPU-") || asked.starts_with("MIG-");
    let one = |one: &Candidate| match (&one.uuid, one.place) {
        (Some(uuid), _) if by_uuid => uuid.clone(),
        (_, Some(place)) => placed(place),
        _ => one.name.clone(),
    };
    offered.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::inventory::Memory;
    use super::super::offer::Known;
    use super::*;
    use crate::error::Explain;

    const GIB: u64 = 1 << 30;

    /// GPU `index` with so much memory used of 24 GiB, and so busy.
    fn gpu(index: u32, used: u64, utilization: u32, processes: usize) -> Candidate {
        Candidate {
            name: index.to_string(),
            place: Some((index, None)),
            uuid: Some(format!("GPU-{index}{index}")),
            known: Some(Known {
                model: if index < 2 { "NVIDIA A100 80GB".to_owned() } else { "NVIDIA H100".to_owned() },
                memory: Some(Memory { used: used * GIB, total: 24 * GIB }),
                utilization: Some(utilization),
                processes,
                ..Known::default()
            }),
        }
    }

    fn slice(gpu: u32, slice: u32, profile: &str) -> Candidate {
        Candidate {
            name: format!("{gpu}:{slice}"),
            place: Some((gpu, Some(slice))),
            uuid: Some(format!("MIG-{gpu}{slice}")),
            known: Some(Known { profile: Some(profile.to_owned()), ..Known::default() }),
        }
    }

    fn names(text: &str) -> GpuSelection {
        GpuSelection::Named(text.split(',').map(str::to_owned).collect())
    }

    #[test]
    fn the_least_used_is_taken() {
        let four = [gpu(0, 1, 90, 1), gpu(1, 20, 0, 1), gpu(2, 2, 0, 0), gpu(3, 1, 0, 0)];
        assert_eq!(choose(&GpuSelection::Auto, &four).expect("one"), [3], "nobody on it, most memory free");
        assert_eq!(choose(&GpuSelection::Count(GpuCount::of(3)), &four).expect("three"), [1, 2, 3]);
        assert_eq!(choose(&GpuSelection::All, &four).expect("all"), [0, 1, 2, 3]);
        assert_eq!(choose(&GpuSelection::Auto, &[]).expect("none there"), [0_usize; 0]);
        // Where nobody tells, the first.
        let unknown: Vec<_> = four.iter().map(|one| Candidate { known: None, ..one.clone() }).collect();
        assert_eq!(choose(&GpuSelection::Auto, &unknown).expect("one"), [0]);
    }

    #[test]
    fn what_is_wished_for_counts() {
        let four = [gpu(0, 1, 0, 0), gpu(1, 10, 0, 0), gpu(2, 2, 0, 0), gpu(3, 23, 0, 1)];
        let wish = |count, min_free, name: Option<&str>| {
            let name = name.map(str::to_owned);
            GpuSelection::Count(GpuCount { min_free, name, ..GpuCount::of(count) })
        };
        assert_eq!(choose(&wish(1, None, Some("h100")), &four).expect("one"), [2]);
        assert_eq!(choose(&wish(2, Some(20 * GIB), None), &four).expect("two"), [0, 2]);
        let error = choose(&wish(3, Some(20 * GIB), None), &four).expect_err("two only");
        assert_eq!(error.code(), "gpu_too_few");
        let said = error.to_string();
        assert!(said.contains("2 of 4") && said.contains("GPU 1 has 14.0 GiB free"), "{said}");
        let error = choose(&wish(5, None, None), &four).expect_err("four only");
        assert_eq!(error.code(), "gpu_too_many");
        let mig = |profile: &str| GpuSelection::Count(GpuCount { mig: Some(profile.to_owned()), ..GpuCount::of(1) });
        let divided = [gpu(0, 0, 0, 0), slice(1, 0, "1g.10gb"), slice(1, 1, "2g.20gb")];
        assert_eq!(choose(&mig("2g.20gb"), &divided).expect("a slice"), [2]);
        let said = choose(&mig("3g.40gb"), &divided).expect_err("no such slice").to_string();
        assert!(said.contains("GPU 0 is not divided, GPU 1:0 is a slice 1g.10gb"), "{said}");
    }

    #[test]
    fn names_are_taken_in_their_order_and_each_mistake_is_said() {
        let three = [gpu(0, 0, 0, 0), gpu(1, 0, 0, 0), slice(2, 0, "1g.10gb")];
        for (typed, want) in [
            ("1,0", vec![1, 0]),
            ("GPU-11,0", vec![1, 0]),
            ("GPU-1", vec![1]),
            ("2:0", vec![2]),
            ("MIG-2", vec![2]),
            ("nvidia.com/gpu=1", vec![1]),
        ] {
            assert_eq!(choose(&names(typed), &three).expect("chosen"), want, "{typed}");
        }
        for (typed, code, word) in [
            ("9", "gpu_unknown", "0, 1, 2:0"),
            ("GPU-zz", "gpu_unknown", "GPU-00, GPU-11, MIG-20"),
            ("GPU-", "gpu_ambiguous", "GPU-00, GPU-11"),
            ("0,GPU-00", "gpu_twice", "GPU 0"),
            ("nvidia.com/gpu=gone", "gpu_unknown", "gone"),
        ] {
            let error = choose(&names(typed), &three).expect_err(typed);
            assert_eq!(error.code(), code, "{typed}: {error}");
            assert!(error.to_string().contains(word), "{typed}: {error}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn one_in_trouble_is_never_taken() {
        let mut two = [gpu(0, 0, 0, 0), gpu(1, 0, 0, 0)];
        two[0].known.as_mut().expect("known").trouble = Some("it has fallen off the bus".to_owned());
        assert_eq!(choose(&GpuSelection::Auto, &two).expect("the other"), [1]);
        assert_eq!(choose(&GpuSelection::All, &two).expect("the other"), [1]);
        let error = choose(&names("0"), &two).expect_err("in trouble");
        assert_eq!(error.code(), "gpu_trouble");
        assert!(error.to_string().contains("fallen off the bus"), "{error}");
        let error = choose(&GpuSelection::Count(GpuCount::of(2)), &two).expect_err("one only");
        assert!(error.to_string().contains("GPU 0 cannot be used"), "{error}");
    }
}
