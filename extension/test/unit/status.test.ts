import assert from "node:assert/strict";
import { Clicks } from "../../src/clicks";
import { failure } from "../../src/failure";
import type { GpuReport, LostGpus, OfferedGpu, Phase } from "../../src/protocol";
import type { HelperState } from "../../src/session";
import { driftText, gpus, statusText } from "../../src/status/statusText";
import { GIB, container, has, offered, report, state } from "./told";

const running: HelperState = { status: "running" };

describe("a click", () => {
  it("counts once, however often it is made within a moment", () => {
    const clicks = new Clicks();
    assert.deepEqual(
      [1000, 1200, 1600, 2100].map((now) => clicks.counts(now)),
      [true, false, false, true],
    );
  });
});

describe("status bar", () => {
  it("names the GPUs, or the CPU", () => {
    assert.equal(gpus(has(0, 3)), "GPU 0, 3");
    assert.equal(gpus(has(0, 1, 2, 3, 4)), "5 GPUs");
    assert.equal(gpus({ ...has(), injection: "none" }), "CPU");
    assert.equal(gpus({ ...has(), chosen: "none" }), "CPU");
    assert.equal(gpus(null), "CPU");
  });

  it("says why it is the CPU", () => {
    const tooltip = (now: GpuReport) => statusText(running, state("running", { gpu: now })).tooltip;
    assert.match(tooltip({ ...has(), chosen: "none", asked: "none" }), /^No GPU is selected/);
    assert.match(tooltip({ ...has(), injection: "none", asked: "auto" }), /^There is no GPU in the container/);
  });

  it("says how GPUs get in, and why", () => {
    const { text, tooltip, look, command } = statusText(running, state("running", { gpu: has(0) }));
    assert.equal(text, "$(circuit-board) GPU 0");
    assert.match(tooltip, /Injection: cdi \(the engine has discovered devices\)/);
    assert.equal(look, "usual");
    assert.equal(command, "gpubay.selectGpus");
  });

  it("says of a window that is inside what it cannot know", () => {
    const now = { ...has(0), injection: "inside", reason: "this window is in the container" };
    const { text, tooltip } = statusText(running, state("running", { gpu: now }));
    assert.equal(text, "$(circuit-board) GPU 0");
    assert.match(tooltip, /^This window is in the container, and sees its GPUs only\.$/m);
    assert.doesNotMatch(tooltip, /Injection/);
  });

  it("shows the memory of its GPUs, and one that is in trouble", () => {
    const one = offered(0, { memory: { used: 3 * GIB, total: 24 * GIB }, utilization: 7 });
    const now = state("running", { gpu: has(0) });
    const beside = (more: Partial<OfferedGpu> = {}) => statusText(running, now, undefined, report({ ...one, ...more }));
    const shown = beside();
    assert.equal(shown.text, "$(circuit-board) GPU 0 · 3.0 / 24 GiB");
    assert.match(shown.tooltip, /^GPU 0 = cuda:0 inside: NVIDIA L4 · █░+ 3\.0 \/ 24 GiB · 7 %$/m);
    // Inside it may have another number.
    assert.equal(beside({ index: 3 }).text, "$(circuit-board) GPU 3 · 3.0 / 24 GiB");
    const ill = beside({ trouble: "it is lost" });
    assert.deepEqual([ill.text, ill.look], ["$(warning) GPU 0", "warning"]);
    assert.match(ill.tooltip, /it is lost/);
  });

  it("says what is being done, whatever the phase", () => {
    const { text, command } = statusText(running, state("stopped", { work: { method: "up", token: "t" } }));
    assert.equal(text, "$(loading~spin) Starting…");
    assert.equal(command, "gpubay.showLog");
  });

  it("tells a container that is stopped from none", () => {
    const exited = state("stopped", { container: container("exited") });
    assert.match(statusText(running, exited).text, /GPU: stopped/);
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
    const now = state("drifted", { gpu: { ...has(0), lost }, drift });
    const { text, tooltip, look, command } = statusText(running, now);
    assert.deepEqual([text, look, command], ["$(error) GPUs lost", "error", "gpubay.showProblem"]);
    assert.match(tooltip, /^its GPUs are lost: .*\n• \/dev\/nvidia0: Operation not permitted\n`gpubay up/);
    // Nobody has changed the configuration.
    assert.doesNotMatch(driftText(running, now) ?? "", /configuration/);
    assert.match(driftText(running, now) ?? "", /GPUs are lost/);
  });

  it("believes nothing while the helper is down", () => {
    const down: HelperState = { status: "down", failure: failure("helper_missing", "the helper is not there") };
    const { look, tooltip } = statusText(down, state("running", { gpu: has(0) }));
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
