import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import type { FolderState, Phase } from "../../src/protocol";
import { type ViewRow, childrenOf, folderRow, gpuRows, virtualRow } from "../../src/views/rows";
import { container, job, offered, report, state } from "./told";

// What each row of the view offers: the manifest's `when` clauses, held against every context that a row can have.

interface Entry {
  command: string;
  when: string;
  group: string;
}
interface Manifest {
  contributes: { commands: { command: string }[]; menus: Record<string, Entry[]> };
}
const { commands, menus } = (JSON.parse(readFileSync(path.join(process.cwd(), "package.json"), "utf8")) as Manifest)
  .contributes;
const entries = menus["view/item/context"] ?? [];

/** As much of the language of `when` clauses as is used here; anything else is an error. */
function holds(when: string, viewItem: string): boolean {
  const values: Record<string, string> = { view: "gpubay.workspaces", viewItem };
  return when.split(" && ").every((clause) => {
    const [, key = "", operator, wanted = ""] = /^(\w+) (==|=~) (\S+)$/.exec(clause) ?? [];
    const value = values[key];
    assert.ok(value !== undefined && operator, `«${clause}» is not understood`);
    return operator === "==" ? value === wanted : new RegExp(wanted.replace(/^\/|\/$/g, "")).test(value);
  });
}

/** The commands of the menu that a right click opens, and those that are shown as icons, in their order. */
function offers({ context }: ViewRow): { menu: string[]; icons: string[] } {
  const sorted = entries
    .filter(({ when }) => holds(when, context))
    .sort((a, b) => (a.group < b.group ? -1 : a.group > b.group ? 1 : 0));
  const names = (some: Entry[]) => some.map(({ command }) => command.replace("gpubay.", ""));
  return {
    menu: names(sorted.filter(({ group }) => !group.startsWith("inline"))),
    icons: names(sorted.filter(({ group }) => group.startsWith("inline"))),
  };
}

function only(rows: ViewRow[], kind: ViewRow["kind"]): ViewRow {
  const [row, ...others] = rows.filter((row) => row.kind === kind);
  assert.ok(row && others.length === 0, `one ${kind}`);
  return row;
}

const ofContainer = (now: string, more: Partial<FolderState> = {}, inside = false) =>
  offers(only(childrenOf(state("running", { container: container(now), ...more }), { inside }), "container"));
const ofJob = (now: string, exit_code: number | null = null) =>
  offers(only(childrenOf(state("stopped", { jobs: [job("train", { state: now, exit_code })] })), "job"));

describe("the menu of a row", () => {
  it("of a container that runs has all that can be done with it", () => {
    const drift = [{ option: "memory", was: null, now: "1g", text: "memory: 1g" }];
    for (const running of [ofContainer("running"), ofContainer("running", { phase: "drifted", drift })]) {
      assert.deepEqual(running, {
        icons: ["attach", "shell", "stop"],
        menu: [
          ...["attach", "shell", "rootShell", "selectGpus", "refresh", "recreate", "rebuild"],
          ...["restart", "stop", "container.remove", "showLog"],
        ],
      });
    }
  });

  it("of one that does not run starts it, or does away with it", () => {
    for (const now of ["created", "exited", "restarting", "dead"]) {
      assert.deepEqual(
        ofContainer(now, { phase: "stopped" }),
        { icons: ["start"], menu: ["start", "recreate", "rebuild", "container.remove", "showLog"] },
        now,
      );
    }
  });

  it("of one that is paused only ends it, which is all that can be done", () => {
    assert.deepEqual(ofContainer("paused", { phase: "problem" }), {
      icons: ["stop"],
      menu: ["restart", "stop", "container.remove", "showLog"],
    });
  });

  it("of the one that the window is in ends, makes and attaches nothing", () => {
    assert.deepEqual(ofContainer("running", {}, true), { icons: ["shell"], menu: ["shell", "selectGpus", "showLog"] });
  });

  it("of a job shows its output, ends it or takes it away", () => {
    for (const now of ["running", "waiting", "paused"]) {
      assert.deepEqual(
        ofJob(now),
        { icons: ["job.logs", "job.stop"], menu: ["job.logs", "job.stop", "job.remove"] },
        now,
      );
    }
    for (const code of [0, 3, null]) {
      assert.deepEqual(ofJob("exited", code), {
        icons: ["job.logs", "job.remove"],
        menu: ["job.logs", "job.remove", "jobs.removeFinished"],
      });
    }
  });

  it("of a folder has what its phase is for", () => {
    const menu = (phase?: Phase) => offers(folderRow("w", "/w", phase && state(phase))).menu;
    assert.deepEqual(menu("stopped"), ["start", "runJob", "doctor", "showLog"]);
    assert.deepEqual(menu("unconfigured"), ["initialize", "doctor", "showLog"]);
    for (const phase of ["running", "drifted"] as const) {
      assert.deepEqual(menu(phase), ["runJob", "doctor", "showLog"], "it is started already");
    }
    assert.deepEqual(menu("problem"), ["doctor", "showLog"]);
    for (const phase of ["looking", "untrusted", undefined] as const) {
      assert.deepEqual(menu(phase), ["showLog"]);
    }
    assert.deepEqual(offers(virtualRow("reef", "memfs:/reef")), { icons: [], menu: [] });
  });

  it("of what is done by a click is empty", () => {
    for (const phase of ["stopped", "unconfigured"] as const) {
      assert.deepEqual(offers(only(childrenOf(state(phase)), "action")), { icons: [], menu: [] });
    }
  });

  it("of the GPUs selects some, and those of one GPU and of a note are empty", () => {
    const problem = { ...{ code: "x", message: "no engine", hint: null, place: null }, powers: [], candidates: [] };
    const rows = childrenOf(state("problem", { problem }));
    assert.deepEqual(offers(only(rows, "gpus")), { icons: ["selectGpus"], menu: ["selectGpus"] });
    assert.deepEqual(offers(only(rows, "note")), { icons: [], menu: [] });
    assert.deepEqual(offers(only(gpuRows("/w", report(offered(0)), null), "gpu")), { icons: [], menu: [] });
  });
});

describe("the menus", () => {
  it("of the view's title start nothing in a window that is inside", () => {
    const shown = (menus["view/title"] ?? []).filter(({ when }) => !when.includes("!gpubay.inside"));
    assert.deepEqual(
      shown.map(({ command }) => command),
      ["gpubay.view.refresh", "gpubay.selectGpus", "gpubay.showLog"],
    );
  });

  it("name commands that there are, and each is in the palette or in a menu", () => {
    const known = new Set(commands.map(({ command }) => command));
    const named = Object.values(menus)
      .flat()
      .map(({ command }) => command);
    assert.deepEqual(
      named.filter((command) => !known.has(command)),
      [],
    );
    const hidden = (menus["commandPalette"] ?? []).filter(({ when }) => when === "false").map(({ command }) => command);
    const shown = Object.entries(menus)
      .filter(([place]) => place !== "commandPalette")
      .flatMap(([, some]) => some.map(({ command }) => command));
    assert.deepEqual(
      hidden.filter((command) => !shown.includes(command)),
      [],
    );
  });

  it("show nothing twice", () => {
    const places = entries.map(({ command, when, group }) => `${command} ${when} ${group.split("@")[0] ?? ""}`);
    assert.equal(new Set(places).size, places.length);
  });
});
