// Generated from the Rust types by `UPDATE_PROTOCOL=1 cargo test -p gpubay protocol`; do not edit.

/** Raised with every change that an older peer would misread. */
export const PROTOCOL = 1;

/**
 * Something that the workspace's own configuration asks of the host beyond its folder.
 */
export type AskedPower = { 
/**
 * For `allow`; a stranger wrote it, so it is never shown.
 */
key: string, 
/**
 * The key as it can be shown: one line, in one reading direction.
 */
label: string, 
/**
 * What it means: fits «it …».
 */
sentence: string, 
/**
 * It can take over the machine or the user's account.
 */
grave: boolean, };

export type AttachContainer = { name: string, running: boolean, };

/**
 * The answer of `attach`.
 */
export type AttachReport = { container: AttachContainer, 
/**
 * Inside.
 */
folder: ContainerPath, 
/**
 * Whom an editor is inside: the name of the container's user. `None` where there is no container yet.
 */
user: string | null, 
/**
 * What the workspace recommends: an editor installs extensions at its first attach only.
 */
extensions: Array<string>, 
/**
 * Editors of this machine that can attach, the one that is taken first, each with its command; with `--ssh` those
 * that the other machine may have.
 */
editors: Array<EditorReport>, 
/**
 * This call has started the first of them.
 */
opened: boolean, 
/**
 * What to do where there is none, and what else is to be known; a sentence each.
 */
notes: Array<string>, 
/**
 * `vscode-remote://<authority><folder>`, for `--folder-uri`.
 */
uri: string, 
/**
 * `attached-container+…`
 */
authority: string, };

export type AttachTargetParams = { folder: string, 
/**
 * The alias of this machine in the SSH configuration of the machine on which the editor runs.
 */
ssh?: string | null, };

/**
 * `capabilities.experimental.gpubay` in the answer of `initialize`.
 */
export type Capabilities = { protocol: number, 
/**
 * The helper runs in a container of ours: it tells of that container, and starts and attaches nothing.
 */
inside: boolean, };

/**
 * Why GPUs that answered when a container started do not any more.
 */
export type Cause = "daemon_reload" | "device_rules" | "driver_update" | "mig_change" | "nodes";

export type ChooseDockerfileParams = { folder: string, 
/**
 * One of a failure's `candidates`.
 */
dockerfile: string, };

/**
 * An absolute, lexically normal path inside a container (`/app/.venv`, never `/app/../x`).
 */
export type ContainerPath = string;

export type ContainerReport = { id: string, name: string, 
/**
 * By this call.
 */
created: boolean, 
/**
 * By this call.
 */
started: boolean, reused: boolean, 
/**
 * `uid:gid` and name of the container's user.
 */
user: string, workdir: ContainerPath, 
/**
 * `6006/tcp` -> addresses on the host.
 */
ports: { [key in string]: Array<string> }, };

/**
 * The answer of `doctor`.
 */
export type DoctorReport = { findings: Array<Finding>, warnings: number, problems: number, };

/**
 * The answer of `down` and `stop`.
 */
export type DownReport = { 
/**
 * Names of the containers that were removed or stopped.
 */
containers: Array<string>, 
/**
 * Jobs that waited for GPUs, and do not any more.
 */
waits: Array<string>, 
/**
 * What was kept, in sentences.
 */
kept: Array<string>, 
/**
 * What was lost, by container; those that lost nothing are left out.
 */
lost: { [key in string]: Losses }, };

/**
 * One difference between what runs and what the configuration now says.
 */
export type Drift = { 
/**
 * As `gpubay.toml` names it: `memory`, `env.TOKEN`, `mounts./data`; or `image`, `gpus`, `lost_gpus`, `venv`, `agent`.
 */
option: string, 
/**
 * `None`: it was not set, or its value is not to be shown.
 */
was: string | null, now: string | null, 
/**
 * All of it in a sentence.
 */
text: string, };

export type EditorReport = { argv: Array<string>, 
/**
 * `code`
 */
name: string, program: string, };

/**
 * Why a request failed: `data` of the JSON-RPC error.
 */
export type Failure = { 
/**
 * Stable, in `snake_case`.
 */
code: string, 
/**
 * What failed, on what.
 */
message: string, 
/**
 * The next step, as a whole sentence.
 */
hint: string | null, 
/**
 * The line of a file that it is about.
 */
place: FailurePlace | null, 
/**
 * With `needs_consent`: what is to be approved, each by its key in `allow`.
 */
powers: Array<AskedPower>, 
/**
 * With `ambiguous_dockerfile`: what can be chosen, for `gpubay/chooseDockerfile`.
 */
candidates: Array<string>, };

/**
 * From 1 both.
 */
export type FailurePlace = { 
/**
 * Absolute.
 */
path: string, line: number, column: number | null, };

/**
 * One line of the answer.
 */
export type Finding = { 
/**
 * What was looked at: `engine`, `disk`, …; several lines may be about one.
 */
check: string, verdict: Verdict, 
/**
 * What was found.
 */
text: string, 
/**
 * What to do next; never missing where the verdict is not `ok`.
 */
next: string | null, };

/**
 * A folder that is there, and how it would be mounted.
 */
export type Folder = { 
/**
 * As a person writes it, with `~`.
 */
host: string, container: string, 
/**
 * The variable by which programs find it there.
 */
variable: string | null, 
/**
 * What it is, for a question.
 */
about: string, 
/**
 * The user wants it; others are written as comments.
 */
mounted: boolean, };

/**
 * Parameters of requests that need nothing but a folder.
 */
export type FolderParams = { folder: string, };

/**
 * `gpubay/state`: everything that an editor shows of a folder. Each replaces the one before.
 */
export type FolderState = { folder: string, phase: Phase, 
/**
 * What is being done now by this helper.
 */
work: Work | null, container: StateContainer | null, 
/**
 * Of the container; `null` where none runs.
 */
gpu: GpuReport | null, hostEnv: HostEnvReport | null, 
/**
 * Folders with the container's packages on the host, for tools that take extra paths.
 */
paths: Array<HostPath>, 
/**
 * Each difference between what runs and what the configuration says.
 */
drift: Array<Drift>, 
/**
 * Newest last.
 */
jobs: Array<Row>, 
/**
 * Names in `[jobs]`.
 */
knownJobs: Array<string>, 
/**
 * Why nothing better can be said, or what failed last.
 */
problem: Failure | null, };

export type GpuDevice = { uuid: string | null, 
/**
 * As the engine's machine counts, where that is known.
 */
index: number, 
/**
 * Of a MIG slice: its place in its GPU.
 */
slice: number | null, name: string | null, 
/**
 * As CUDA counts inside: 1 is `cuda:1`.
 */
cuda: number | null, };

/**
 * A process on a GPU, and whose it is. What cannot be found out is `null`.
 */
export type GpuHolder = { 
/**
 * On the engine's machine.
 */
pid: number, 
/**
 * The program's name.
 */
program: string | null, 
/**
 * Bytes.
 */
memory: number | null, 
/**
 * The user's name, or the number.
 */
user: string | null, 
/**
 * The container's name; `null`: it runs in none.
 */
container: string | null, 
/**
 * The workspace of a container of ours.
 */
workspace: string | null, 
/**
 * The job of a container of ours; `null` in a dev container.
 */
job: string | null, 
/**
 * Since when it runs: RFC 3339.
 */
since: string | null, };

/**
 * A container that has a GPU, or waits for one. What is not known is `null`.
 */
export type GpuLease = { 
/**
 * `exclusive`: no other job gets it meanwhile. `shared`, `waiting`.
 */
kind: string, workspace: string, 
/**
 * `null`: it is a dev container.
 */
job: string | null, 
/**
 * Whose container it is: the user's name, or the number.
 */
user: string | null, 
/**
 * The container's name; of one that waits, of what stands in the queue for it.
 */
container: string | null, 
/**
 * As CUDA counts this GPU in there: 0 is `cuda:0`. `null` of one that waits, too.
 */
cuda: number | null, 
/**
 * A job in the foreground, which goes on although the process that watched it was killed.
 */
unwatched: boolean, 
/**
 * Since when: RFC 3339.
 */
since: string | null, };

/**
 * In bytes.
 */
export type GpuMemory = { used: number, total: number, };

export type GpuReport = { 
/**
 * How they got in: `cdi`, `nvidia-runtime`, `direct`, `none`; `inside`: who tells is in there, and cannot know.
 */
injection: string, isolation: string, reason: string, 
/**
 * What `--gpus` said, where it decided instead of the configuration.
 */
chosen: string | null, 
/**
 * The wish by which `devices` were selected, as `--gpus` takes it; of `--gpus`, or of the configuration.
 */
asked: string | null, 
/**
 * What programs get that start now, in the order in which CUDA counts them. With `soft` isolation all of the
 * engine's are inside, and these are selected.
 */
devices: Array<GpuDevice>, 
/**
 * What `CUDA_VISIBLE_DEVICES` holds for whatever starts now; `null`: it is left alone.
 */
visible: Array<string> | null, 
/**
 * Why they do not answer any more, although they did when the container started; `null`: nobody knows of it.
 */
lost: LostGpus | null, };

/**
 * `gpubay/gpus`: how the GPUs are now, while they are watched. Each replaces the one before.
 */
export type GpusParams = { folder: string, report: GpusReport, };

/**
 * The answer of `gpus`.
 */
export type GpusReport = { 
/**
 * The engine's address.
 */
engine: string, 
/**
 * How GPUs get into a container: `cdi`, `nvidia-runtime`, `direct`, `none`; `inside`: who tells is in one.
 */
injection: string, 
/**
 * Why that way.
 */
reason: string, 
/**
 * Whether `devices` holds all that there are: the NVIDIA runtime does not tell the engine which it has, only the
 * driver knows it.
 */
complete: boolean, devices: Array<OfferedGpu>, 
/**
 * Jobs that wait for GPUs, in their order.
 */
waiting: Array<GpuLease>, 
/**
 * Names that the engine takes and that cannot be matched with a device from here: UUIDs, `all`.
 */
other_names: Array<string>, 
/**
 * The driver's version.
 */
driver: string | null, 
/**
 * The newest CUDA that the driver runs: `13.0`.
 */
cuda: string | null, 
/**
 * Why memory, use and processes are not known, or what else is to know of the driver, with the next step.
 */
problem: string | null, };

export type HostEnvReport = { path: HostPath, 
/**
 * On the host: the shim.
 */
python: HostPath, 
/**
 * As `3.12.7`.
 */
version: string, roots: Array<RootReport>, };

/**
 * An absolute path on the machine where the helper runs.
 */
export type HostPath = string;

export type ImageReport = { id: string, reference: string, 
/**
 * By this call.
 */
built: boolean, };

export type ImageWeight = { image: string, 
/**
 * What the engine holds of it already: then nothing is pulled.
 */
present_bytes: number | null, 
/**
 * What a pull would transfer, compressed.
 */
compressed_bytes: number | null, 
/**
 * Why the size is not known.
 */
unknown: string | null, };

export type InitParams = { 
/**
 * The name of a preset; `null` with `base` `null`: what is usual here.
 */
preset?: string | null, 
/**
 * Any other image.
 */
base?: string | null, 
/**
 * The folder of the Dockerfile in `docker/`.
 */
name?: string | null, 
/**
 * `autopep8` or `ruff`.
 */
style?: string | null, 
/**
 * Targets of the offered mounts that the user has agreed to.
 */
mounts: Array<string>, 
/**
 * Tell what would be written, and write nothing.
 */
dryRun: boolean, folder: string, 
/**
 * Of the `$/progress` that the client wants; `window/workDoneProgress/cancel` with it ends the work, and the request
 * answers `cancelled` when everything is cleaned up.
 */
workDoneToken?: string | null, 
/**
 * Keys of powers that the user has approved just now.
 */
allow: Array<string>, 
/**
 * The user has agreed to what is lost: processes end, files outside of mounts go.
 */
consent: boolean, };

export type InitPreset = { name: string, image: string, about: string, };

/**
 * What `init` has written, or would write.
 */
export type InitReport = { files: Array<PlannedFile>, 
/**
 * The image that is built on, where a Dockerfile is written.
 */
base: string | null, weight: Weight | null, presets: Array<InitPreset>, 
/**
 * The preset that is usual on this engine.
 */
usual: string, 
/**
 * Folders of the host that can be mounted.
 */
mounts: Array<Folder>, notes: Array<string>, undone: Array<string>, };

export type LogLevel = "output" | "step" | "note" | "warning" | "error";

export type LogLine = { level: LogLevel, 
/**
 * Without control characters.
 */
text: string, };

/**
 * `gpubay/logLines`: what a container printed, as it came, some at a time.
 */
export type LogLinesParams = { subscription: string, text: string, };

/**
 * `gpubay/log`: lines for the log of a folder's work, in order, some at a time.
 */
export type LogParams = { folder: string, lines: Array<LogLine>, };

/**
 * The end of a log.
 */
export type LogsEnd = { container: string, };

export type LogsParams = { 
/**
 * A job's name; `null`: the newest job, or the dev container.
 */
job?: string | null, 
/**
 * Named in each `gpubay/logLines`.
 */
subscription: string, follow: boolean, 
/**
 * The last so many lines; `null`: all.
 */
tail?: number | null, folder: string, 
/**
 * Of the `$/progress` that the client wants; `window/workDoneProgress/cancel` with it ends the work, and the request
 * answers `cancelled` when everything is cleaned up.
 */
workDoneToken?: string | null, 
/**
 * Keys of powers that the user has approved just now.
 */
allow: Array<string>, 
/**
 * The user has agreed to what is lost: processes end, files outside of mounts go.
 */
consent: boolean, };

/**
 * What is lost with a container, or would be.
 */
export type Losses = { 
/**
 * What runs: number and command line.
 */
processes: Array<string>, 
/**
 * Packages of the system and of its Python that were installed inside.
 */
packages: Array<string>, 
/**
 * Paths outside of mounts that were changed inside, the first of them.
 */
files: Array<string>, 
/**
 * How many paths there are beyond those named.
 */
more_files: number, };

/**
 * A container runs and its GPUs do not answer any more.
 */
export type LostGpus = { cause: Cause, 
/**
 * What is lost and why, without a full stop.
 */
text: string, 
/**
 * What was seen that says so.
 */
evidence: Array<string>, 
/**
 * What to do.
 */
next: string, };

/**
 * What a call had to do for the host's copy of the packages.
 */
export type MirrorReport = { 
/**
 * What the copy holds, and the size of the originals.
 */
files: number, bytes: number, written_files: number, 
/**
 * Contents of the files that this call wrote.
 */
written_bytes: number, 
/**
 * The lists of files that it wrote besides.
 */
list_bytes: number, 
/**
 * Files that this call took from another copy, by a hard link.
 */
linked_files: number, ms: number, };

/**
 * A GPU or a MIG slice; what is not known is `null`.
 */
export type OfferedGpu = { 
/**
 * What `--gpus` takes for this device alone: its UUID, `device=1`, or a CDI name.
 */
select: string, index: number | null, 
/**
 * Of a MIG slice: its place in its GPU.
 */
slice: number | null, uuid: string | null, 
/**
 * The model.
 */
name: string | null, 
/**
 * Its CDI name.
 */
cdi: string | null, 
/**
 * Of a MIG slice: `1g.10gb`.
 */
profile: string | null, memory: GpuMemory | null, 
/**
 * Percent of the driver's last sample in which something ran.
 */
utilization: number | null, 
/**
 * Degrees Celsius.
 */
temperature: number | null, 
/**
 * Watts.
 */
power: number | null, 
/**
 * Watts.
 */
power_limit: number | null, 
/**
 * Why it cannot be used.
 */
trouble: string | null, 
/**
 * Whose processes are on it, the one with the most memory first.
 */
holders: Array<GpuHolder>, 
/**
 * Which containers have it, whether or not anything runs on it: jobs have it for themselves, dev containers share.
 */
leases: Array<GpuLease>, };

/**
 * `initializationOptions` of `initialize`.
 */
export type Options = { 
/**
 * Of the extension, as `0.1.0`.
 */
version: string | null, 
/**
 * What the extension speaks; a helper that speaks another refuses to work with it.
 */
protocol: number | null, 
/**
 * Whether the user trusts the workspace. Until then no engine is contacted, and nothing is built or started.
 */
trusted: boolean, };

/**
 * `gpubay/packages`: what Python tools see has changed; they are to look again.
 */
export type PackagesParams = { folder: string, hostEnv: HostEnvReport | null, paths: Array<HostPath>, 
/**
 * Another number when something was installed into the environment, or removed; 0 where that is not known.
 */
installed: number, };

export type Phase = "looking" | "untrusted" | "unconfigured" | "stopped" | "running" | "drifted" | "problem";

/**
 * A file of the layout.
 */
export type PlannedFile = { 
/**
 * Relative to the workspace.
 */
path: string, state: State, 
/**
 * Why it is left.
 */
reason: string | null, };

export type PsParams = { folder: string, 
/**
 * Of all workspaces of this user on the engine.
 */
all: boolean, };

export type RebuildParams = { 
/**
 * Every step anew.
 */
noCache: boolean, folder: string, 
/**
 * Of the `$/progress` that the client wants; `window/workDoneProgress/cancel` with it ends the work, and the request
 * answers `cancelled` when everything is cleaned up.
 */
workDoneToken?: string | null, 
/**
 * Keys of powers that the user has approved just now.
 */
allow: Array<string>, 
/**
 * The user has agreed to what is lost: processes end, files outside of mounts go.
 */
consent: boolean, };

export type RmParams = { 
/**
 * Jobs, or containers of the workspace.
 */
names: Array<string>, 
/**
 * All jobs that have ended.
 */
finished: boolean, folder: string, 
/**
 * Of the `$/progress` that the client wants; `window/workDoneProgress/cancel` with it ends the work, and the request
 * answers `cancelled` when everything is cleaned up.
 */
workDoneToken?: string | null, 
/**
 * Keys of powers that the user has approved just now.
 */
allow: Array<string>, 
/**
 * The user has agreed to what is lost: processes end, files outside of mounts go.
 */
consent: boolean, };

/**
 * The answer of `rm`.
 */
export type RmReport = { 
/**
 * Names of the containers that were removed.
 */
containers: Array<string>, 
/**
 * Jobs that waited for GPUs, and do not any more.
 */
waits: Array<string>, 
/**
 * The venv that was emptied, on the host.
 */
venv: HostPath | null, 
/**
 * What was lost, by container; those that lost nothing are left out.
 */
lost: { [key in string]: Losses }, };

export type RootReport = { container: ContainerPath, host: HostPath, files: number, bytes: number, };

/**
 * One line of `ps`.
 */
export type Row = { id: string, name: string, role: string, job: string | null, command: Array<string> | null, workspace: string, 
/**
 * `false` where the folder was moved or deleted, or is another machine's.
 */
workspace_exists: boolean, 
/**
 * The engine's word; `waiting`: a job that stands in the queue for its GPUs.
 */
state: string, 
/**
 * In the engine's words; of a job that waits: `waiting, 2nd for GPU 0`.
 */
status: string, 
/**
 * What the engine was asked for.
 */
gpus: string, 
/**
 * The GPUs that programs get in it that start now, in the order in which CUDA counts them; `null`: that is not known
 * without asking in there.
 */
devices: Array<GpuDevice> | null, 
/**
 * Why its GPUs do not answer any more, although they did when it started; `null`: nobody knows of it.
 */
lost_gpus: LostGpus | null, 
/**
 * Of a job: the name of the record of what it was made of, for `gpubay record`.
 */
record: string | null, 
/**
 * Of a job: the commit it was started from, with a `+` where tracked files differed from it.
 */
commit: string | null, exit_code: number | null, 
/**
 * Of a job in the foreground: it goes on, and the process that watched it was killed.
 */
unwatched: boolean, 
/**
 * Of a job that waits: its place among those who want the same GPUs, 1 is next.
 */
place: number | null, 
/**
 * Seconds since the Unix epoch.
 */
created: number, };

export type Rows = { containers: Array<Row>, };

export type RunParams = { 
/**
 * A job of `[jobs]`, instead of `argv`.
 */
job?: string | null, argv: Array<string>, name?: string | null, gpus?: string | null, 
/**
 * On a frozen copy of the sources.
 */
snapshot: boolean, 
/**
 * Beside jobs that have the GPUs already, instead of waiting for them.
 */
share: boolean, folder: string, 
/**
 * Of the `$/progress` that the client wants; `window/workDoneProgress/cancel` with it ends the work, and the request
 * answers `cancelled` when everything is cleaned up.
 */
workDoneToken?: string | null, 
/**
 * Keys of powers that the user has approved just now.
 */
allow: Array<string>, 
/**
 * The user has agreed to what is lost: processes end, files outside of mounts go.
 */
consent: boolean, };

export type SelectGpusParams = { 
/**
 * `auto`, `all`, `none`, a count, or names as `gpubay/gpus` gives them, with commas between.
 */
gpus: string, folder: string, 
/**
 * Of the `$/progress` that the client wants; `window/workDoneProgress/cancel` with it ends the work, and the request
 * answers `cancelled` when everything is cleaned up.
 */
workDoneToken?: string | null, 
/**
 * Keys of powers that the user has approved just now.
 */
allow: Array<string>, 
/**
 * The user has agreed to what is lost: processes end, files outside of mounts go.
 */
consent: boolean, };

/**
 * The answer of `gpubay/selectGpus`.
 */
export type SelectedGpus = { 
/**
 * What programs get that start now.
 */
gpu: GpuReport, 
/**
 * Each difference between what runs and what the configuration says; one of `gpus` waits for a recreate.
 */
drift: Array<Drift>, };

export type StakesParams = { folder: string, 
/**
 * Of the jobs, too.
 */
jobs: boolean, };

/**
 * What a recreate would lose, by container; those that lose nothing are left out.
 */
export type StakesReport = { lost: { [key in string]: Losses }, 
/**
 * The same as sentences for people.
 */
sentences: Array<string>, };

/**
 * A job that was started, and goes on by itself.
 */
export type StartedJob = { name: string, container: string, record: string, };

export type State = "planned" | "written" | "left";

export type StateContainer = { id: string, name: string, 
/**
 * In the engine's words: `running`, `exited`, `paused`.
 */
state: string, workdir: ContainerPath, };

export type StatusContainer = { id: string, name: string, 
/**
 * `created`, `running`, `paused`, `restarting`, `exited`, `dead`.
 */
state: string, workdir: ContainerPath, };

/**
 * The answer of `status`.
 */
export type StatusReport = { 
/**
 * `None`: there is none.
 */
container: StatusContainer | null, 
/**
 * Why nothing can be done in the dev container now, with the next step; `None`: it runs.
 */
hindrance: string | null, 
/**
 * Of the container that runs.
 */
gpu: GpuReport | null, 
/**
 * What the last `up` made for the tools outside.
 */
host_env: HostEnvReport | null, 
/**
 * Folders for tools that take extra paths.
 */
paths: Array<HostPath>, 
/**
 * Each difference between what runs and what the configuration says.
 */
drift: Array<Drift>, 
/**
 * Oldest first.
 */
jobs: Array<Row>, 
/**
 * Names in `[jobs]`.
 */
known_jobs: Array<string>, };

export type StopParams = { 
/**
 * Jobs, or containers of the workspace; none: the dev container.
 */
names: Array<string>, folder: string, 
/**
 * Of the `$/progress` that the client wants; `window/workDoneProgress/cancel` with it ends the work, and the request
 * answers `cancelled` when everything is cleaned up.
 */
workDoneToken?: string | null, 
/**
 * Keys of powers that the user has approved just now.
 */
allow: Array<string>, 
/**
 * The user has agreed to what is lost: processes end, files outside of mounts go.
 */
consent: boolean, };

export type SyncParams = { folder: string, 
/**
 * Of the `$/progress` that the client wants; `window/workDoneProgress/cancel` with it ends the work, and the request
 * answers `cancelled` when everything is cleaned up.
 */
workDoneToken?: string | null, 
/**
 * Keys of powers that the user has approved just now.
 */
allow: Array<string>, 
/**
 * The user has agreed to what is lost: processes end, files outside of mounts go.
 */
consent: boolean, };

/**
 * The answer of `sync`.
 */
export type SyncReport = { changed: boolean, host_env: HostEnvReport | null, 
/**
 * Folders for tools that take extra paths.
 */
paths: Array<HostPath>, timings_ms: { [key in string]: number }, warnings: Array<string>, };

/**
 * `gpubay/trust`: the user trusts the workspace from now on.
 */
export type TrustParams = { trusted: boolean, };

export type UpParams = { 
/**
 * As `--gpus` takes it; `null` leaves them as they are.
 */
gpus?: string | null, 
/**
 * The container, by its id, that was there when `consent` was given: another one that has come since stays, where
 * something in it would be lost.
 */
seen?: string | null, folder: string, 
/**
 * Of the `$/progress` that the client wants; `window/workDoneProgress/cancel` with it ends the work, and the request
 * answers `cancelled` when everything is cleaned up.
 */
workDoneToken?: string | null, 
/**
 * Keys of powers that the user has approved just now.
 */
allow: Array<string>, 
/**
 * The user has agreed to what is lost: processes end, files outside of mounts go.
 */
consent: boolean, };

/**
 * The answer of `up`.
 */
export type UpReport = { workspace: HostPath, container: ContainerReport, image: ImageReport, gpu: GpuReport, host_env: HostEnvReport | null, 
/**
 * `None`: nothing was to be looked at.
 */
mirror: MirrorReport | null, 
/**
 * Each difference between what runs and what the configuration says, and nothing else.
 */
drift: Array<Drift>, 
/**
 * What `--recreate`, which does away with the drift, would lose.
 */
stakes: Losses, 
/**
 * What was lost with a container that this call replaced.
 */
lost: Losses, 
/**
 * Milliseconds by stage, and `total`.
 */
timings_ms: { [key in string]: number }, warnings: Array<string>, };

export type Verdict = "ok" | "warning" | "problem";

export type WatchGpusParams = { folder: string, 
/**
 * Whether `gpubay/gpus` is wanted from now on. It ends with `false`, however often it was asked for.
 */
watch: boolean, };

/**
 * What is known of the images that a Dockerfile starts from.
 */
export type Weight = { images: Array<ImageWeight>, 
/**
 * Whether an engine was asked; otherwise what it holds is not known.
 */
engine: boolean, 
/**
 * Where the engine keeps images, in bytes; absent for an engine elsewhere.
 */
free_bytes: number | null, };

export type Work = { 
/**
 * The method that asked for it, without `gpubay/`: `up`.
 */
method: string, 
/**
 * To cancel it with; also where another window's client made the token up.
 */
token: string | null, };

/**
 * Parameters of requests that take a while.
 */
export type WorkParams = { folder: string, 
/**
 * Of the `$/progress` that the client wants; `window/workDoneProgress/cancel` with it ends the work, and the request
 * answers `cancelled` when everything is cleaned up.
 */
workDoneToken?: string | null, 
/**
 * Keys of powers that the user has approved just now.
 */
allow: Array<string>, 
/**
 * The user has agreed to what is lost: processes end, files outside of mounts go.
 */
consent: boolean, };

/** Requests of an editor: parameters and answers by method. */
export interface Requests {
  /** what an editor opens to be in the dev container. */
  "gpubay/attachTarget": { params: AttachTargetParams; answer: AttachReport };
  /** remembers which of several Dockerfiles is the workspace's. */
  "gpubay/chooseDockerfile": { params: ChooseDockerfileParams; answer: null };
  /** what is in the way on this machine, and what to do about it. */
  "gpubay/doctor": { params: FolderParams; answer: DoctorReport };
  /** removes the dev container and the jobs; keeps venv, mirror, caches and the image. */
  "gpubay/down": { params: WorkParams; answer: DownReport };
  /** what the engine offers. */
  "gpubay/gpus": { params: FolderParams; answer: GpusReport };
  /** writes a fresh workspace's files, or tells which it would; what exists is left as it is. */
  "gpubay/init": { params: InitParams; answer: InitReport };
  /** what a job or the dev container printed, as `gpubay/logLines`; it answers at the log's end. */
  "gpubay/logs": { params: LogsParams; answer: LogsEnd };
  /** the containers of this workspace, or of all. */
  "gpubay/ps": { params: PsParams; answer: Rows };
  /** builds the image although it is there, and starts a container of it; one in which something would be lost stays, and is drifted. */
  "gpubay/rebuild": { params: RebuildParams; answer: UpReport };
  /** stops the dev container and starts it again, the same one. */
  "gpubay/restart": { params: WorkParams; answer: UpReport };
  /** removes jobs that have ended; with consent also what runs. */
  "gpubay/rm": { params: RmParams; answer: RmReport };
  /** starts a job, which goes on by itself. */
  "gpubay/run": { params: RunParams; answer: StartedJob };
  /** gives the dev container other GPUs: at once to whatever starts next where the environment selects. Where it has to be made anew and something would be lost, it stays as it is, and is drifted. */
  "gpubay/selectGpus": { params: SelectGpusParams; answer: SelectedGpus };
  /** what a recreate would lose, or with jobs a down. */
  "gpubay/stakes": { params: StakesParams; answer: StakesReport };
  /** what runs, compared with what is configured. */
  "gpubay/status": { params: FolderParams; answer: StatusReport };
  /** stops the dev container, or jobs that are named, and keeps them. */
  "gpubay/stop": { params: StopParams; answer: DownReport };
  /** brings what the tools outside see up to date. With consent also where most of a folder has vanished inside. */
  "gpubay/sync": { params: SyncParams; answer: SyncReport };
  /** builds and starts the dev container and prepares the host env; what is there is reused. */
  "gpubay/up": { params: UpParams; answer: UpReport };
  /** begins or ends to tell `gpubay/gpus`: at once, then every 2 s if something is different. */
  "gpubay/watchGpus": { params: WatchGpusParams; answer: null };
}

/** Notifications, by method. */
export interface Notifications {
  /** What a folder is like; replaces what was told before. It alone drives what an editor shows. */
  "gpubay/state": FolderState;
  /** How the GPUs are now, whenever they are different, while `gpubay/watchGpus` wants it. */
  "gpubay/gpus": GpusParams;
  /** Lines for the log of a folder's work. */
  "gpubay/log": LogParams;
  /** Pieces of a log that `gpubay/logs` was asked for. */
  "gpubay/logLines": LogLinesParams;
  /** What Python tools see has changed. */
  "gpubay/packages": PackagesParams;
  /** The user trusts the workspace, or does no longer. */
  "gpubay/trust": TrustParams;
}
