//! What a shell's Tab is answered with: names of jobs, containers and records of the workspace that is meant.
//!
//! The script that `gpubay completions` prints asks this program anew each time. So no answer may take long, ask a question,
//! say anything else, or reach an engine that was not approved: where something is in the way there is no candidate.

use crate::workspace::gpus::Reach;
use std::ffi::OsString;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{CompleteEnv, Shells};

use super::args::{Cli, Command, Common};
use crate::config::{self, Loaded};
use crate::progress::Progress;
use crate::workspace::{Workspace, record, shown};

/// Set by the script, with the shell's name.
const VARIABLE: &str = "GPUBAY_COMPLETE";
/// Nobody waits longer for a Tab.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ends the process where a shell asks.
pub(super) fn answer_a_shell() {
    CompleteEnv::with_factory(Cli::command).var(VARIABLE).bin("gpubay").complete();
}

/// The script for this shell, which calls `program`.
pub(super) fn script(shell: &str, program: &str) -> std::io::Result<String> {
    let (shells, is_bash) = (Shells::builtins(), shell == "bash");
    let shell = shells.completer(shell).ok_or_else(|| std::io::Error::other("no such shell"))?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "gpubay", "gpubay", program, &mut script)?;
    let script = String::from_utf8_lossy(&script).into_owned();
    Ok(if is_bash {
        WHOLE_WORDS.to_owned() + &script.replace("-F _clap_complete_gpubay", "-F _gpubay_complete")
    } else {
        script
    })
}

/// Bash takes `=` and `:` for ends of words, and so `device=1` for three: they are put together again. What stands before
/// the last of them is not offered, since bash leaves it where it is.
const WHOLE_WORDS: &str = r#"
_gpubay_complete() {
    local words=() index=0 at word breaks= kept=
    [[ $COMP_WORDBREAKS == *=* ]] && breaks+='='
    [[ $COMP_WORDBREAKS == *:* ]] && breaks+=':'
    for ((at = 0; at < ${#COMP_WORDS[@]}; at++)); do
        word=${COMP_WORDS[at]}
        ((at == COMP_CWORD)) && [[ ! $word =~ ^[=:]+$ ]] && word=$2
        if ((at > 0)) && [[ -n $breaks ]] && [[ $word =~ ^[$breaks]+$ || ${COMP_WORDS[at-1]} =~ ^[$breaks]+$ ]]; then
            words[${#words[@]}-1]+=$word
        else
            words+=("$word")
        fi
        ((at == COMP_CWORD)) && { index=$((${#words[@]} - 1)); break; }
    done
    local COMP_WORDS=("${words[@]}") COMP_CWORD=$index
    word=${words[index]}
    _clap_complete_gpubay "$1" "$word" "$3"
    [[ -n $breaks ]] && kept=${word%"${word##*[$breaks]}"}
    ((${#COMPREPLY[@]})) && COMPREPLY=("${COMPREPLY[@]#"$kept"}")
}
"#;

/// The jobs of `[jobs]`, as the first word; what follows is the command's own.
pub(super) fn configured_jobs() -> Vec<CompletionCandidate> {
    let words = words();
    // Where the cursor is, counted with the program; not every shell says.
    let cursor = std::env::var("_CLAP_COMPLETE_INDEX").ok().and_then(|index| index.parse().ok()).unwrap_or(words.len());
    let before = words.into_iter().take(cursor.saturating_sub(1));
    let line = std::iter::once("gpubay".into()).chain(before).chain(["x".into()]);
    let is_first =
        Cli::try_parse_from(line).is_ok_and(|cli| matches!(cli.command, Command::Run(run) if run.command().len() == 1));
    candidates(loaded().filter(|_| is_first).map(|loaded| loaded.config.jobs.into_keys().collect()))
}

/// Jobs by the names that `ps` shows, and the dev container.
pub(super) fn containers() -> Vec<CompletionCandidate> {
    candidates(of_workspace(async |workspace| {
        let rows = shown::ps(&workspace, shown::Scope::Workspace).await.ok()?;
        Some(rows.into_iter().map(|row| row.job.unwrap_or(row.name)).collect())
    }))
}

/// What `rm` takes.
pub(super) fn removable() -> Vec<CompletionCandidate> {
    let mut found = containers();
    found.push(CompletionCandidate::new("dev"));
    found
}

/// Jobs that are recorded, whether they still have a container or not.
pub(super) fn records() -> Vec<CompletionCandidate> {
    candidates(of_workspace(async |workspace| {
        Some(record::all(&workspace).into_iter().map(|kept| kept.record.job).collect())
    }))
}

pub(super) fn commands() -> Vec<CompletionCandidate> {
    let command = Cli::command();
    candidates(Some(command.get_subcommands().map(|command| command.get_name().to_owned()).collect()))
}

/// Words, and each GPU by its index.
pub(super) fn gpus() -> Vec<CompletionCandidate> {
    let about = |word: &str, about: &str| CompletionCandidate::new(word).help(Some(about.to_owned().into()));
    let words = [("all", "all that there are"), ("auto", "one that is free"), ("none", "the CPU")];
    let forms = [("count=", "so many"), ("min_free=", "with so much memory free, such as 20g")];
    let devices = of_workspace(async |workspace| {
        let devices = crate::workspace::gpus::gpus(&workspace, Reach::Here).await.ok()?.devices;
        let one = |device: crate::workspace::gpus::OfferedGpu| {
            let place = match (device.index?, device.slice) {
                (index, Some(slice)) => format!("device={index}:{slice}"),
                (index, None) => format!("device={index}"),
            };
            Some((place, device.name.unwrap_or_default()))
        };
        Some(devices.into_iter().filter_map(one).collect::<Vec<_>>())
    });
    // A name comes from a driver, and a shell reads what it gets.
    let plain =
        |name: &str| name.chars().filter(|c| c.is_ascii_alphanumeric() || " -_.".contains(*c)).collect::<String>();
    let devices = devices.unwrap_or_default().into_iter().map(|(place, name)| about(&place, &plain(&name)));
    words.iter().chain(&forms).map(|(word, text)| about(word, text)).chain(devices).collect()
}

/// A label may hold anything, and a shell reads what it gets.
fn candidates(names: Option<Vec<String>>) -> Vec<CompletionCandidate> {
    let mut names = names.unwrap_or_default();
    names.retain(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')));
    names.sort();
    names.dedup();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// The line that is being typed, without its program; the script passes it behind `--`.
fn words() -> Vec<OsString> {
    std::env::args_os().skip_while(|word| word != "--").skip(2).collect()
}

/// What is typed says which workspace is meant; nothing is asked, and nothing contacted that was not approved.
fn loaded() -> Option<Loaded> {
    let words = words();
    let named = |word: &OsString| word.to_str().and_then(|word| word.strip_prefix("-C")).map(str::to_owned);
    let directory = words.iter().enumerate().take_while(|(_, word)| *word != "--").find_map(|(at, word)| {
        let joined = named(word)?;
        if joined.is_empty() { words.get(at + 1).cloned() } else { Some(joined.into()) }
    });
    let common = Common { directory: directory.map(Into::into), json: false, quiet: true, allow: Vec::new() };
    let (loaded, _) = config::load_to_reach(&common.request(None).ok()?).ok()?;
    config::consent::require_to_reach(&loaded, &[], None).ok()?;
    Some(loaded)
}

fn of_workspace<T>(ask: impl AsyncFnOnce(Workspace) -> Option<T>) -> Option<T> {
    let loaded = loaded()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let asked = async { ask(Workspace::open(loaded, Progress::silent()).await.ok()?).await };
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
    runtime.shutdown_background();
    answer.ok().flatten()
}
