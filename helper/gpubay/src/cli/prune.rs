//! `gpubay prune`

use clap::{Args, ValueEnum};

use super::args::Common;
use super::output::{Output, columns, eprint, plain};
use super::{cancel_on_signals, or_cancelled, questions};
use crate::error::{Error, Result};
use crate::progress::size;
use crate::workspace::prune::{self as workflow, Kind, PruneReport};

/// Free what nothing needs any more: it is listed with its size, and asked about
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  gpubay prune\n  gpubay prune --dry-run\n  gpubay prune images mirrors --yes\n\n\
    Containers stay (`gpubay rm`, `gpubay down`), and so does what belongs to a workspace that is here, to one whose disk \
    is\nnot mounted, and to one that has a container.")]
pub(super) struct Prune {
    /// Only these; all but volumes if left out
    #[arg(value_enum, value_name = "KIND")]
    kinds: Vec<What>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Say what would go, and take nothing away
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Host copies of container folders that no workspace uses
    Mirrors,
    /// Virtual environments of workspaces that are gone
    Venvs,
    /// Images that were built for a workspace and replaced since, or whose workspace is gone
    Images,
    /// What was remembered of workspaces, jobs and images that are gone, and agents of earlier versions
    Records,
    /// What a killed process left behind
    Leftovers,
    /// Volumes of workspaces that are gone, with the settings and tokens in them; only where they are named
    Volumes,
}

impl From<What> for Kind {
    fn from(what: What) -> Self {
        match what {
            What::Mirrors => Self::Mirrors,
            What::Venvs => Self::Venvs,
            What::Images => Self::Images,
            What::Records => Self::Records,
            What::Leftovers => Self::Leftovers,
            What::Volumes => Self::Volumes,
        }
    }
}

fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Mirrors => "mirror",
        Kind::Venvs => "venv",
        Kind::Images => "image",
        Kind::Records => "record",
        Kind::Leftovers => "leftover",
        Kind::Volumes => "volume",
    }
}

pub(super) async fn run(common: &Common, command: &Prune, output: &Output) -> Result<()> {
    let progress = output.progress();
    cancel_on_signals(&progress).leave();
    let cancel = progress.cancel.clone();
    let kinds: Vec<Kind> = command.kinds.iter().map(|kind| Kind::from(*kind)).collect();
    let request = common.request_here()?;
    let (prune, kept) = or_cancelled(&cancel, workflow::Prune::open(&request, &kinds, progress)).await?;
    let found = prune.survey(kept).await?;
    if command.dry_run || found.items.is_empty() {
        output.answer(&found, || text(&found));
        return Ok(());
    }
    if !command.yes {
        if !output.can_ask() {
            let what = format!("{} would be removed, and nobody can be asked", amount(&found));
            return Err(Error::new("not_confirmed", what)
                .with_hint("`gpubay prune --dry-run` lists them, `gpubay prune --yes` removes them."));
        }
        eprint(&text(&found));
        if !questions::yes(output, "Remove them?", &cancel) {
            return Err(Error::new("cancelled", "nothing was removed"));
        }
    }
    let report = prune.free(found).await?;
    output.result(&report, || text(&report));
    Ok(())
}

fn amount(report: &PruneReport) -> String {
    let count = report.items.len();
    format!("{count} thing{}, {}", if count == 1 { "" } else { "s" }, size(report.bytes))
}

fn text(report: &PruneReport) -> String {
    let mut text = String::new();
    let listed = report.items.iter().filter(|item| report.dry_run || item.removed);
    let cells: Vec<Vec<String>> = listed
        .map(|item| {
            vec![
                name_of(item.kind).to_owned(),
                size(item.bytes),
                plain(&item.name),
                plain(&item.because).replace('\n', " "),
            ]
        })
        .collect();
    text.push_str(&columns(&cells));
    for line in &report.kept {
        text.push_str(&format!("kept: {}\n", plain(line)));
    }
    if report.items.is_empty() {
        text.push_str("nothing to remove\n");
    } else {
        let done = if report.dry_run { "to remove" } else { "removed" };
        let count = cells.len();
        text.push_str(&format!("{done}: {count} thing{}, {}\n", if count == 1 { "" } else { "s" }, size(report.bytes)));
    }
    text
}
