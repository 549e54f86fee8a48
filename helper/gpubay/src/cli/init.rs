//! `gpubay init`

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::Serialize;

use super::args::Common;
use super::output::{Output, plain};
use super::{cancel_on_signals, questions, unless_cancelled, values};
use crate::error::Result;
use crate::progress::size;
use crate::scaffold::{self, Base, Folder, Found, ImageWeight, Plan, PlannedFile, Preset, State, Weight, Wish};
use crate::workspace::elsewhere;

/// Write a Dockerfile, requirements.txt, gpubay.toml and editor settings; what exists is left as it is
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpubay init                        asks, on a terminal\n  gpubay init --preset cuda --style ruff\n  gpubay init --base pytorch/pytorch:latest --name train\n  gpubay init --dry-run              show the files, write nothing\n\n\
    Presets:\n  ngc-pytorch  NVIDIA's PyTorch; the default where there is an NVIDIA driver\n  cuda         CUDA with its compiler, and Ubuntu's Python\n  cuda-conda   CUDA with its compiler, and conda\n  python       Python; the default elsewhere"
)]
pub(super) struct Init {
    /// What the image is built on
    #[arg(long, value_enum, conflicts_with = "base")]
    preset: Option<PresetName>,
    /// Any other image to build on
    #[arg(long, value_name = "IMAGE", value_parser = values::base_image)]
    base: Option<String>,
    /// The folder of the Dockerfile in docker/
    #[arg(long, value_parser = values::dockerfile_name)]
    name: Option<String>,
    /// Formatter and linter of the editor [default: autopep8]
    #[arg(long, value_enum)]
    style: Option<StyleName>,
    /// Do not ask the registry of the image how large it is
    #[arg(long)]
    offline: bool,
    /// Show what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PresetName {
    NgcPytorch,
    Cuda,
    CudaConda,
    Python,
}

impl From<PresetName> for Preset {
    fn from(name: PresetName) -> Self {
        match name {
            PresetName::NgcPytorch => Self::NgcPytorch,
            PresetName::Cuda => Self::Cuda,
            PresetName::CudaConda => Self::CudaConda,
            PresetName::Python => Self::Python,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StyleName {
    Autopep8,
    Ruff,
}

/// With `--json`.
#[derive(Serialize, JsonSchema)]
pub(super) struct Report<'a> {
    workspace: String,
    dry_run: bool,
    files: Vec<Shown<'a>>,
    base: Option<ShownBase<'a>>,
    mounts: &'a [Folder],
    notes: &'a [String],
    /// What was asked for and is not done, and why.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    undone: &'a [String],
}

#[derive(Serialize, JsonSchema)]
struct Shown<'a> {
    #[serde(flatten)]
    file: &'a PlannedFile,
    /// With --dry-run.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
}

#[derive(Serialize, JsonSchema)]
struct ShownBase<'a> {
    image: &'a str,
    preset: Option<&'static str>,
    #[serde(flatten)]
    weight: &'a Weight,
}

pub(super) async fn run(common: &Common, command: Init, output: &Output) -> Result<()> {
    let request = common.request_here()?;
    let style = command.style.map(|style| match style {
        StyleName::Autopep8 => scaffold::Style::Autopep8,
        StyleName::Ruff => scaffold::Style::Ruff,
    });
    let base = command.preset.map(|preset| Base::Preset(preset.into())).or(command.base.map(Base::Image));
    let mut wish = Wish { base, name: command.name, style };
    scaffold::check(&wish)?;
    let mut found = scaffold::look(&request)?;
    let progress = output.progress();

    let builds =
        wish.base.is_some() || found.needs_base() || wish.name.as_ref().is_some_and(|name| !found.has_dockerfile(name));
    // Until the first question that cannot be taken back otherwise, Ctrl-C ends the process, which has done nothing yet.
    let engine = if builds { elsewhere::answering(&request).await } else { None };
    if wish.base.is_none() && builds {
        let seen = engine.as_ref().map(|(engine, info)| (info, engine.is_local()));
        let usual = if scaffold::has_gpu(seen) { Preset::NgcPytorch } else { Preset::Python };
        wish.base = Some(questions::which_base(output, usual)?.unwrap_or(Base::Preset(usual)));
        scaffold::check(&wish)?;
    }
    let cancelling = cancel_on_signals(&progress);
    if found.takes_mounts() && !command.dry_run {
        for folder in &mut found.folders {
            let question = format!("Mount {} ({}) at {}?", folder.host, folder.about, folder.container);
            let answer = questions::yes_or_no(output, &question, &progress.cancel);
            progress.check()?;
            folder.mounted = answer.ok_or_else(questions::no_answer)?;
        }
    }
    progress.check()?;
    let mut plan = scaffold::plan(&found, &wish)?;
    let weight = match &plan.base {
        Some(base) => {
            let engine = engine.as_ref().map(|(engine, _)| engine);
            Some(scaffold::weigh(base, engine, command.offline, &progress).await)
        }
        None => None,
    };
    progress.check()?;
    if !command.dry_run {
        unless_cancelled(&progress, async { Ok(scaffold::apply(&found, &mut plan)?) }).await?;
    }
    drop(cancelling);
    let report = Report {
        workspace: found.workspace.to_string(),
        dry_run: command.dry_run,
        files: plan
            .files
            .iter()
            .map(|file| Shown { file, text: command.dry_run.then_some(file.text.as_str()) })
            .collect(),
        base: plan.base.as_ref().zip(weight.as_ref()).map(|(base, weight)| ShownBase {
            image: base.image(),
            preset: if let Base::Preset(preset) = base { Some(preset.name()) } else { None },
            weight,
        }),
        mounts: if found.takes_mounts() { &found.folders } else { &[] },
        notes: &plan.notes,
        undone: &plan.undone,
    };
    let text = || {
        let mut text = if command.dry_run { preview(&plan) } else { written(&plan, &found, output) };
        if let Some(weight) = &weight {
            text.push_str(&weighed(weight, output));
        }
        if !command.dry_run {
            text.push_str("`gpubay up` builds and starts it.\n");
        }
        text
    };
    if command.dry_run {
        output.answer(&report, text);
    } else {
        output.result(&report, text);
    }
    Ok(())
}

fn written(plan: &Plan, found: &Found, output: &Output) -> String {
    let mut text = String::new();
    let of = |state| plan.files.iter().filter(move |file| file.state == state);
    if of(State::Written).next().is_none() {
        let is = if plan.undone.is_empty() { " is complete" } else { "" };
        let _ = writeln!(text, "{}{is}: nothing was written", plain(&found.workspace.to_string()));
    }
    for file in of(State::Written) {
        let _ = writeln!(text, "{} {}", output.paint("wrote", "32"), plain(&file.path));
    }
    for file in of(State::Left) {
        let reason = file.reason.as_deref().unwrap_or_default();
        let _ = writeln!(text, "{}  {} ({})", output.paint("left", "33"), plain(&file.path), plain(reason));
    }
    if found.takes_mounts() {
        for folder in found.folders.iter().filter(|folder| !folder.mounted) {
            let _ = writeln!(
                text,
                "{}  {} ({}) is not mounted; gpubay.toml has the line for it",
                output.paint("note", "33"),
                folder.host,
                folder.about
            );
        }
    }
    for note in &plan.notes {
        let _ = writeln!(text, "{}  {}", output.paint("note", "33"), plain(note));
    }
    for sentence in &plan.undone {
        let _ = writeln!(text, "{} {}", output.paint("not done:", "31"), plain(sentence));
    }
    text
}

/// How much comes, and how much room there is for it.
fn weighed(weight: &Weight, output: &Output) -> String {
    let mut text = String::new();
    let word = output.paint("base", "36");
    for ImageWeight { image, present_bytes, compressed_bytes, unknown } in &weight.images {
        let said = match (present_bytes, compressed_bytes, unknown) {
            (Some(bytes), ..) => format!("is on the engine already ({})", size(*bytes)),
            (_, Some(bytes), _) => {
                format!("is {} to download, compressed; unpacked two to three times as much", size(*bytes))
            }
            (.., why) => {
                let place = if weight.engine { "is not on the engine; its size" } else { "may have to come: its size" };
                format!("{place} is not known: {}", why.as_deref().unwrap_or("nobody tells"))
            }
        };
        let _ = writeln!(text, "{word}  {} {}", plain(image), plain(&said));
    }
    if !weight.engine {
        text.push_str("      no engine was reached, so nobody knows what it holds: `gpubay doctor` says why\n");
    }
    if let Some(free) = weight.free_bytes {
        let _ = writeln!(text, "      {} are free where the engine keeps its images", size(free));
    }
    if weight.is_tight() {
        let _ = writeln!(
            text,
            "{} that may be too little room: `docker system df` shows what takes it",
            output.paint("warning:", "33")
        );
    }
    text
}

/// All files with what would stand in them.
fn preview(plan: &Plan) -> String {
    let mut text = String::new();
    for file in &plan.files {
        let reason = file.reason.as_deref().map(|reason| format!(" ({reason}: it is left)")).unwrap_or_default();
        let _ = writeln!(text, "==> {}{} <==", plain(&file.path), plain(&reason));
        let _ = writeln!(text, "{}", plain(&file.text));
    }
    for note in &plan.notes {
        let _ = writeln!(text, "note: {}", plain(note));
    }
    for sentence in &plan.undone {
        let _ = writeln!(text, "not done: {}", plain(sentence));
    }
    text
}
