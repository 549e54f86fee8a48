import assert from "node:assert/strict";
import { doctorPage } from "../../src/commands/doctorText";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { TITLES, elapsed, inWords, message } from "../../src/work/progressText";
import { initQuestion } from "../../src/commands/initializeText";
import { failure } from "../../src/failure";
import type { InitReport, Row } from "../../src/protocol";
import {
  type Agreed,
  asked,
  byName,
  listed,
  powersQuestion,
  recreateQuestion,
  removeQuestion,
  runningQuestion,
} from "../../src/work/questionText";
import { plain, short } from "../../src/text";

/** All of the helper's sources, one behind the other. */
function sources(folder: string): string {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".rs"))
    .map((entry) => readFileSync(path.join(entry.parentPath, entry.name), "utf8"))
    .join("");
}

describe("questions", () => {
  it("name each power, the grave ones first", () => {
    const { detail, message } = powersQuestion("model", [
      { key: "mount:/data\n", label: "mount:/data", sentence: "mounts /data", grave: false },
      { key: "privileged", label: "privileged", sentence: "runs privileged", grave: true },
    ]);
    assert.match(message, /“model”/);
    assert.ok(detail.indexOf("• runs privileged (privileged)") < detail.indexOf("• mounts /data (mount:/data)"));
    assert.ok(detail.indexOf("take over the machine") < detail.indexOf("runs privileged"));
  });

  it("list what runs and what is lost", () => {
    const { detail } = recreateQuestion("model", ["memory was 1g and is now 2g"], ["it runs python train.py (7)"]);
    assert.deepEqual(
      byName(["gpubay-w: it runs a: b", "gpubay-w-train-1: it runs c", "another: d"], {
        container: { id: "1", name: "gpubay-w", state: "running", workdir: "/w" },
        jobs: [{ name: "gpubay-w-train-1", job: "train-1" } as Row],
      }),
      ["it runs a: b", "train-1: it runs c", "another: d"],
    );
    // Also what was lost, which is no change, stands under it.
    assert.match(detail, /^Why it is made anew:\n• memory was 1g/);
    assert.match(detail, /• it runs python train\.py \(7\)/);
    assert.match(recreateQuestion("model", [], []).detail, /nothing is lost/);
    assert.match(runningQuestion("model", "Stopping", ["it runs sleep (9)"]).detail, /• it runs sleep/);
  });
});

describe("which question follows", () => {
  const nothing: Agreed = { allow: [], consent: false, followed: false };

  it("from what is missing, and only once", () => {
    const power = { key: "mount:/data", label: "mount:/data", sentence: "mounts /data", grave: false };
    const powers = { ...failure("needs_consent", ""), powers: [power] };
    assert.deepEqual(asked("gpubay/up", powers, nothing), { about: "powers", missing: [power] });
    assert.equal(asked("gpubay/up", powers, { ...nothing, allow: ["mount:/data"] }), undefined);
    const several = { ...failure("ambiguous_dockerfile", ""), candidates: ["a", "b"] };
    assert.deepEqual(asked("gpubay/up", several, nothing), { about: "dockerfile" });
    assert.equal(asked("gpubay/up", failure("disk_full", ""), nothing), undefined);
  });

  it("what would end is listed as far as it would", () => {
    const running = failure("work_running", "");
    assert.deepEqual(asked("gpubay/down", running, nothing), { about: "end", all: true });
    assert.deepEqual(asked("gpubay/stop", running, nothing), { about: "end", all: false });
    assert.equal(asked("gpubay/stop", running, { ...nothing, consent: true }), undefined);
    assert.deepEqual(listed(failure("x", "it would end:\n  - sleep 9 (7)\n\n• top (8)")), ["sleep 9 (7)", "top (8)"]);
  });

  it("what would end is what the failure says where it says no more than that", () => {
    assert.deepEqual(listed(failure("x", "it has not ended: train")), ["it has not ended: train"]);
    assert.deepEqual(listed(failure("x", "it has not ended:")), ["it has not ended:"]);
  });

  it("a yes to what has vanished is none to a recreate, and a yes to a recreate none to what has vanished", () => {
    const halted = failure("mirror_halted", "");
    assert.deepEqual(asked("gpubay/up", halted, nothing), { about: "follow" });
    assert.deepEqual(asked("gpubay/up", halted, { ...nothing, consent: true }), { about: "follow" });
    assert.equal(asked("gpubay/up", halted, { ...nothing, followed: true }), undefined);
    assert.deepEqual(asked("gpubay/up", failure("work_running", ""), { ...nothing, followed: true }), {
      about: "end",
      all: false,
    });
  });
});

describe("questions before an end", () => {
  it("have a first button that changes nothing", () => {
    const { yes, no, detail } = recreateQuestion("w", [], [], "GPU 1");
    assert.deepEqual([no, yes], ["Keep It", "Recreate"]);
    assert.match(detail, /The GPUs that were picked stay: GPU 1\./);
    assert.doesNotMatch(recreateQuestion("w", [], []).detail, /picked/);
    assert.equal(runningQuestion("w", "Stopping", ["sleep"]).no, "Let It Run");
  });

  it("name what a removal takes, also what has ended", () => {
    const job = { job: "train", name: "gpubay-w-train", state: "exited" } as Row;
    const { detail } = removeQuestion("w", true, [job, { ...job, job: "eval", state: "running" }], ["w: sleep 9"]);
    for (const said of [/the dev container/, /job train, which has ended/, /job eval, which runs/, /sleep 9/]) {
      assert.match(detail, said);
    }
  });
});

describe("what is written into a folder", () => {
  it("is listed without the options of a command line", () => {
    const report: InitReport = {
      ...{ files: [], base: null, weight: null, presets: [], usual: "", mounts: [], undone: [] },
      notes: [
        "Dockerfile is what the image is built from; `--name` or `--base` writes another beside it",
        "there is a note",
      ],
    };
    assert.equal(initQuestion("w", report).detail, "There is a note.");
  });
});

describe("text of strangers", () => {
  it("is no icon and no link to a command", () => {
    assert.equal(
      plain("$(alert) [here](command:workbench.action.quit)"),
      "$ (alert) [here] (command:workbench.action.quit)",
    );
    assert.equal(short("a\n b"), "a b");
    assert.equal(short("x".repeat(200), 10).length, 10);
  });
});

describe("progress", () => {
  it("says the steps in words, and knows those of the helper", () => {
    assert.equal(inWords("exporting to image: 3 MB"), "Saving the image: 3 MB");
    assert.equal(inWords("[3/5] RUN make"), "[3/5] RUN make");
    const helper = sources("helper/gpubay/src");
    const ours = Object.keys(TITLES).filter((title) => /^[A-Z]/.test(title));
    assert.deepEqual(
      ours.filter((title) => !helper.includes(`step("${title}")`)),
      [],
    );
  });

  it("says the step and the time", () => {
    assert.equal(elapsed(1500), "");
    assert.equal(elapsed(7200), "7 s");
    assert.equal(elapsed(185_000), "3 min 5 s");
    assert.equal(message("Building: 3 of 7", "7 s", false), "Building: 3 of 7 · 7 s");
    assert.equal(message(undefined, "", false), "");
    assert.match(message("Building", "7 s", true), /^Cancelling/);
  });
});

describe("doctor's page", () => {
  it("has what is in the way first", () => {
    const page = doctorPage({
      findings: [
        { check: "disk", verdict: "ok", text: "12 GB free", next: null },
        { check: "engine", verdict: "problem", text: "none answers", next: "Start Docker." },
      ],
      warnings: 0,
      problems: 1,
    });
    assert.ok(page.indexOf("✗ engine: none answers") < page.indexOf("✓ disk: 12 GB free"));
    assert.match(page, /^ {4}→ Start Docker\.$/m);
    const long = { check: "holes", verdict: "warning", text: "word ".repeat(40).trim(), next: null } as const;
    const lines = doctorPage({ findings: [long], warnings: 1, problems: 0 }).split("\n");
    assert.ok(lines.every((line) => line.length <= 100));
    assert.match(lines[3] ?? "", /^ {2}word/);
  });
});
