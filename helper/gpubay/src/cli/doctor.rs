//! `gpubay doctor`

use clap::Args;

use super::args::Common;
use super::output::{Output, plain};
use crate::error::{Error, Result};
use crate::workspace::doctor::{DoctorReport, Verdict, examine};

/// Say what is in the way on this machine, and what to do about it
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpubay doctor                      also outside of a workspace, and without an engine\n  \
    gpubay -C ~/src/model doctor --json\n\n\
    It ends with 1 where there is a problem; warnings alone end with 0."
)]
pub(super) struct Doctor {}

pub(super) async fn run(common: &Common, output: &Output) -> Result<u8> {
    let report = examine(&common.request(None)?, &common.allow, &output.progress()).await;
    if report.problems == 0 {
        output.answer(&report, || text(&report, output));
        return Ok(0);
    }
    let count = report.problems;
    let what = format!("{count} problem{}", if count == 1 { "" } else { "s" });
    let error = Error::new("problems", what).with_hint("Each line that says `problem` names its next step.");
    Ok(output.answer_with_error(&report, &error, || text(&report, output)))
}

fn text(report: &DoctorReport, output: &Output) -> String {
    let mut text = String::new();
    let width = report.findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    for finding in &report.findings {
        let verdict = match finding.verdict {
            Verdict::Ok => output.paint("ok     ", "32"),
            Verdict::Warning => output.paint("warning", "33"),
            Verdict::Problem => output.paint("problem", "1;31"),
        };
        let said = plain(&finding.text).replace('\n', "\n    ");
        text.push_str(&format!("{verdict}  {:<width$}  {said}\n", finding.check));
        if let Some(next) = &finding.next {
            text.push_str(&format!("         {:<width$}  {} {}\n", "", output.paint("next:", "1;36"), plain(next)));
        }
    }
    text
}
