#!/usr/bin/env node
// A stand-in for the helper: it knows nothing of containers, and floods whoever asks for `gpubay/doctor` with what a real one
// tells, numbered. No real one is so fast.
const { once } = require("node:events");

const MESSAGES = 100_000;
let folder;

async function write(message) {
    const body = Buffer.from(JSON.stringify({ jsonrpc: "2.0", ...message }));
    if (!process.stdout.write(Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body]))) {
        await once(process.stdout, "drain");
    }
}

const notify = (method, params) => write({ method, params });

const state = (number) => ({
    ...{ folder, phase: "running", work: null, gpu: null, hostEnv: null, paths: [], drift: [] },
    ...{ jobs: [], knownJobs: [], problem: null },
    container: { id: String(number), name: `stand-in-${number}`, state: "running", workdir: "/workspace" },
});

const gpus = (number) => ({
    ...{ engine: "", injection: "cdi", reason: "a stand-in", complete: true, waiting: [], other_names: [] },
    ...{ driver: null, cuda: null, problem: null, devices: [] },
    reason: `a stand-in, ${number}`,
});

/** States, figures and lines in turn. */
async function flood() {
    for (let number = 1; number <= MESSAGES; number += 1) {
        if (number % 3 === 0) {
            await notify("gpubay/log", { folder, lines: [{ level: "output", text: `line ${number}` }] });
        } else if (number % 3 === 1) {
            await notify("gpubay/state", state(number));
        } else {
            await notify("gpubay/gpus", { folder, report: gpus(number) });
        }
    }
    return { messages: MESSAGES };
}

async function answer({ id, method, params }) {
    switch (method) {
        case "initialize": {
            folder = params.workspaceFolders[0].uri.replace("file://", "");
            const gpubay = { protocol: params.initializationOptions.protocol, inside: false };
            const capabilities = { experimental: { gpubay } };
            return write({ id, result: { capabilities, serverInfo: { name: "a stand-in for the helper" } } });
        }
        case "initialized":
            return notify("gpubay/state", state(0));
        case "gpubay/doctor":
            return write({ id, result: await flood() });
        case "exit":
            return process.exit(0);
        default:
            return id === undefined ? undefined : write({ id, result: null });
    }
}

let read = Buffer.alloc(0);
process.stdin.on("end", () => process.exit(0));
process.stdin.on("data", (data) => {
    read = Buffer.concat([read, data]);
    for (;;) {
        const head = /^Content-Length: (\d+)\r\n(?:[^\r]+\r\n)*\r\n/.exec(read.toString("latin1", 0, 200));
        const end = head && head[0].length + Number(head[1]);
        if (!head || read.length < end) {
            return;
        }
        const message = JSON.parse(read.toString("utf8", head[0].length, end));
        read = read.subarray(end);
        void answer(message);
    }
});
