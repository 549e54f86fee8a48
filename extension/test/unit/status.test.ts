import assert from "node:assert/strict";
import { failure } from "../../src/failure";
import type { FolderState, GpuReport, LostGpus, Phase } from "../../src/protocol";
import type { HelperState } from "../../src/session";
import { driftText, gpus, statusText } from "../../src/status/statusText";

const running: HelperState = { status: "running" };

function gpu(...indexes: number[]): GpuReport {
  const devices = indexes.map((index) => ({
    ...{ index, slice: null, uuid: `GPU-${index}`, name: "NVIDIA $(alert) [x](command:y)", cuda: null },
  }));
  return {
    injection: "cdi",
    isolation: "soft",
    reason: "the engine has discovered devices",
    chosen: null,
    asked: null,
    devices,
    visible: null,
    lost: null,
  };
}

function state(phase: Phase, more: Partial<FolderState> = {}): FolderState {
  return {
    ...{ folder: "/w", phase, work: null, container: null, gpu: null, hostEnv: null, paths: [], drift: [] },
    ...{ jobs: [], knownJobs: [], problem: null },
    ...more,
  };
}

describe("status bar", () => {
  it("names the GPUs, or the CPU", () => {
    assert.equal(gpus(gpu(0, 3)), "GPU 0, 3");
    assert.equal(gpus(gpu(0, 1, 2, 3, 4)), "5 GPUs");
    assert.equal(gpus({ ...gpu(), injection: "none" }), "CPU");
    assert.equal(gpus({ ...gpu(), chosen: "none" }), "CPU");
    assert.equal(gpus(null), "CPU");
  });

  it("says why it is the CPU", () => {
    const tooltip = (now: GpuReport) => statusText(running, state("running", { gpu: now })).tooltip;
    assert.match(tooltip({ ...gpu(), chosen: "none", asked: "none" }), /^No GPU is selected/);
    assert.match(tooltip({ ...gpu(), injection: "none", asked: "auto" }), /^There is no GPU in the container/);
  });

  it("says how GPUs get in, and why", () => {
    const { text, tooltip, look, command } = statusText(running, state("running", { gpu: gpu(0) }));
    assert.equal(text, "$(circuit-board) GPU 0");
    assert.match(tooltip, /Injection: cdi \(the engine has discovered devices\)/);
    assert.equal(look, "usual");
    assert.equal(command, "gpubay.selectGpus");
  });

  it("shows the memory of its GPUs, and one that is in trouble", () => {
    const one = {
      ...{ select: "GPU-0", index: 0, slice: null, uuid: "GPU-0", name: "NVIDIA L4", cdi: null, profile: null },
      ...{ memory: { used: 3 * 2 ** 30, total: 24 * 2 ** 30 }, utilization: 7, temperature: null, power: null },
      ...{ power_limit: null, trouble: null, holders: [], leases: [] },
    };
    const all = (gpu: typeof one | (Omit<typeof one, "trouble"> & { trouble: string })) => ({
      ...{
        engine: "",
        injection: "cdi",
        reason: "",
        complete: true,
        waiting: [],
        other_names: [],
        driver: "580",
        cuda: null,
      },
      ...{ problem: null, devices: [gpu] },
    });
    const shown = statusText(running, state("running", { gpu: gpu(0) }), undefined, all(one));
    assert.equal(shown.text, "$(circuit-board) GPU 0 · 3.0 / 24 GiB");
    assert.match(shown.tooltip, /^GPU 0 = cuda:0 inside: NVIDIA L4 · █░+ 3\.0 \/ 24 GiB · 7 %$/m);
    // Inside it may have another number.
    assert.equal(
      statusText(running, state("running", { gpu: gpu(0) }), undefined, all({ ...one, index: 3 })).text,
      "$(circuit-board) GPU 3 · 3.0 / 24 GiB",
    );
    const ill = statusText(
      running,
      state("running", { gpu: gpu(0) }),
      undefined,
      all({ ...one, trouble: "it is lost" }),
    );
    assert.deepEqual([ill.text, ill.look], ["$(warning) GPU 0", "warning"]);
    assert.match(ill.tooltip, /it is lost/);
  });

  it("says what is being done, whatever the phase", () => {
    const { text, command } = statusText(running, state("stopped", { work: { method: "up", token: "t" } }));
    assert.equal(text, "$(loading~spin) Starting…");
    assert.equal(command, "gpubay.showLog");
  });

  it("tells a container that is stopped from none", () => {
    const container = { id: "1", name: "gpubay-w", state: "exited", workdir: "/workspace" };
    assert.match(statusText(running, state("stopped", { container })).text, /GPU: stopped/);
    assert.match(statusText(running, state("stopped")).text, /GPU: not started/);
  });

  it("has something to do for every phase", () => {
    const phases: Phase[] = ["looking", "untrusted", "unconfigured", "stopped", "running", "drifted", "problem"];
    const texts = phases.map((phase) => statusText(running, state(phase)));
    for (const { tooltip, command } of texts) {
      assert.notEqual(tooltip, "");
      assert.notEqual(command, "");
    }
    assert.equal(statusText(running, undefined).text, statusText(running, state("looking")).text);
  });

  it("tells of a problem with its next step", () => {
    const problem = failure("engine_unreachable", "no engine answers", "Start Docker.");
    const { tooltip, look, command } = statusText(running, state("problem", { problem }));
    assert.equal(tooltip, "No engine answers. Start Docker.");
    assert.equal(look, "error");
    assert.equal(command, "gpubay.showProblem");
  });

  it("says that GPUs are lost, why, and by what that is seen", () => {
    const lost: LostGpus = {
      cause: "daemon_reload",
      text: "its GPUs are lost: /dev/nvidia0 may not be opened any more",
      evidence: ["/dev/nvidia0: Operation not permitted"],
      next: "`gpubay up --recreate` makes it anew.",
    };
    const drift = [{ option: "lost_gpus", was: null, now: null, text: lost.text }];
    const now = state("drifted", { gpu: { ...gpu(0), lost }, drift });
    const { text, tooltip, look, command } = statusText(running, now);
    assert.deepEqual([text, look, command], ["$(error) GPUs lost", "error", "gpubay.showProblem"]);
    assert.match(tooltip, /^its GPUs are lost: .*\n• \/dev\/nvidia0: Operation not permitted\n`gpubay up/);
    // Nobody has changed the configuration.
    assert.doesNotMatch(driftText(running, now) ?? "", /configuration/);
    assert.match(driftText(running, now) ?? "", /GPUs are lost/);
  });

  it("believes nothing while the helper is down", () => {
    const down: HelperState = { status: "down", failure: failure("helper_missing", "the helper is not there") };
    const { look, tooltip } = statusText(down, state("running", { gpu: gpu(0) }));
    assert.equal(look, "error");
    assert.equal(tooltip, "The helper is not there.");
  });

  it("names the folder where there are several, without markup of its own", () => {
    assert.equal(statusText(running, state("running"), "a $(bug) b").text, "$(circuit-board) CPU (a $ (bug) b)");
  });

  it("has a quiet badge for drift alone", () => {
    const drift = [{ option: "memory", was: "1g", now: "2g", text: "memory was 1g and is now 2g" }];
    assert.match(driftText(running, state("drifted", { drift })) ?? "", /• memory was 1g and is now 2g/);
    assert.equal(driftText(running, state("running")), undefined);
    assert.equal(driftText(running, state("drifted", { drift, work: { method: "up", token: null } })), undefined);
    assert.equal(driftText({ status: "starting" }, state("drifted", { drift })), undefined);
  });
});
