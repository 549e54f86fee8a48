// The packed extension itself: what is in it is what was built for it, and it needs nothing else.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { asUser, engine, REPOSITORY, vsix } from "../lib/lab.mjs";
import { Editor } from "../lib/server.mjs";
import { entries } from "../lib/zip.mjs";

const packed = entries(readFileSync(vsix));
const text = (name) => packed.get(name).content().toString();
const manifest = JSON.parse(text("extension/package.json"));
const helper = packed.get("extension/bin/gpubay");

test("it holds what it needs, and nothing of the sources", () => {
    const names = [...packed.keys()].filter((name) => !/\/(l10n|media)\/|package\.nls\.[a-z-]+\.json$/.test(name));
    assert.deepEqual(names.sort(), [
        "[Content_Types].xml",
        "extension.vsixmanifest",
        "extension/LICENSE-APACHE",
        "extension/LICENSE-MIT",
        "extension/bin/gpubay",
        "extension/bin/gpubay.sha256",
        "extension/extension/dist/extension.js",
        "extension/extension/dist/languageclient.js",
        "extension/package.json",
        "extension/package.nls.json",
        "extension/readme.md",
    ]);
});

test("it is for one platform, and the helper is a program of it", () => {
    assert.match(text("extension.vsixmanifest"), /TargetPlatform="linux-x64"/);
    const elf = helper.content();
    assert.equal(elf.toString("latin1", 0, 4), "\x7fELF");
    // 64 bits, little-endian, x86-64.
    assert.deepEqual([elf[4], elf[5], elf.readUInt16LE(18)], [2, 1, 62]);
});

test("the helper may be executed by everybody, and changed by its owner alone", () => {
    assert.equal((helper.mode & 0o777).toString(8), "755");
});

test("the helper is the one whose checksum stands beside it", () => {
    const sum = createHash("sha256").update(helper.content()).digest("hex");
    assert.equal(text("extension/bin/gpubay.sha256"), `${sum}  gpubay\n`);
});

test("extension, helper and repository have one version", (t) => {
    const folder = mkdtempSync(path.join(tmpdir(), "gpubay-packed-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const program = path.join(folder, "gpubay");
    writeFileSync(program, helper.content());
    chmodSync(program, 0o755);
    assert.equal(execFileSync(program, ["--version"], { encoding: "utf8" }), `gpubay ${manifest.version}\n`);
    const own = JSON.parse(readFileSync(path.join(REPOSITORY, "package.json"), "utf8"));
    assert.equal(manifest.version, own.version);
    assert.match(text("extension.vsixmanifest"), new RegExp(`Version="${manifest.version.replaceAll(".", "\\.")}"`));
});

test("the bundle needs the editor and Node.js alone, and nothing that speaks HTTP", () => {
    const [own, library] = ["extension.js", "languageclient.js"].map((name) =>
        text(`extension/extension/dist/${name}`),
    );
    const bundle = own + library;
    const names = new Set(
        [...bundle.matchAll(/\brequire\("([^"]+)"\)/g)].map(([, name]) => name.replace(/^node:/, "")),
    );
    assert.ok(names.has("vscode") && names.has("child_process"), [...names].join());
    const foreign = [...names].filter((name) => name !== "vscode" && !builtinModules.includes(name));
    // The library beside it, which is loaded after the activation.
    assert.deepEqual(foreign, ["./languageclient.js"]);
    assert.deepEqual(
        [...names].filter((name) => /^(http|https|http2|tls|dgram|dns)$/.test(name)),
        [],
    );
    assert.doesNotMatch(bundle, /\b(fetch|WebSocket|EventSource|XMLHttpRequest)\b/);
});

test("without any network a container is started from it: agent and shim are inside", async (t) => {
    const editor = new Editor({ files: { Dockerfile: "FROM gpubay-lab/busybox\n" }, docker: engine("docker28") });
    t.after(() => editor.stop());
    const program = editor.at("run/gpubay");
    writeFileSync(program, helper.content());
    chmodSync(program, 0o755);
    // The engine is reached through its socket, a file; there is nothing else to reach, not even loopback.
    const alone = process.getuid() === 0 ? ["unshare", "-n"] : ["unshare", "-Ucn"];
    const [first, ...rest] = [...alone, ...asUser, program, "up", "--json"];
    const said = execFileSync(first, rest, {
        env: editor.environment(),
        cwd: editor.folder,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "inherit"],
    });
    const report = JSON.parse(said);
    assert.equal(report.outcome, "success");
    assert.deepEqual(await editor.containers("dev"), [report.container.id.slice(0, 12)]);
});
