//! What is asked of the user, where somebody can answer: on a terminal, and not with `--json`. Elsewhere the
//! same is an error that names what to set.

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::output::{Output, eprint, plain};
use crate::config::Power;
use crate::progress::CancellationToken;
use crate::scaffold::{Base, Preset};

/// How often an answer that means nothing is asked for again.
const TRIES: u32 = 3;

/// Asks about powers; `None` where nobody can answer.
pub(super) fn about_powers(output: &Output) -> Option<impl FnMut(&[Power]) -> bool + use<>> {
    output.can_ask().then_some(|powers: &[Power]| {
        let mut text = "This workspace's gpubay.toml asks for more than its own folder:\n".to_owned();
        for power in powers {
            text.push_str(&format!("  {}\n      {}\n", plain(&power.key), plain(&power.sentence)));
        }
        eprint(&text);
        matches!(answer("Allow this from now on? [y/N] ").as_deref(), Some("y" | "Y" | "yes"))
    })
}

/// Whether the answer is yes; not where nobody can answer, and not after a Ctrl-C that the work catches.
pub(super) fn yes(output: &Output, question: &str, cancel: &CancellationToken) -> bool {
    if !output.can_ask() {
        return false;
    }
    eprint(&format!("{} [y/N] ", plain(question)));
    let stdin = std::io::stdin();
    let moment = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    while !cancel.is_cancelled() {
        if poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&moment)).is_ok_and(|ready| ready > 0) {
            return matches!(answer("").as_deref(), Some("y" | "Y" | "yes"));
        }
    }
    eprint("\n");
    false
}

/// One of several Dockerfiles; `None` where nobody answers.
pub(super) fn which_dockerfile(output: &Output, candidates: &[String]) -> Option<String> {
    if !output.can_ask() {
        return None;
    }
    let mut text = "Several Dockerfiles could be meant:\n".to_owned();
    for (index, candidate) in candidates.iter().enumerate() {
        text.push_str(&format!("  {}  {}\n", index + 1, plain(candidate)));
    }
    eprint(&text);
    for _ in 0..TRIES {
        let answer = answer(&format!("Which one is this workspace's from now on? [1-{}] ", candidates.len()))?;
        let chosen = answer.parse::<usize>().ok().and_then(|number| candidates.get(number.checked_sub(1)?));
        if let Some(chosen) = chosen.or_else(|| candidates.iter().find(|candidate| **candidate == answer)) {
            return Some(chosen.clone());
        }
    }
    None
}

/// One of the bases that there are, or any other image; `None` where nobody can answer. Enter is `usual`.
pub(super) fn which_base(output: &Output, usual: Preset) -> Option<Base> {
    if !output.can_ask() {
        return None;
    }
    let mut text = "What is the image built on?\n".to_owned();
    for (index, preset) in Preset::ALL.iter().enumerate() {
        text.push_str(&format!("  {}  {:<12} {}: {}\n", index + 1, preset.name(), preset.image(), preset.about()));
    }
    eprint(&text);
    for _ in 0..TRIES {
        let answer = answer(&format!("A number, a name, or any other image [{}] ", usual.name()))?;
        if answer.is_empty() {
            return Some(Base::Preset(usual));
        }
        let numbered = answer.parse::<usize>().ok().and_then(|number| Preset::ALL.get(number.checked_sub(1)?).copied());
        let named = Preset::ALL.into_iter().find(|preset| preset.name() == answer);
        if let Some(preset) = numbered.or(named) {
            return Some(Base::Preset(preset));
        }
        if answer.contains([':', '/']) {
            return Some(Base::Image(answer));
        }
    }
    None
}

/// A line without its end; `None` at the end of input.
fn answer(question: &str) -> Option<String> {
    eprint(question);
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line) {
        Ok(0) | Err(_) => {
            eprint("\n");
            None
        }
        Ok(_) => Some(line.trim().to_owned()),
    }
}
