//! Who watches a job in the foreground: a process of this machine, by what no other process has ever had. One that was killed
//! leaves its job, which goes on: nobody's work is ended for that, but it is said.

use std::path::Path;

use super::labels;
use crate::engine::Listed;

/// For the label [`labels::WATCHED`] of what this process is about to watch.
pub(super) fn this_process() -> Option<String> {
    of(std::process::id())
}

/// Whether it goes on although the process that watched it is gone. `false` as well where that cannot be known: it was started on
/// another machine, or processes of others are hidden.
pub(super) fn is_unwatched(container: &Listed) -> bool {
    container.state == "running" && container.labels.get(labels::WATCHED).is_some_and(|label| is_gone(label))
}

/// `<this start of the machine>/<where its number counts>/<its number>/<when it began>`
fn of(pid: u32) -> Option<String> {
    Some(format!("{}/{pid}/{}", here()?, began(pid)?))
}

fn here() -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let numbers = std::fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{}/{}", boot.trim(), numbers.to_str()?))
}

/// In ticks since the machine's start.
fn began(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

fn is_gone(label: &str) -> bool {
    let parse = || {
        let (rest, when) = label.rsplit_once('/')?;
        let (place, pid) = rest.rsplit_once('/')?;
        Some((place, pid.parse::<u32>().ok()?, when.parse::<u64>().ok()?))
    };
    let Some((place, pid, when)) = parse() else { return false };
    if here().is_none_or(|here| here != place) {
        return false;
    }
    match began(pid) {
        Some(now) => now != when,
        // Where others' processes are hidden, so is the first of all.
        None => !Path::new(&format!("/proc/{pid}")).exists() && Path::new("/proc/1").exists(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_to_be_gone() {
        let own = this_process().expect("this is Linux");
        assert!(!is_gone(&own));
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("started");
        let label = of(child.id()).expect("it runs");
        assert!(!is_gone(&label));
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert!(is_gone(&label));
        // Its number is another's by now.
        let (rest, when) = own.rsplit_once('/').expect("parts");
        let when: u64 = when.parse().expect("a number");
        assert!(is_gone(&format!("{rest}/{}", when + 1)));
        // Of another machine, or of words that somebody wrote, nobody knows.
        let elsewhere = own.replacen(|c: char| c.is_ascii_hexdigit(), "x", 1);
        for unknown in [elsewhere.as_str(), "", "///", "x/y/1/2", "\u{1b}[2J"] {
            assert!(!is_gone(unknown), "{unknown:?}");
        }
    }
}
