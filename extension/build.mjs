// Bundles the extension into one file, and the library that speaks to the helper into another beside it; with --tests, each unit test into one that plain Node runs.
import { rmSync } from "node:fs";
import { readdir } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = path.dirname(fileURLToPath(import.meta.url));
const [watch, tests] = ["--watch", "--tests"].map((flag) => process.argv.includes(flag));

const common = {
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node20",
    logLevel: "info",
};

const CLIENT = "vscode-languageclient/node";

/** Four fifths of the code are that library, which nothing needs before the window has opened: reading it is left to then. */
const clientApart = {
    name: "client-apart",
    setup(build) {
        build.onResolve({ filter: /^vscode-languageclient\/node$/ }, ({ kind }) =>
            kind === "entry-point" ? undefined : { path: "./languageclient.js", external: true },
        );
    },
};

const extension = {
    ...common,
    entryPoints: { extension: path.join(here, "src/extension.ts"), languageclient: CLIENT },
    outdir: path.join(here, "dist"),
    external: ["vscode"],
    plugins: [clientApart],
    minify: !watch,
    sourcemap: watch ? "linked" : false,
};

async function unitTests() {
    const folder = path.join(here, "test/unit");
    const names = (await readdir(folder)).filter((name) => name.endsWith(".test.ts"));
    const outdir = path.join(here, "out/test");
    // A test that was renamed or removed must not go on being run.
    rmSync(outdir, { recursive: true, force: true });
    return {
        ...common,
        logLevel: "warning",
        entryPoints: names.map((name) => path.join(folder, name)),
        outdir,
        outExtension: { ".js": ".cjs" },
        // A pure module that reaches for the editor fails to load here, which is what is wanted.
        external: ["vscode", "mocha", "typescript"],
        sourcemap: "inline",
    };
}

if (tests) {
    await esbuild.build(await unitTests());
} else if (watch) {
    await (await esbuild.context(extension)).watch();
} else {
    await esbuild.build(extension);
}
