//! What is asked of the user, where somebody can answer: on a terminal, and not with `--json`. Elsewhere the
//! same is an error that names what to set.

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::output::{Output, eprint, plain};
use crate::config::Power;
use crate::error::{Error, Result};
use crate::progress::CancellationToken;
use crate::scaffold::{self, Base, Preset, Wish};

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
    yes_or_no(output, question, cancel) == Some(true)
}

/// The answer; no where nobody can answer, and `None` where somebody gives none, with Ctrl-D or with a Ctrl-C that the work
/// catches.
pub(super) fn yes_or_no(output: &Output, question: &str, cancel: &CancellationToken) -> Option<bool> {
    if !output.can_ask() {
        return Some(false);
    }
    if cancel.is_cancelled() {
        return None;
    }
    eprint(&format!("{} [y/N] ", plain(question)));
    let stdin = std::io::stdin();
    let moment = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    while !cancel.is_cancelled() {
        if poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&moment)).is_ok_and(|ready| ready > 0) {
            return answer("").map(|answer| matches!(answer.as_str(), "y" | "Y" | "yes"));
        }
    }
    eprint("\n");
    None
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

/// Somebody was asked and said nothing, which is not a yes to what is usual.
pub(super) fn no_answer() -> Error {
    Error::new("no_answer", "the question was not answered, so nothing was written")
        .with_hint("Run it again, or name the base: `gpubay init --preset python` or `gpubay init --base IMAGE`.")
}

/// One of the bases that there are, or any other image; `None` where nobody can be asked. Enter is `usual`.
///
/// # Errors
/// [`no_answer`]
pub(super) fn which_base(output: &Output, usual: Preset) -> Result<Option<Base>> {
    if !output.can_ask() {
        return Ok(None);
    }
    let mut text = "What is the image built on?\n".to_owned();
    for (index, preset) in Preset::ALL.iter().enumerate() {
        text.push_str(&format!("  {}  {:<12} {}: {}\n", index + 1, preset.name(), preset.image(), preset.about()));
    }
    eprint(&text);
    for _ in 0..TRIES {
        let question = format!("A number, a name, or any other image [{}] ", usual.name());
        let Some(answer) = answer(&question) else { break };
        if answer.is_empty() {
            return Ok(Some(Base::Preset(usual)));
        }
        match base_of(&answer) {
            Ok(base) => return Ok(Some(base)),
            Err(why) => eprint(&format!("{}\n", plain(&why))),
        }
    }
    Err(no_answer())
}

/// What was typed as a base, or why it is none.
fn base_of(answer: &str) -> std::result::Result<Base, String> {
    if answer.bytes().all(|byte| byte.is_ascii_digit()) {
        let numbered = answer.parse::<usize>().ok().and_then(|number| Preset::ALL.get(number.checked_sub(1)?).copied());
        let last = Preset::ALL.len();
        return numbered.map(Base::Preset).ok_or_else(|| format!("{answer} is no number of the list: 1 to {last} are"));
    }
    if let Some(preset) = Preset::ALL.into_iter().find(|preset| preset.name() == answer) {
        return Ok(Base::Preset(preset));
    }
    let wish = Wish { base: Some(Base::Image(answer.to_owned())), ..Wish::default() };
    scaffold::check(&wish).map_err(|error| error.to_string())?;
    Ok(Base::Image(answer.to_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_as_a_base_is_one_or_is_told_why_not() {
        for (typed, preset) in [("1", Preset::ALL[0]), ("4", Preset::ALL[3]), ("python", Preset::Python)] {
            assert_eq!(base_of(typed), Ok(Base::Preset(preset)));
        }
        for image in ["ubuntu", "ubuntu:24.04", "abc", "a/b", "localhost:5000/x"] {
            assert_eq!(base_of(image), Ok(Base::Image(image.to_owned())));
        }
        for (typed, why) in [
            ("0", "no number of the list"),
            ("99", "99 is no number of the list: 1 to 4"),
            ("a b", "no name of an image"),
            ("My/Image:tag", "capital"),
        ] {
            assert!(base_of(typed).expect_err(typed).contains(why), "{typed}");
        }
    }
}
