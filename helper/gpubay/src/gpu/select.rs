//! Which devices are meant, and which are the best. Pure.

use super::lease::{Held, Kind};
use super::offer::{CDI_KIND, Candidate, Name, cdi_name, place, placed};
use super::{GpuError, gib};
use crate::config::model::{GpuCount, GpuSelection};

/// Positions of the chosen ones, in the order that was asked for. `kind`: how they would be held.
///
/// # Errors
/// [`GpuError`]: what is named and not there, or in trouble; more than there is, or than fits. For who would have them alone
/// [`GpuError::Taken`], where it is only others that are in the way.
pub(super) fn choose(wanted: &GpuSelection, offered: &[Candidate], kind: Kind) -> Result<Vec<usize>, GpuError> {
    let sound = || (0..offered.len()).filter(|at| offered[*at].trouble().is_none()).collect::<Vec<_>>();
    match wanted {
        GpuSelection::None => Ok(Vec::new()),
        GpuSelection::All => all_ready(wanted, offered, sound()),
        GpuSelection::Auto => {
            let ready: Vec<usize> = sound().into_iter().filter(|at| offered[*at].standing.taken.is_none()).collect();
            if ready.is_empty() && !sound().is_empty() {
                return Err(taken(wanted, offered, &sound(), None));
            }
            Ok(best_first(offered, ready).into_iter().take(1).collect())
        }
        GpuSelection::Count(wish) => count(wish, offered, kind),
        GpuSelection::Named(names) => {
            let mut chosen = Vec::new();
            for name in names {
                let at = named(name, offered)?;
                if chosen.contains(&at) {
                    return Err(GpuError::Twice { asked: name.clone(), is: offered[at].shown() });
                }
                if let Some(trouble) = offered[at].trouble() {
                    return Err(GpuError::Trouble {
                        asked: name.clone(),
                        trouble: trouble.to_owned(),
                        stale: offered[at].stale(),
                    });
                }
                chosen.push(at);
            }
            all_ready(wanted, offered, chosen)
        }
    }
}

fn all_ready(wanted: &GpuSelection, offered: &[Candidate], chosen: Vec<usize>) -> Result<Vec<usize>, GpuError> {
    let ready = chosen.iter().all(|at| offered[*at].standing.taken.is_none());
    if ready { Ok(chosen) } else { Err(taken(wanted, offered, &chosen, None)) }
}

/// Each of `of` would do, and others are in the way.
fn taken(wanted: &GpuSelection, offered: &[Candidate], of: &[usize], wish: Option<&GpuCount>) -> GpuError {
    let why = |at: &usize| {
        let one = &offered[*at];
        let why = one.standing.taken.clone().or_else(|| too_little(wish?, one))?;
        Some(format!("GPU {} {why}", one.shown()))
    };
    let whys: Vec<String> = of.iter().filter_map(why).collect();
    GpuError::Taken {
        asked: wanted.typed(),
        would_do: Held::These(of.iter().map(|at| offered[*at].named()).collect()),
        why: whys.join(", "),
    }
}

fn count(wish: &GpuCount, offered: &[Candidate], kind: Kind) -> Result<Vec<usize>, GpuError> {
    let all = 0..offered.len();
    let like: Vec<usize> = all.clone().filter(|at| never(wish, &offered[*at]).is_none()).collect();
    let now = |at: &usize| offered[*at].standing.taken.is_none() && too_little(wish, &offered[*at]).is_none();
    let fitting: Vec<usize> = like.iter().copied().filter(now).collect();
    let asked = wish.count as usize;
    // What others have is waited for; that memory comes free where nobody has anything may never be.
    let taken_by_others = like.iter().any(|at| offered[*at].standing.taken.is_some());
    if fitting.len() < asked && like.len() >= asked && kind == Kind::Exclusive && taken_by_others {
        return Err(taken(&GpuSelection::Count(wish.clone()), offered, &like, Some(wish)));
    }
    if fitting.len() < asked {
        let (asked, offers) = (wish.count, offered.len() as u32);
        let any = GpuCount::of(asked);
        if *wish == any && offered.iter().all(|one| one.trouble().is_none()) {
            return Err(GpuError::TooMany { asked, offered: offers, more: None });
        }
        let unfit = |at| never(wish, &offered[at]).or_else(|| too_little(wish, &offered[at]));
        let why = all.filter_map(|at| Some((at, unfit(at)?)));
        let why = why.map(|(at, why)| format!("GPU {} {why}", offered[at].shown())).collect::<Vec<_>>().join(", ");
        if *wish == any {
            let stale = offered.iter().any(Candidate::stale);
            return Err(GpuError::TooFewSound { asked, fit: fitting.len() as u32, offered: offers, why, stale });
        }
        let asked = GpuSelection::Count(wish.clone()).typed();
        return Err(GpuError::TooFew { asked, fit: fitting.len() as u32, offered: offers, why });
    }
    let mut chosen = best_first(offered, fitting);
    chosen.truncate(asked);
    // Several are used together, and people count them by their places.
    chosen.sort_unstable();
    Ok(chosen)
}

/// Why it is not like that at any time: fits «GPU 3 …». What nobody tells counts for it.
fn never(wish: &GpuCount, one: &Candidate) -> Option<String> {
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
    let total = known.memory?.total;
    (total < wish.min_free?).then(|| format!("has {} in all", gib(total)))
}

/// Why its memory does not do now.
fn too_little(wish: &GpuCount, one: &Candidate) -> Option<String> {
    let free = one.free()?;
    (free < wish.min_free?).then(|| format!("has {} free", gib(free)))
}

/// The least used first: nobody has it alone, nobody is on it, little to do, few share it, much memory free.
fn best_first(offered: &[Candidate], mut of: Vec<usize>) -> Vec<usize> {
    of.sort_by_key(|at| {
        let one = &offered[*at];
        let known = one.known.as_ref();
        let busy = known.is_some_and(|known| known.processes > 0);
        let use_ = known.and_then(|known| known.utilization).unwrap_or(0);
        let standing = &one.standing;
        // Figures sway; who shares does not.
        (standing.alone, busy, use_ / 10, standing.sharers, use_, std::cmp::Reverse(one.free().unwrap_or(0)), *at)
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
        [] => Err(GpuError::Unknown { asked: name.to_owned(), offered: shown(name, offered) }),
        _ => Err(GpuError::Ambiguous {
            asked: asked.to_owned(),
            means: by_uuid.iter().filter_map(|at| offered[*at].uuid.clone()).collect(),
        }),
    }
}

/// A device as a list tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    pub index: Option<u32>,
    /// Of a MIG slice: its place in its GPU.
    pub slice: Option<u32>,
    pub uuid: Option<String>,
    /// With the kind before it.
    pub cdi: Option<String>,
}

/// The place in the list of the device that goes by a name.
pub fn which(name: &str, devices: &[Listed]) -> Option<usize> {
    named(name, &listed(devices)).ok()
}

fn listed(devices: &[Listed]) -> Vec<Candidate> {
    let candidate = |one: &Listed| {
        let place = one.index.map(|index| (index, one.slice));
        let cdi = one.cdi.as_ref().map(|name| name.strip_prefix(CDI_KIND).unwrap_or(name).to_owned());
        let name = cdi.or_else(|| place.map(placed)).or_else(|| one.uuid.clone()).unwrap_or_default();
        Candidate { name, place, uuid: one.uuid.clone(), ..Candidate::default() }
    };
    devices.iter().map(candidate).collect()
}

/// The first name of a selection that none of these devices has, though they are all that there are. Where not all of them tell what the name
/// goes by, nothing is said.
pub fn not_there(wanted: &GpuSelection, devices: &[Listed]) -> Option<GpuError> {
    let GpuSelection::Named(names) = wanted else { return None };
    let candidates = listed(devices);
    let tell = |name: &str| match Name::of(name) {
        Name::Gpu | Name::Slice => devices.iter().all(|one| one.index.is_some()),
        Name::GpuUuid | Name::SliceUuid => devices.iter().all(|one| one.uuid.is_some()),
        Name::Cdi => false,
    };
    let found = names.iter().filter(|name| !devices.is_empty() && tell(name)).map(|name| named(name, &candidates));
    found.filter_map(Result::err).find(|error| matches!(error, GpuError::Unknown { .. }))
}

/// What there is, in the words of who asked.
fn shown(asked: &str, offered: &[Candidate]) -> Vec<String> {
    let name = Name::of(asked);
    let one = |one: &Candidate| match (&one.uuid, one.place) {
        (Some(uuid), _) if matches!(name, Name::GpuUuid | Name::SliceUuid) => uuid.clone(),
        _ if name == Name::Cdi => cdi_name(&one.name),
        (_, Some(place)) => placed(place),
        _ => one.name.clone(),
    };
    // What the driver does not have is nothing to choose.
    offered.iter().filter(|one| !one.stale()).map(one).collect()
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
            ..Candidate::default()
        }
    }

    fn slice(gpu: u32, slice: u32, profile: &str) -> Candidate {
        Candidate {
            name: format!("{gpu}:{slice}"),
            place: Some((gpu, Some(slice))),
            uuid: Some(format!("MIG-{gpu}{slice}")),
            known: Some(Known { profile: Some(profile.to_owned()), ..Known::default() }),
            ..Candidate::default()
        }
    }

    fn names(text: &str) -> GpuSelection {
        GpuSelection::Named(text.split(',').map(str::to_owned).collect())
    }

    #[test]
    fn the_least_used_is_taken() {
        let four = [gpu(0, 1, 90, 1), gpu(1, 20, 0, 1), gpu(2, 2, 0, 0), gpu(3, 1, 0, 0)];
        assert_eq!(
            choose(&GpuSelection::Auto, &four, Kind::Shared).expect("one"),
            [3],
            "nobody on it, most memory free"
        );
        assert_eq!(choose(&GpuSelection::Count(GpuCount::of(3)), &four, Kind::Shared).expect("three"), [1, 2, 3]);
        assert_eq!(choose(&GpuSelection::All, &four, Kind::Shared).expect("all"), [0, 1, 2, 3]);
        assert_eq!(choose(&GpuSelection::Auto, &[], Kind::Shared).expect("none there"), [0_usize; 0]);
        // Where nobody tells, the first.
        let unknown: Vec<_> = four.iter().map(|one| Candidate { known: None, ..one.clone() }).collect();
        assert_eq!(choose(&GpuSelection::Auto, &unknown, Kind::Shared).expect("one"), [0]);
    }

    #[test]
    fn what_is_wished_for_counts() {
        let four = [gpu(0, 1, 0, 0), gpu(1, 10, 0, 0), gpu(2, 2, 0, 0), gpu(3, 23, 0, 1)];
        let wish = |count, min_free, name: Option<&str>| {
            let name = name.map(str::to_owned);
            GpuSelection::Count(GpuCount { min_free, name, ..GpuCount::of(count) })
        };
        assert_eq!(choose(&wish(1, None, Some("h100")), &four, Kind::Shared).expect("one"), [2]);
        assert_eq!(choose(&wish(2, Some(20 * GIB), None), &four, Kind::Shared).expect("two"), [0, 2]);
        let error = choose(&wish(3, Some(20 * GIB), None), &four, Kind::Shared).expect_err("two only");
        assert_eq!(error.code(), "gpu_too_few");
        let said = error.to_string();
        assert!(said.contains("2 of 4") && said.contains("GPU 1 has 14.0 GiB free"), "{said}");
        let error = choose(&wish(5, None, None), &four, Kind::Shared).expect_err("four only");
        assert_eq!(error.code(), "gpu_too_many");
        let mig = |profile: &str| GpuSelection::Count(GpuCount { mig: Some(profile.to_owned()), ..GpuCount::of(1) });
        let divided = [gpu(0, 0, 0, 0), slice(1, 0, "1g.10gb"), slice(1, 1, "2g.20gb")];
        assert_eq!(choose(&mig("2g.20gb"), &divided, Kind::Shared).expect("a slice"), [2]);
        let said = choose(&mig("3g.40gb"), &divided, Kind::Shared).expect_err("no such slice").to_string();
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
            assert_eq!(choose(&names(typed), &three, Kind::Shared).expect("chosen"), want, "{typed}");
        }
        let mut hints = std::collections::BTreeSet::new();
        for (typed, code, word) in [
            ("9", "gpu_unknown", "there is no GPU 9; there are 0, 1, 2:0"),
            ("2:7", "gpu_unknown", "there is no MIG slice 2:7; there are 0, 1, 2:0"),
            ("GPU-zz", "gpu_unknown", "no GPU here has the UUID GPU-zz; there are GPU-00, GPU-11, MIG-20"),
            ("MIG-zz", "gpu_unknown", "no MIG slice here has the UUID MIG-zz"),
            ("GPU-", "gpu_ambiguous", "GPU-00, GPU-11"),
            ("0,GPU-00", "gpu_twice", "GPU 0"),
            ("nvidia.com/gpu=gone", "gpu_unknown", "no CDI device nvidia.com/gpu=gone; there are nvidia.com/gpu=0, "),
        ] {
            let error = choose(&names(typed), &three, Kind::Shared).expect_err(typed);
            assert_eq!(error.code(), code, "{typed}: {error}");
            assert!(error.to_string().contains(word), "{typed}: {error}");
            hints.extend(error.hint());
        }
        assert_eq!(hints.len(), 7, "each has a next step of its own: {hints:#?}");
    }

    #[test]
    fn one_in_trouble_is_never_taken() {
        let mut two = [gpu(0, 0, 0, 0), gpu(1, 0, 0, 0)];
        two[0].known.as_mut().expect("known").trouble = Some("it has fallen off the bus".to_owned());
        assert_eq!(choose(&GpuSelection::Auto, &two, Kind::Shared).expect("the other"), [1]);
        assert_eq!(choose(&GpuSelection::All, &two, Kind::Shared).expect("the other"), [1]);
        let error = choose(&names("0"), &two, Kind::Shared).expect_err("in trouble");
        assert_eq!(error.code(), "gpu_trouble");
        assert!(error.to_string().contains("fallen off the bus"), "{error}");
        let error = choose(&GpuSelection::Count(GpuCount::of(2)), &two, Kind::Shared).expect_err("one only");
        let said = error.to_string();
        assert!(said.starts_with("2 GPUs are asked for and 1 of 2 can be used: GPU 0 cannot be used ("), "{said}");
        let error = choose(&GpuSelection::Count(GpuCount::of(1)), &two[..1], Kind::Shared).expect_err("none");
        assert!(error.to_string().starts_with("1 GPU is asked for and the only one cannot be used: GPU 0 "), "{error}");
    }

    #[test]
    fn who_wants_them_alone_takes_what_nobody_has() {
        let mut three = [gpu(0, 0, 0, 0), gpu(1, 0, 90, 2), gpu(2, 20, 0, 0)];
        three[0].standing.taken = Some("is held by job train".to_owned());
        three[0].standing.alone = 1;
        let alone = |select: &GpuSelection, of: &[Candidate]| choose(select, of, Kind::Exclusive);
        assert_eq!(alone(&GpuSelection::Auto, &three).expect("one"), [2]);
        assert_eq!(alone(&GpuSelection::Count(GpuCount::of(2)), &three).expect("two"), [1, 2]);
        let wish = GpuSelection::Count(GpuCount { min_free: Some(8 * GIB), ..GpuCount::of(2) });
        for (select, would_do, words) in [
            (GpuSelection::Count(GpuCount::of(3)), 3, "GPU 0 is held by job train"),
            (GpuSelection::All, 3, "GPU 0 is held by job train"),
            (names("2,0"), 2, "GPU 0 is held by job train"),
            (wish, 3, "GPU 2 has 4.0 GiB free"),
        ] {
            let error = alone(&select, &three).expect_err("taken");
            assert!(error.to_string().contains(words), "{error}");
            let GpuError::Taken { would_do: Held::These(which), .. } = error else { panic!("{error}") };
            assert_eq!(which.len(), would_do, "{select:?}");
        }
        let error = alone(&GpuSelection::Auto, &three[..1]).expect_err("taken");
        assert_eq!((error.code(), error.hint().is_some()), ("gpu_taken", true));
        // What cannot come true is not waited for.
        let never = GpuSelection::Count(GpuCount { min_free: Some(25 * GIB), ..GpuCount::of(1) });
        assert_eq!(alone(&never, &three).expect_err("too large").code(), "gpu_too_few");
        assert_eq!(alone(&GpuSelection::Count(GpuCount::of(4)), &three).expect_err("three").code(), "gpu_too_many");
        // Who shares takes the least used, and one that somebody has alone last.
        three[0].standing.taken = None;
        assert_eq!(choose(&GpuSelection::Auto, &three, Kind::Shared).expect("one"), [2]);
        three[2].standing.sharers = 1;
        assert_eq!(choose(&GpuSelection::Auto, &three[1..], Kind::Shared).expect("one"), [1], "a process counts more");
        assert_eq!(choose(&GpuSelection::All, &three, Kind::Shared).expect("all"), [0, 1, 2]);
    }

    #[test]
    fn a_name_that_nothing_there_has_is_found_before_a_start() {
        let listed = |index: u32| Listed {
            index: Some(index),
            uuid: Some(format!("GPU-{index}{index}")),
            cdi: Some(format!("{CDI_KIND}{index}")),
            ..Listed::default()
        };
        let there = [listed(0), listed(1)];
        let of = |names: &[&str], there: &[Listed]| {
            not_there(&GpuSelection::Named(names.iter().map(|&name| name.to_owned()).collect()), there)
        };
        for known in ["0", "1", "GPU-11", "GPU-1", "nvidia.com/gpu=0", "nvidia.com/gpu=7"] {
            assert!(of(&[known], &there).is_none(), "{known}");
        }
        for (asked, says) in [("2", "there is no GPU 2; there are 0, 1"), ("GPU-7", "no GPU here has the UUID GPU-7")] {
            let said = of(&["0", asked], &there).expect("said").to_string();
            assert!(said.starts_with(says), "{said}");
        }
        // Whoever does not know them all says nothing.
        let nameless = [listed(0), Listed { cdi: Some("nvidia.com/gpu=x".to_owned()), ..Listed::default() }];
        assert!(of(&["2"], &nameless).is_none() && of(&["GPU-7"], &nameless).is_none() && of(&["0"], &[]).is_none());
        assert!(not_there(&GpuSelection::Auto, &there).is_none());
    }
}
