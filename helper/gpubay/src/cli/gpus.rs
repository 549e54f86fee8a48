//! `gpubay gpus`

use clap::Args;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::args::Common;
use super::output::{self, Output, columns, plain};
use super::{cancel_on_signals, or_cancelled, reach};
use crate::error::Result;
use crate::progress::{CancellationToken, long};
use crate::workspace::elsewhere::Elsewhere;
use crate::workspace::gpus::{BEAT, GpuHolder, GpuLease, GpusReport, OfferedGpu, Viewer};

/// List the GPUs: what they do, who holds them, and how they get into a container
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gpubay gpus\n  gpubay gpus --watch                again every 2 s, until Ctrl-C\n  gpubay gpus --watch --json         a line whenever something is different\n  gpubay run --gpus device=1 -- nvidia-smi -L"
)]
pub(super) struct Gpus {
    /// Go on and show what changes
    #[arg(long, short)]
    watch: bool,
}

pub(super) async fn run(common: &Common, command: &Gpus, output: &Output) -> Result<()> {
    let (mut viewer, cancel) = match reach(common, output).await {
        Ok(workspace) => (Viewer::of(&workspace), workspace.progress.cancel.clone()),
        Err(error) if error.code != "no_workspace" => return Err(error),
        Err(_) => {
            let bare = crate::config::bare(&common.request(None)?)?;
            let progress = output.progress();
            cancel_on_signals(&progress).leave();
            let cancel = progress.cancel.clone();
            (Viewer::elsewhere(&or_cancelled(&cancel, Elsewhere::open(bare, progress)).await?), cancel)
        }
    };
    if command.watch {
        return watch(&mut viewer, &cancel, output).await;
    }
    let report = or_cancelled(&cancel, viewer.look()).await?;
    output.answer(&report, || text(&report));
    Ok(())
}

async fn watch(viewer: &mut Viewer, cancel: &CancellationToken, output: &Output) -> Result<()> {
    let redraws = !output.is_json() && output::can_redraw();
    let mut told: Option<GpusReport> = None;
    while !output::nobody_reads() {
        let looked = or_cancelled(cancel, viewer.look()).await;
        let report = looked.map_err(|error| if error.code == "cancelled" { output::ended() } else { error })?;
        if redraws {
            // Home, each line up to its end, and what is left below.
            let shown = text(&report).replace('\n', "\x1b[K\n");
            output::print(&format!("\x1b[H{}{shown}\x1b[J", if told.is_none() { "\x1b[2J" } else { "" }));
            told = Some(report);
        } else if told.as_ref().is_none_or(|told| report.is_news_to(told)) {
            let first = told.is_none();
            output.answer(&report, || if first { text(&report) } else { format!("\n{}", text(&report)) });
            told = Some(report);
        }
        tokio::select! {
            () = tokio::time::sleep(BEAT) => {}
            () = cancel.cancelled() => return Err(output::ended()),
        }
    }
    Ok(())
}

fn text(report: &GpusReport) -> String {
    let mut text = format!("{}: {}\n", report.injection, plain(&report.reason));
    let versions = [("driver", &report.driver), ("CUDA up to", &report.cuda)];
    let versions: Vec<String> =
        versions.iter().filter_map(|(what, version)| Some(format!("{what} {}", plain(version.as_ref()?)))).collect();
    if !versions.is_empty() {
        text.push_str(&format!("{}\n", versions.join(", ")));
    }
    if !report.devices.is_empty() {
        text.push_str(&table(&report.devices, report.driver.is_some(), OffsetDateTime::now_utc()));
    } else if !report.complete {
        text.push_str("how many there are is seen in a container: `gpubay run --gpus all -- nvidia-smi -L`\n");
    }
    if !report.other_names.is_empty() {
        text.push_str(&format!("also: {}\n", plain(&report.other_names.join(", "))));
    }
    for waiting in &report.waiting {
        text.push_str(&format!("{}\n", plain(&leased(waiting, OffsetDateTime::now_utc()))));
    }
    for device in &report.devices {
        if let Some(trouble) = &device.trouble {
            text.push_str(&format!("{}: {}\n", title(device), plain(trouble)));
        }
    }
    if let Some(problem) = &report.problem {
        text.push_str(&format!("{}\n", plain(problem)));
    }
    text
}

/// `told`: the driver says what they do. Where it does not, the names are all that there is.
fn table(devices: &[OfferedGpu], told: bool, now: OffsetDateTime) -> String {
    let title = if told {
        vec!["GPU", "NAME", "MEMORY", "USE", "TEMP", "POWER", "HELD BY"]
    } else {
        vec!["GPU", "NAME", "UUID", "CDI"]
    };
    let mut cells: Vec<Vec<String>> = vec![title.into_iter().map(str::to_owned).collect()];
    let shown = |value: Option<String>| value.map_or_else(|| "-".to_owned(), |value| plain(&value));
    for device in devices {
        let place = match (device.index, device.slice) {
            (Some(index), Some(slice)) => Some(format!("{index}:{slice}")),
            (index, _) => index.map(|index| index.to_string()),
        };
        let name = match (&device.name, &device.profile) {
            (Some(name), Some(profile)) => Some(format!("{name} {profile}")),
            (name, _) => name.clone(),
        };
        if !told {
            cells.push(vec![shown(place), shown(name), shown(device.uuid.clone()), shown(device.cdi.clone())]);
            continue;
        }
        let memory = device.memory.map(|memory| format!("{} / {} GiB", gib(memory.used), gib(memory.total)));
        let power = device.power.map(|power| match device.power_limit {
            Some(limit) => format!("{power} / {limit} W"),
            None => format!("{power} W"),
        });
        // A lease whose processes are told is told with them.
        let idle = device.leases.iter().filter(|lease| device.holders.iter().all(|on| on.container != lease.container));
        let lease = |holder: &GpuHolder| {
            let same = |lease: &&GpuLease| lease.container == holder.container && holder.container.is_some();
            device.leases.iter().find(same)
        };
        let holders = device.holders.iter().map(|holder| held(holder, lease(holder), now));
        let mut holders = holders.chain(idle.map(|lease| leased(lease, now))).map(|text| plain(&text));
        let free = match device.utilization {
            _ if device.trouble.is_some() => "-",
            // Who is not seen may be there all the same: a container shows no processes of others.
            Some(percent) if percent > 10 => "a process that cannot be seen",
            _ => "nobody",
        };
        cells.push(vec![
            shown(place),
            shown(name),
            shown(memory),
            shown(device.utilization.map(|percent| format!("{percent} %"))),
            shown(device.temperature.map(|degrees| format!("{degrees} °C"))),
            shown(power),
            holders.next().unwrap_or_else(|| free.to_owned()),
        ]);
        let more = |holder| [vec![String::new(); 6], vec![holder]].concat();
        cells.extend(holders.map(more));
    }
    columns(&cells)
}

fn title(device: &OfferedGpu) -> String {
    match (device.index, device.slice) {
        (Some(index), Some(slice)) => format!("GPU {index}, slice {slice}"),
        (Some(index), None) => format!("GPU {index}"),
        (None, _) => plain(&device.select),
    }
}

/// As the makers of GPUs count: a card of 24 GB has 24 of these.
fn gib(bytes: u64) -> String {
    let tenths = (bytes * 10 + (1 << 29)) >> 30;
    if tenths >= 100 || tenths.is_multiple_of(10) {
        format!("{}", (tenths + 5) / 10)
    } else {
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

/// `, cuda:0 inside`
fn inside(lease: &GpuLease) -> String {
    let cuda = lease.cuda.map(|cuda| format!(", cuda:{cuda} inside")).unwrap_or_default();
    cuda + if lease.unwatched { ", its terminal is gone" } else { "" }
}

/// `ann: job train of proj, cuda:0 inside, python3 (4711), 12 GiB, for 2 h`
fn held(holder: &GpuHolder, lease: Option<&GpuLease>, now: OffsetDateTime) -> String {
    let GpuHolder { pid, program, memory, user, container, workspace, job, since } = holder;
    let folder = workspace.as_deref().map(|folder| folder.rsplit('/').find(|part| !part.is_empty()).unwrap_or(folder));
    let place = match (job, folder, container) {
        (Some(job), Some(folder), _) => Some(format!("job {job} of {folder}")),
        (None, Some(folder), _) => Some(format!("dev container of {folder}")),
        (_, None, Some(container)) => Some(format!("container {container}")),
        (_, None, None) => None,
    };
    let process = match program {
        Some(program) => format!("{program} ({pid})"),
        None => format!("process {pid}"),
    };
    let place = place.map(|place| place + &lease.map(inside).unwrap_or_default());
    let parts = [place, Some(process), memory.map(|bytes| format!("{} GiB", gib(bytes)))];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let who = user.as_ref().map(|user| format!("{user}: ")).unwrap_or_default();
    format!("{who}{}{}", parts.join(", "), since_then(since.as_ref(), now))
}

/// `ann: job train of proj, exclusive, cuda:0 inside, for 12 min`
fn leased(lease: &GpuLease, now: OffsetDateTime) -> String {
    let GpuLease { kind, workspace, job, user, since, .. } = lease;
    let folder = workspace.rsplit('/').find(|part| !part.is_empty()).unwrap_or(workspace);
    let what = match job {
        Some(job) => format!("job {job} of {folder}"),
        None => format!("dev container of {folder}"),
    };
    let who = user.as_ref().map(|user| format!("{user}: ")).unwrap_or_default();
    format!("{who}{what}, {kind}{}{}", inside(lease), since_then(since.as_ref(), now))
}

fn since_then(since: Option<&String>, now: OffsetDateTime) -> String {
    let since = since.and_then(|since| OffsetDateTime::parse(since, &Rfc3339).ok());
    since.map(|since| format!(", for {}", long(now - since))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::gpus::GpuMemory;

    fn at(text: &str) -> OffsetDateTime {
        OffsetDateTime::parse(text, &Rfc3339).expect("RFC 3339")
    }

    #[test]
    fn memory_is_counted_as_makers_do() {
        for (bytes, text) in [(0, "0"), (576 << 20, "0.6"), (24 << 30, "24"), (1 << 30, "1"), (79 << 28, "20")] {
            assert_eq!(gib(bytes), text, "{bytes}");
        }
    }

    #[test]
    fn a_table_says_who_holds_what_since_when() {
        let holder = GpuHolder {
            pid: 4711,
            program: Some("python3".to_owned()),
            memory: Some(12 << 30),
            user: Some("ann".to_owned()),
            container: Some("gpubay-proj-1".to_owned()),
            workspace: Some("/home/ann/proj".to_owned()),
            job: Some("train".to_owned()),
            since: Some("2026-01-01T10:00:00Z".to_owned()),
        };
        let stranger = GpuHolder { job: None, workspace: None, container: None, memory: None, ..holder.clone() };
        let gpu = OfferedGpu {
            select: "GPU-a".to_owned(),
            index: Some(0),
            name: Some("H100".to_owned()),
            memory: Some(GpuMemory { used: 13 << 30, total: 80 << 30 }),
            utilization: Some(97),
            temperature: Some(64),
            power: Some(412),
            power_limit: Some(700),
            leases: vec![
                GpuLease {
                    kind: "exclusive".to_owned(),
                    workspace: "/home/ann/proj".to_owned(),
                    job: holder.job.clone(),
                    user: holder.user.clone(),
                    container: holder.container.clone(),
                    cuda: Some(1),
                    unwatched: true,
                    since: holder.since.clone(),
                },
                GpuLease {
                    kind: "shared".to_owned(),
                    workspace: "/home/bob/other".to_owned(),
                    job: None,
                    user: Some("bob".to_owned()),
                    container: Some("gpubay-other-2".to_owned()),
                    cuda: Some(0),
                    unwatched: false,
                    since: Some("2026-01-01T12:00:00Z".to_owned()),
                },
            ],
            holders: vec![holder, stranger],
            ..OfferedGpu::default()
        };
        let slice = OfferedGpu {
            index: Some(1),
            slice: Some(2),
            name: Some("H100".to_owned()),
            profile: Some("1g.10gb".to_owned()),
            ..OfferedGpu::default()
        };
        let unseen = OfferedGpu { index: Some(3), utilization: Some(11), ..OfferedGpu::default() };
        let lost = OfferedGpu { index: Some(2), trouble: Some("it is lost".to_owned()), ..OfferedGpu::default() };
        expect_test::expect![[r"
            GPU  NAME          MEMORY       USE   TEMP   POWER        HELD BY
            0    H100          13 / 80 GiB  97 %  64 °C  412 / 700 W  ann: job train of proj, cuda:1 inside, its terminal is gone, python3 (4711), 12 GiB, for 2 h
                                                                      ann: python3 (4711), for 2 h
                                                                      bob: dev container of other, shared, cuda:0 inside, for 30 min
            1:2  H100 1g.10gb  -            -     -      -            nobody
            2    -             -            -     -      -            -
            3    -             -            11 %  -      -            a process that cannot be seen
        "]]
        .assert_eq(&table(&[gpu, slice, lost, unseen], true, at("2026-01-01T12:30:00Z")));
    }
}
