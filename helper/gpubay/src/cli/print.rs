//! `--print`: a container as the command of the engine's own tool, instead of the container.

use clap::Args;

use super::output::Output;
use crate::workspace::print::{PrintReport, Secrets};

#[derive(Debug, Args)]
pub(super) struct Printing {
    /// Make nothing; print the `docker run` that asks for the same container
    #[arg(long)]
    print: bool,
    /// With --print: also the values of your variables, labels and log options, which may be secrets
    #[arg(long, requires = "print")]
    show_values: bool,
}

impl Printing {
    /// `None`: the container itself is wanted.
    pub(super) fn secrets(&self) -> Option<Secrets> {
        self.print.then_some(if self.show_values { Secrets::Shown } else { Secrets::Hidden })
    }
}

/// The command goes to stdout and can be run from there; all that is to say of it goes to stderr.
pub(super) fn print(report: &PrintReport, output: &Output) {
    output.answer(report, || format!("{}\n", report.command));
    for note in &report.notes {
        output.note(note);
    }
    if !report.hidden.is_empty() {
        output.note(&format!(
            "values are left out, since they may be secrets: {}; `docker` takes those of `env` from your shell's variables, \
             and --show-values prints all of them",
            report.hidden.join(", ")
        ));
    }
}
