// Activation is to take 50 ms, nearly all of which is the loading of the bundle. Counted is the processor time of the
// thread: a busy machine makes waiting long, and not this.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import path from "node:path";
import { test } from "node:test";
import { node, REPOSITORY } from "../lib/lab.mjs";

const PROGRAM = `
    const Module = require("node:module");
    const load = Module._load;
    const stub = new Proxy({}, { get: () => class {}, ownKeys: () => [] });
    Module._load = (name, ...rest) => (name === "vscode" ? stub : load(name, ...rest));
    const before = process.threadCpuUsage();
    require(process.argv[1]);
    const { user, system } = process.threadCpuUsage(before);
    const read = Object.keys(require.cache).map((file) => file.split("/").at(-1));
    console.log(JSON.stringify({ took: (user + system) / 1000, read }));
`;

test("loading the extension takes at most 50 ms of the processor", (t) => {
    const bundle = path.join(REPOSITORY, "extension/dist/extension.js");
    const loads = Array.from({ length: 5 }, () =>
        JSON.parse(execFileSync(node, ["-e", PROGRAM, bundle], { encoding: "utf8" })),
    );
    // The library that speaks to the helper is read when the window is there.
    assert.deepEqual(loads[0].read, ["extension.js"]);
    const figures = loads.map(({ took }) => took);
    t.diagnostic(`${figures.map((figure) => figure.toFixed(1)).join(", ")} ms`);
    assert.ok(Math.min(...figures) <= 50, `${figures.join(", ")} ms`);
});
