#!/usr/bin/env node
// The helper that came with the extension, before which stands one who lets it hear of another version of the protocol: as the two
// sides are after an update in a window that is still open.
const { spawn } = require("node:child_process");

const helper = spawn(process.env.GPUBAY_TEST_HELPER, process.argv.slice(2), { stdio: ["pipe", "inherit", "inherit"] });
helper.on("exit", (code) => process.exit(code ?? 1));
let greeted = false;
process.stdin.on("data", (data) => {
    const text = data.toString("latin1");
    // As many bytes as before. What an editor says first comes in one piece.
    helper.stdin.write(greeted ? data : Buffer.from(text.replace(/"protocol":\d/, '"protocol":0'), "latin1"));
    greeted ||= text.includes('"protocol":');
});
process.stdin.on("end", () => helper.stdin.end());
