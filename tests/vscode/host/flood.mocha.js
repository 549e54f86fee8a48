const assert = require("node:assert/strict");
const { readFileSync } = require("node:fs");
const vscode = require("vscode");
const { activated, shows, state, until } = require("./session");

/** In MB, the most that this process has ever had. */
const peak = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) / 1024;

suite("a helper that tells 10^5 things at once", () => {
    test("is heard in order to its end, and the window goes on meanwhile", async () => {
        const { session, status } = await activated();
        const [folder] = vscode.workspace.workspaceFolders;
        await state(session, folder, "the stand-in is there", ({ container }) => container?.id === "0");
        const seen = [];
        const figures = [];
        const subscriptions = [
            session.onDidChangeState(() => seen.push(Number(session.state(folder).container.id))),
            session.gpus.onDidChange(() => figures.push(Number(session.gpus.report(folder).reason.split(", ")[1]))),
        ];
        const before = peak();
        let over = false;
        const asked = session.request("gpubay/doctor", { folder: folder.uri.fsPath }).finally(() => (over = true));
        // Meanwhile the editor and the extension host answer each other, as for everything that a user does.
        const waits = [];
        while (!over) {
            const began = performance.now();
            await vscode.commands.executeCommand("setContext", "gpubay.test", waits.length);
            waits.push(performance.now() - began);
        }
        const { messages } = await asked;
        await until("the last of it is passed on", () => seen.at(-1) === messages && figures.at(-1) === messages - 2);
        subscriptions.forEach((one) => one.dispose());
        const said = `${waits.length} answers, the slowest after ${Math.max(...waits).toFixed()} ms; ${(peak() - before).toFixed()} MB more`;
        console.log(said);
        // In the order in which it was told, and the last of each; what nobody could have seen between is left out.
        const isInOrder = (some) => some.every((number, at) => at === 0 || number > some[at - 1]);
        assert.ok(isInOrder(seen) && isInOrder(figures), `${seen}; ${figures}`);
        assert.deepEqual([seen.at(-1), figures.at(-1)], [messages, messages - 2]);
        assert.ok(seen.length < messages / 10 && figures.length < messages / 10, `${seen.length}, ${figures.length}`);
        await shows(status, /CPU$/);
        assert.ok(waits.length >= 10 && Math.max(...waits) < 5000, said);
        assert.ok(peak() - before < 300, said);
    });
});
