// Makes gpubay-linux-x64-<version>.vsix: the bundle, and the helper beside it. GPUBAY_HELPER names a helper that is
// there already; otherwise it is built.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const manifest = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8"));
const TARGET = "linux-x64";
const LIMIT = 8_000_000;

function run(program, ...args) {
    const { status, error, stdout } = spawnSync(program, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
    if (error || status !== 0) {
        console.error(`${program} ${args.join(" ")} failed: ${error?.message ?? `it ended with ${status}`}`);
        process.exit(1);
    }
    return stdout.toString();
}

function helper() {
    if (process.env.GPUBAY_HELPER) {
        return path.resolve(process.env.GPUBAY_HELPER);
    }
    run("cargo", "build", "--profile", "packaged", "--locked", "-p", "gpubay");
    return path.join(process.env.CARGO_TARGET_DIR ?? path.join(root, "target"), "packaged/gpubay");
}

const bin = path.join(root, "bin");
rmSync(bin, { recursive: true, force: true });
mkdirSync(bin);
const packed = path.join(bin, "gpubay");
copyFileSync(helper(), packed);
run("strip", packed);
chmodSync(packed, 0o755);
const version = run(packed, "--version").trim();
if (version !== `gpubay ${manifest.version}`) {
    console.error(`the helper says «${version}», and package.json has version ${manifest.version}`);
    process.exit(1);
}
const checksum = createHash("sha256").update(readFileSync(packed)).digest("hex");
writeFileSync(path.join(bin, "gpubay.sha256"), `${checksum}  gpubay\n`);

const out = path.join(root, `gpubay-${TARGET}-${manifest.version}.vsix`);
run(process.execPath, path.join(root, "extension/build.mjs"));
run(
    process.execPath,
    path.join(root, "node_modules/@vscode/vsce/vsce"),
    ...["package", "--target", TARGET, "--no-dependencies", "--skip-license"],
    ...["--readme-path", "extension/README.md", "--out", out],
);
const size = statSync(out).size;
console.log(`${path.basename(out)}: ${(size / 1e6).toFixed(2)} MB`);
// A helper that was not built for it has no size to answer for.
if (size > LIMIT && !process.env.GPUBAY_HELPER) {
    console.error(`it is larger than ${LIMIT / 1e6} MB`);
    process.exit(1);
}
