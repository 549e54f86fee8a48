//! Who uses which GPU already, and what that means to who asks for one. Pure.
//!
//! A lease is nothing but a container that there is, with the labels that say what it was given: it ends with its
//! container. Dev containers share; a job has its GPUs for itself unless it was told to share.

use gpubay_protocol::agent::is_gpu_uuid;

use super::offer::{CDI_KIND, Candidate, Place, Placed, place, placed, read, written};
use super::{GpuError, Plan};

/// How who asks would hold what it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Beside others. What others hold counts against a GPU and hinders nobody.
    #[default]
    Shared,
    /// Alone among those who hold it alone; those who share do not count.
    Exclusive,
}

/// What one container holds, or waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub kind: Kind,
    pub held: Held,
    /// Who it is: fits «is held by …».
    pub who: String,
}

/// The devices of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Its labels do not say which.
    Everything,
    These(Vec<Named>),
}

/// A device by what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub place: Option<Place>,
    pub uuid: Option<String>,
}

impl Held {
    /// From what a container's labels say that it was given: CDI names, indices or UUIDs, and which these are where that is
    /// known. `None`: nothing.
    pub fn given(gpus: &str, devices: &str) -> Option<Self> {
        let known = read(devices);
        if !known.is_empty() {
            return Some(Self::placed(&known));
        }
        let names: Vec<&str> = gpus.split(',').map(|name| name.strip_prefix(CDI_KIND).unwrap_or(name)).collect();
        match names[..] {
            ["" | "none"] => None,
            _ if names.contains(&"all") => Some(Self::Everything),
            _ => {
                let named = |name: &&str| Named {
                    place: place(name),
                    uuid: Some(*name).filter(|it| is_gpu_uuid(it)).map(str::to_owned),
                };
                Some(Self::These(names.iter().map(named).collect()))
            }
        }
    }

    /// Those of `inside` that are selected. `None`: nothing.
    pub fn selected(inside: &str, visible: &[String]) -> Option<Self> {
        let chosen: Vec<Placed> = read(inside).into_iter().filter(|device| visible.contains(&device.uuid)).collect();
        (!chosen.is_empty()).then(|| Self::placed(&chosen))
    }

    /// For the labels from which [`Held::given`] reads it.
    pub fn labels(&self) -> (String, String) {
        let Self::These(devices) = self else { return ("all".to_owned(), String::new()) };
        let known = |one: &Named| Some(Placed { place: one.place, uuid: one.uuid.clone()? });
        let known: Option<Vec<Placed>> = devices.iter().map(known).collect();
        let name = |one: &Named| one.place.map(placed).or_else(|| one.uuid.clone()).unwrap_or_default();
        (devices.iter().map(name).collect::<Vec<_>>().join(","), known.map(|known| written(&known)).unwrap_or_default())
    }

    /// `GPU 0, 1 or 2`. `each`: all of them are needed.
    pub fn shown(&self, each: bool) -> String {
        const MOST: usize = 8;
        let Self::These(devices) = self else { return if each { "all GPUs" } else { "any GPU" }.to_owned() };
        let name = |one: &Named| one.place.map(placed).or_else(|| one.uuid.clone());
        let names: Vec<String> = devices.iter().filter_map(name).take(MOST + 1).collect();
        let joint = if each { "and" } else { "or" };
        match names.as_slice() {
            [] => "GPUs".to_owned(),
            [one] => format!("GPU {one}"),
            [first @ .., _] if names.len() > MOST => format!("GPU {} {joint} others", first.join(", ")),
            [first @ .., last] => format!("GPU {} {joint} {last}", first.join(", ")),
        }
    }

    fn placed(devices: &[Placed]) -> Self {
        let named = |device: &Placed| Named { place: device.place, uuid: Some(device.uuid.clone()) };
        Self::These(devices.iter().map(named).collect())
    }

    /// Whether one of its devices is that one.
    pub fn has(&self, at: Option<Place>, uuid: Option<&str>) -> bool {
        self.is(at, uuid) == Some(true)
    }

    /// Whether one of its devices may be that one: of the one only the number is known, of the other only the UUID.
    pub fn may_have(&self, at: Option<Place>, uuid: Option<&str>) -> bool {
        self.is(at, uuid) != Some(false)
    }

    /// What is known of both decides; a GPU and a slice of it are in each other's way.
    fn is(&self, at: Option<Place>, uuid: Option<&str>) -> Option<bool> {
        let same = |one: &Named| match (one.uuid.as_deref(), uuid, one.place, at) {
            (Some(held), Some(asked), ..) if held == asked => Some(true),
            (Some(held), Some(asked), ..) if held.get(..4) == asked.get(..4) => Some(false),
            (_, _, Some((held, slice)), Some((asked, of))) => {
                Some(held == asked && (slice == of || slice.is_none() || of.is_none()))
            }
            _ => None,
        };
        let Self::These(devices) = self else { return Some(true) };
        let mut whole = Some(false);
        for one in devices {
            match same(one) {
                Some(true) => return Some(true),
                None => whole = None,
                Some(false) => {}
            }
        }
        whole
    }

    /// Whether they may have a device in common.
    pub fn meets(&self, other: &Self) -> bool {
        match other {
            Self::Everything => true,
            Self::These(devices) => devices.iter().any(|one| self.may_have(one.place, one.uuid.as_deref())),
        }
    }
}

impl Plan {
    /// What a container holds that is made by it; with `soft` isolation, all that is inside.
    pub fn held(&self) -> Option<Held> {
        Held::given(&self.label, &written(&self.devices))
    }
}

/// What is to be minded where GPUs are chosen.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// What who asks would have.
    pub kind: Kind,
    /// What others hold.
    pub leases: Vec<Lease>,
    /// What is waited for by those who came before who asks.
    pub ahead: Vec<Lease>,
}

/// What leases mean to one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// It cannot be had now, for this: fits «GPU 0 …».
    pub taken: Option<String>,
    /// How many hold it alone, and how many share it.
    pub alone: usize,
    pub sharers: usize,
}

impl Claims {
    pub(super) fn mark(&self, offered: &mut [Candidate]) {
        for one in offered {
            one.standing = self.standing(&|held| held.may_have(one.place, one.uuid.as_deref()));
        }
    }

    fn standing(&self, is_met: &dyn Fn(&Held) -> bool) -> Standing {
        let met: Vec<&Lease> = self.leases.iter().filter(|lease| is_met(&lease.held)).collect();
        let alone: Vec<&&Lease> = met.iter().filter(|lease| lease.kind == Kind::Exclusive).collect();
        let held = alone.first().map(|lease| format!("is held by {}", lease.who));
        let awaited = self.ahead.iter().find(|lease| is_met(&lease.held));
        let awaited = awaited.map(|lease| format!("is next for {}", lease.who));
        Standing {
            taken: held.or(awaited).filter(|_| self.kind == Kind::Exclusive),
            alone: alone.len(),
            sharers: met.len() - alone.len(),
        }
    }

    /// Also where the devices were never told one by one.
    ///
    /// # Errors
    /// [`GpuError::Taken`]
    pub(super) fn allow(&self, plan: &Plan, asked: &str) -> Result<(), GpuError> {
        let Some(given) = plan.held() else { return Ok(()) };
        match self.standing(&|held| held.meets(&given)).taken {
            Some(why) => Err(GpuError::Taken {
                asked: asked.to_owned(),
                would_do: given,
                why: format!("what the engine would give {why}"),
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(gpus: &str, devices: &str) -> Held {
        Held::given(gpus, devices).expect("something")
    }

    #[test]
    fn labels_say_what_is_held() {
        for nothing in ["", "none"] {
            assert_eq!(Held::given(nothing, ""), None);
        }
        for (label, all) in [("all", true), ("nvidia.com/gpu=all", true), ("nvidia.com/gpu=0", false)] {
            assert_eq!(given(label, "") == Held::Everything, all, "{label}");
        }
        assert_eq!(given("nvidia.com/gpu=all", "0=GPU-a"), given("", "0=GPU-a"), "who they are counts more");
        assert_eq!(Held::selected("0=GPU-a,1=GPU-b", &["GPU-b".to_owned()]), Some(given("", "1=GPU-b")));
        assert_eq!(Held::selected("0=GPU-a", &[]), None);
        for held in [given("all", ""), given("0,1:2,GPU-x", ""), given("", "0=GPU-a,=MIG-b")] {
            let (gpus, devices) = held.labels();
            assert_eq!(Held::given(&gpus, &devices), Some(held));
        }
    }

    #[test]
    fn what_is_known_of_both_decides() {
        let pair = given("nvidia.com/gpu=0,nvidia.com/gpu=1:2", "");
        for (place, uuid, held) in [
            (Some((0, None)), Some("GPU-a"), true),
            (Some((0, Some(3))), None, true),
            (Some((1, Some(2))), None, true),
            (Some((1, Some(1))), None, false),
            (Some((1, None)), None, true),
            (Some((2, None)), None, false),
            (None, Some("GPU-a"), false),
        ] {
            assert_eq!(pair.has(place, uuid), held, "{place:?} {uuid:?}");
        }
        assert!(pair.may_have(None, Some("GPU-a")), "it may be that number");
        let known = given("", "0=GPU-a,1:0=MIG-a");
        for (place, uuid, held) in [
            (Some((5, None)), Some("GPU-a"), true),
            (Some((0, None)), Some("GPU-b"), false),
            (Some((1, Some(0))), Some("MIG-b"), false),
            (Some((1, None)), Some("GPU-b"), true),
            (Some((0, None)), None, true),
        ] {
            assert_eq!(known.has(place, uuid), held, "{place:?} {uuid:?}");
        }
        assert!(known.meets(&pair) && pair.meets(&known) && Held::Everything.meets(&pair));
        assert!(!given("GPU-x", "").meets(&given("", "0=GPU-a")));
        assert!(given("GPU-x", "").meets(&pair), "nobody can tell");
    }

    #[test]
    fn sharers_hinder_nobody_and_who_holds_alone_does() {
        let lease = |kind, gpus: &str, who: &str| Lease { kind, held: given(gpus, ""), who: who.to_owned() };
        let leases = vec![lease(Kind::Shared, "0", "a dev container"), lease(Kind::Exclusive, "1", "a job")];
        let ahead = vec![lease(Kind::Exclusive, "2", "another")];
        let mut four: Vec<Candidate> =
            (0..4).map(|index| Candidate { place: Some((index, None)), ..Candidate::default() }).collect();
        let mut standing = |kind| {
            Claims { kind, leases: leases.clone(), ahead: ahead.clone() }.mark(&mut four);
            four.iter().map(|one| (one.standing.taken.clone(), one.standing.sharers)).collect::<Vec<_>>()
        };
        let taken = |why: &str| Some(why.to_owned());
        assert_eq!(
            standing(Kind::Exclusive),
            [(None, 1), (taken("is held by a job"), 0), (taken("is next for another"), 0), (None, 0)]
        );
        assert_eq!(standing(Kind::Shared), [(None, 1), (None, 0), (None, 0), (None, 0)]);
    }
}
