//! Whether a running container has lost its GPUs, and by what. Pure.
//!
//! What a container says is only compared: words of its own are shown as such, and decide nothing.

use std::io;

use gpubay_protocol::agent::GpuGuard;
use rustix::io::Errno;
use schemars::JsonSchema;
use serde::Serialize;

use super::inventory::Inventory;
use crate::quoting::printable;

/// A program's words beyond that are not shown.
const WORDS: usize = 200;

/// Why GPUs that answered when a container started do not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// systemd applied the container's device rules again, and they do not know what was let in besides them.
    DaemonReload,
    /// Somebody else did: `docker update`, an engine that was restarted, a hand.
    DeviceRules,
    /// The kernel's part of the driver is another one than the container's libraries are made for, or none.
    DriverUpdate,
    /// A GPU was divided otherwise.
    MigChange,
    /// Device nodes that are gone, or closed to the container's user.
    Nodes,
}

impl Cause {
    /// For a narrow column.
    pub fn in_short(self) -> &'static str {
        match self {
            Self::DaemonReload => "daemon reload",
            Self::DeviceRules => "device rules",
            Self::DriverUpdate => "driver update",
            Self::MigChange => "MIG change",
            Self::Nodes => "device nodes",
        }
    }

    /// An engine gives the same devices to a container that it starts again: nothing but what runs is lost by that.
    pub fn a_restart_mends(self) -> bool {
        matches!(self, Self::DaemonReload | Self::DeviceRules)
    }
}

/// A container runs and its GPUs do not answer any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct LostGpus {
    pub cause: Cause,
    /// What is lost and why, without a full stop.
    pub text: String,
    /// What was seen that says so.
    pub evidence: Vec<String>,
    /// What to do.
    pub next: String,
}

impl LostGpus {
    /// Lines for people: what, by what it is seen, and what to do.
    pub fn describe(&self) -> Vec<String> {
        let evidence = self.evidence.iter().map(|line| format!("- {line}"));
        std::iter::once(format!("{}.", self.text)).chain(evidence).chain([self.next.clone()]).collect()
    }
}

/// What is known of a running container that had GPUs.
#[derive(Clone, Copy, Debug)]
pub struct Witness<'a> {
    pub guard: &'a GpuGuard,
    /// Who keeps the containers' control groups: `systemd`, `cgroupfs`; empty where nobody told.
    pub cgroups: &'a str,
    /// When systemd read its units again after the container had started, where that is known.
    pub reloaded: Option<&'a str>,
    /// Of the driver of the engine's machine.
    pub inventory: Option<&'a Inventory>,
    /// The UUIDs that the container's programs are given.
    pub given: &'a [String],
    /// What the container's own `nvidia-smi` says.
    pub said: Option<&'a str>,
    /// What makes it whole.
    pub next: &'a str,
}

/// Judges. `None`: nothing is lost, or there was nothing to lose.
pub fn lost(witness: Witness<'_>) -> Option<LostGpus> {
    let (cause, what, mut evidence) =
        of_the_driver(witness).or_else(|| of_mig(witness)).or_else(|| of_nodes(witness))?;
    if let Some(said) = witness.said {
        let said: String = printable(said.trim()).chars().take(WORDS).collect();
        evidence.push(format!("it says inside: {said}"));
    }
    Some(LostGpus { cause, text: format!("its GPUs are lost: {what}"), evidence, next: witness.next.to_owned() })
}

type Found = (Cause, String, Vec<String>);

fn of_the_driver(Witness { guard, .. }: Witness<'_>) -> Option<Found> {
    let then = guard.driver_then.as_deref().filter(|_| guard.driver_changed())?;
    let library = guard.library.as_deref().map(|library| format!(", the libraries inside are of {library}"));
    let library = library.unwrap_or_default();
    Some(match guard.driver_now.as_deref() {
        Some(now) => (
            Cause::DriverUpdate,
            format!("the driver was updated from {then} to {now} while it ran"),
            vec![format!("the kernel had {then} when it started and has {now} now{library}")],
        ),
        None => (
            Cause::DriverUpdate,
            format!("the driver ({then}) was unloaded while it ran, as before an update"),
            vec![format!("the kernel had {then} when it started and has none now{library}")],
        ),
    })
}

fn of_mig(Witness { guard, inventory, given, .. }: Witness<'_>) -> Option<Found> {
    let has = |told: &Inventory, uuid: &str| {
        let whole = told.gpus.iter().any(|gpu| gpu.uuid == uuid && !gpu.mig);
        whole || told.gpus.iter().flat_map(|gpu| &gpu.slices).any(|slice| slice.uuid == uuid)
    };
    if let Some(told) = inventory.filter(|_| guard.nodes > 0 && !given.is_empty()) {
        // A whole GPU that is not there at all has another trouble than its division.
        let divided = |uuid: &str| told.gpus.iter().any(|gpu| gpu.uuid == uuid && gpu.mig);
        let changed = |uuid: &&String| !has(told, uuid) && (uuid.starts_with("MIG-") || divided(uuid));
        let changed: Vec<&str> = given.iter().filter(changed).map(String::as_str).collect();
        // Slices of others come and go.
        return (!changed.is_empty()).then(|| {
            let slices: Vec<&str> =
                told.gpus.iter().flat_map(|gpu| &gpu.slices).map(|slice| slice.uuid.as_str()).collect();
            let now = if slices.is_empty() { "no slice at all".to_owned() } else { slices.join(", ") };
            let what = format!("a GPU was divided otherwise (MIG) while it ran, and {} is no more", changed.join(", "));
            (Cause::MigChange, what, vec![format!("the driver has {now} now")])
        });
    }
    (!guard.slices_gone.is_empty()).then(|| {
        let what = "a GPU was divided otherwise (MIG) while it ran".to_owned();
        (Cause::MigChange, what, vec![format!("the driver has no slice for {} any more", listed(&guard.slices_gone))])
    })
}

fn of_nodes(Witness { guard, cgroups, reloaded, .. }: Witness<'_>) -> Option<Found> {
    let with = |errno: Errno| -> Vec<String> {
        let these = guard.refused.iter().filter(|node| errno.raw_os_error() == node.errno);
        these.map(|node| node.node.clone()).collect()
    };
    let why = |errno: i32| io::Error::from_raw_os_error(errno);
    let mut evidence: Vec<String> =
        guard.refused.iter().map(|node| format!("{}: {}", node.node, why(node.errno))).collect();
    let first = guard.refused.first()?;
    let forbidden = with(Errno::PERM);
    if !forbidden.is_empty() {
        let nodes = format!("{} may not be opened any more", listed(&forbidden));
        if let Some(at) = reloaded {
            evidence.push(format!("systemd read its units again at {at}, after the container had started"));
        }
        if cgroups == "systemd" {
            evidence.push("the engine leaves its control groups to systemd".to_owned());
            let sure = if reloaded.is_some() { "" } else { "most likely " };
            let what = format!(
                "{nodes}; {sure}a `systemctl daemon-reload`, such as updates of packages do, applied the container's device \
                 rules again, which do not know them"
            );
            return Some((Cause::DaemonReload, what, evidence));
        }
        let what = format!(
            "{nodes}; the container's device rules were applied again without them, as `docker update` does, or changed by hand"
        );
        return Some((Cause::DeviceRules, what, evidence));
    }
    let gone = with(Errno::NOENT);
    let what = if !gone.is_empty() {
        format!("{} is not there any more; somebody removed it", listed(&gone))
    } else if first.errno == Errno::ACCESS.raw_os_error() {
        format!("{} is closed to its user now; somebody changed its mode or owner", listed(&with(Errno::ACCESS)))
    } else {
        format!("{} cannot be used any more: {}", first.node, why(first.errno))
    };
    Some((Cause::Nodes, what, evidence))
}

fn listed(names: &[String]) -> String {
    const NAMED: usize = 4;
    let more = if names.len() > NAMED { format!(" and {} more", names.len() - NAMED) } else { String::new() };
    format!("{}{more}", names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use gpubay_protocol::agent::RefusedNode;

    use super::*;
    use crate::gpu::inventory::{Gpu, Slice};

    fn well() -> GpuGuard {
        let version = Some("580.1".to_owned());
        GpuGuard {
            nodes: 3,
            driver_then: version.clone(),
            driver_now: version.clone(),
            library: version,
            ..GpuGuard::default()
        }
    }

    fn refused(nodes: &[(&str, Errno)]) -> GpuGuard {
        let refused =
            |(node, errno): &(&str, Errno)| RefusedNode { node: (*node).to_owned(), errno: errno.raw_os_error() };
        GpuGuard { refused: nodes.iter().map(refused).collect(), ..well() }
    }

    fn witness(guard: &GpuGuard) -> Witness<'_> {
        Witness {
            guard,
            cgroups: "cgroupfs",
            reloaded: None,
            inventory: None,
            given: &[],
            said: None,
            next: "Recreate.",
        }
    }

    #[test]
    fn each_cause_is_told_by_what_is_seen() {
        let forbidden = refused(&[("/dev/nvidia0", Errno::PERM), ("/dev/nvidiactl", Errno::PERM)]);
        let updated = GpuGuard { driver_now: Some("580.2".to_owned()), ..forbidden.clone() };
        let unloaded = GpuGuard { driver_now: None, ..well() };
        let divided = GpuGuard { slices_gone: vec!["/dev/nvidia-caps/nvidia-cap3".to_owned()], ..well() };
        let closed = refused(&[("/dev/nvidia0", Errno::ACCESS)]);
        let gone = refused(&[("/dev/nvidia0", Errno::NOENT)]);
        let odd = refused(&[("/dev/nvidia0", Errno::IO)]);
        let never =
            GpuGuard { driver_then: Some("1".to_owned()), driver_now: Some("2".to_owned()), ..GpuGuard::default() };
        // What the agent saw, who keeps the control groups -> the cause, what is said, and what of the evidence.
        let table = [
            ("all is well", &well(), "systemd", None, "", ""),
            ("there was nothing to lose", &never, "systemd", None, "", ""),
            (
                "a reload",
                &forbidden,
                "systemd",
                Some(Cause::DaemonReload),
                "most likely a `systemctl daemon-reload`",
                "/dev/nvidia0: Operation not permitted",
            ),
            (
                "no systemd",
                &forbidden,
                "cgroupfs",
                Some(Cause::DeviceRules),
                "/dev/nvidia0, /dev/nvidiactl may not be opened",
                "/dev/nvidiactl: Operation",
            ),
            (
                "an update counts first",
                &updated,
                "systemd",
                Some(Cause::DriverUpdate),
                "updated from 580.1 to 580.2",
                "libraries inside are of 580.1",
            ),
            ("no driver", &unloaded, "systemd", Some(Cause::DriverUpdate), "(580.1) was unloaded", "has none now"),
            ("no slice", &divided, "systemd", Some(Cause::MigChange), "(MIG)", "nvidia-cap3"),
            ("another mode", &closed, "systemd", Some(Cause::Nodes), "is closed to its user now", "Permission denied"),
            ("no node", &gone, "systemd", Some(Cause::Nodes), "is not there any more", "No such file"),
            ("another reason", &odd, "systemd", Some(Cause::Nodes), "cannot be used any more: ", "/dev/nvidia0: "),
        ];
        for (name, guard, cgroups, cause, text, evidence) in table {
            let found = lost(Witness { cgroups, ..witness(guard) });
            assert_eq!(found.as_ref().map(|found| found.cause), cause, "{name}: {found:?}");
            let Some(found) = found else { continue };
            assert!(found.text.starts_with("its GPUs are lost: ") && found.text.contains(text), "{name}: {found:?}");
            assert!(found.evidence.iter().any(|line| line.contains(evidence)), "{name}: {found:?}");
            assert_eq!(found.next, "Recreate.");
        }
    }

    #[test]
    fn a_reload_that_was_seen_is_no_guess() {
        let guard = refused(&[("/dev/nvidiactl", Errno::PERM)]);
        let found = lost(Witness { cgroups: "systemd", reloaded: Some("10:20"), ..witness(&guard) }).expect("lost");
        assert!(
            !found.text.contains("likely") && found.evidence.iter().any(|line| line.contains("again at 10:20")),
            "{found:?}"
        );
    }

    #[test]
    fn where_the_driver_can_be_asked_it_says_which_slice_is_gone() {
        let slice = |uuid: &str| Slice { uuid: uuid.to_owned(), ..Slice::default() };
        let gpu = |uuid: &str, mig, slices| Gpu { uuid: uuid.to_owned(), mig, slices, ..Gpu::default() };
        let told = Inventory {
            gpus: vec![gpu("GPU-0", true, vec![slice("MIG-b")]), gpu("GPU-1", false, vec![])],
            ..Inventory::default()
        };
        let divided = GpuGuard { slices_gone: vec!["/dev/nvidia-caps/nvidia-cap3".to_owned()], ..well() };
        for (given, guard, gone) in [
            ("MIG-a", &well(), true),
            ("MIG-b", &well(), false),
            // A slice of another container's was taken away.
            ("MIG-b", &divided, false),
            ("GPU-1", &divided, false),
            // It was whole, and is divided now.
            ("GPU-0", &well(), true),
            // It has fallen off the bus, or is another machine's.
            ("GPU-9", &well(), false),
        ] {
            let given = [given.to_owned()];
            let found = lost(Witness { inventory: Some(&told), given: &given, ..witness(guard) });
            assert_eq!(found.is_some(), gone, "{given:?}: {found:?}");
            if let Some(found) = found {
                assert_eq!(found.cause, Cause::MigChange);
                assert!(found.text.contains(&given[0]) && found.evidence[0].contains("MIG-b"), "{found:?}");
            }
        }
    }

    #[test]
    fn what_the_container_says_is_only_shown() {
        let guard = refused(&[("/dev/nvidiactl", Errno::PERM)]);
        let said = format!("Failed to initialize NVML: Unknown Error\u{1b}[2J{}", "x".repeat(5000));
        let found = lost(Witness { said: Some(&said), ..witness(&guard) }).expect("lost");
        let last = found.evidence.last().expect("there");
        assert!(last.contains("NVML: Unknown Error") && !last.contains('\u{1b}') && last.len() < 300, "{last}");
        assert!(lost(Witness { said: Some(&said), ..witness(&well()) }).is_none(), "words alone decide nothing");
    }
}
