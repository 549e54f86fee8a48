// Every command while the helper is away: each says so, with a button, or does what needs no helper. Nothing fails unheard.
const assert = require("node:assert/strict");
const path = require("node:path");
const vscode = require("vscode");
const { api, messages } = require("./heard");
const { activated, helpers, state, until } = require("./session");

const extension = vscode.extensions.getExtension("gpubay.gpubay");
const bundled = path.join(extension.extensionPath, "bin/gpubay");
// For the one of another version, which the extension starts.
process.env.GPUBAY_TEST_HELPER = bundled;

/** Tells that the helper is away. */
const TELLS = {};
/** Opens the log, which the extension writes itself. */
const OPENS_LOG = { log: true };
/** What it asks goes to a terminal, where the program is started anew. */
const OPENS_TERMINAL = { terminal: true };

/** Each command of the manifest, and the one behind the status bar's item. */
const COMMANDS = {
    "gpubay.start": TELLS,
    "gpubay.stop": TELLS,
    "gpubay.restart": TELLS,
    "gpubay.rebuild": TELLS,
    "gpubay.rebuildNoCache": TELLS,
    "gpubay.recreate": TELLS,
    "gpubay.attach": TELLS,
    "gpubay.selectGpus": TELLS,
    "gpubay.shell": TELLS,
    "gpubay.rootShell": TELLS,
    "gpubay.runPython": TELLS,
    "gpubay.runJob": TELLS,
    "gpubay.showLog": OPENS_LOG,
    "gpubay.refresh": TELLS,
    "gpubay.initialize": TELLS,
    "gpubay.doctor": TELLS,
    "gpubay.job.logs": { otherVersion: OPENS_TERMINAL, killed: OPENS_TERMINAL },
    "gpubay.job.stop": TELLS,
    "gpubay.job.remove": TELLS,
    "gpubay.jobs.removeFinished": TELLS,
    "gpubay.container.remove": TELLS,
    "gpubay.view.refresh": TELLS,
    "gpubay.showProblem": { ...TELLS, killed: OPENS_LOG },
};

const title = (command, { log, terminal }) =>
    `${command} ${log ? "opens the log" : terminal ? "opens a terminal" : "says so"}`;

suite("with the helper away", () => {
    const unheard = [];
    const hear = (reason) => unheard.push(reason);
    let session, status, folder, said;
    suiteSetup(async () => {
        process.on("unhandledRejection", hear);
        said = messages();
        ({ session, status } = await activated());
        [folder] = vscode.workspace.workspaceFolders;
        await state(session, folder, "it looks at the folder", ({ phase }) => phase === "stopped");
        await vscode.window.showTextDocument(vscode.Uri.joinPath(folder.uri, "train.py"));
    });
    suiteTeardown(() => {
        said.dispose();
        process.off("unhandledRejection", hear);
    });
    teardown(() => {
        unheard.length = said.all.length = 0;
    });

    /** Nothing fails unheard, and nothing else is said. */
    const check = (title, run) =>
        test(title, async () => {
            await run();
            assert.deepEqual([unheard, said.all], [[], []]);
        });

    const helperPath = (file) =>
        vscode.workspace.getConfiguration("gpubay").update("helper.path", file, vscode.ConfigurationTarget.Global);

    /** As the palette does it; one of the view's comes with its row. */
    const begin = (command) => {
        const row = /^gpubay\.(job|jobs|container)\./.test(command) ? [{ folder, row: { job: "train" } }] : [];
        return vscode.commands.executeCommand(command, ...row);
    };

    /** What was begun ends by itself once its message is gone. */
    const over = async (begun) => {
        await vscode.commands.executeCommand("notifications.clearAll");
        await begun;
    };

    const opensLog = async (command) => {
        await vscode.commands.executeCommand("workbench.action.closePanel");
        const shown = () => vscode.window.visibleTextEditors.some(({ document }) => document.uri.scheme === "output");
        await until("the log is not shown", () => !shown());
        await begin(command);
        await until("the log is shown", shown);
    };

    const opensTerminal = async (command) => {
        const started = new Promise((resolve) => {
            const once = vscode.tasks.onDidStartTask(({ execution }) => {
                once.dispose();
                resolve(execution);
            });
        });
        await begin(command);
        assert.equal((await started).task.name, "train: output");
        await vscode.commands.executeCommand("workbench.action.terminal.killAll");
    };

    test("each command has a behaviour", () => {
        const promised = extension.packageJSON.contributes.commands.map(({ command }) => command);
        const known = Object.keys(COMMANDS).filter((command) => command !== "gpubay.showProblem");
        assert.deepEqual(known.sort(), promised.sort());
    });

    for (const { when, name, file, code, message, buttons } of [
        {
            when: "missing",
            name: "missing",
            file: () => path.join(process.env.GPUBAY_TEST_RUN, "nowhere"),
            code: "helper_setting",
            message: /^The helper \/.*\/nowhere is not there\. Correct the setting gpubay\.helper\.path, or clear it/,
            buttons: ["Open Settings", "Retry", "Show Log"],
        },
        {
            when: "notExecutable",
            name: "not executable",
            file: () => path.join(process.env.GPUBAY_TEST_RUN, "plain"),
            code: "helper_not_executable",
            message:
                /^The helper \/.*\/plain may not be executed\. Correct the setting gpubay\.helper\.path, or clear it/,
            buttons: ["Open Settings", "Retry", "Show Log"],
        },
        {
            when: "otherVersion",
            name: "of another version",
            file: () => path.join(process.env.GPUBAY_TEST_RUN, "other"),
            code: "other_version",
            message: /^The extension \S+ speaks version 0 of the protocol, and this helper \(\S+\) version \d+/,
            buttons: ["Reload Window", "Open Settings", "Show Log"],
        },
    ]) {
        suite(`since it is ${name}`, () => {
            const tells = async () => {
                const told = await said.take(message);
                assert.deepEqual(told.buttons, buttons);
                return told;
            };

            check("that is told when it is noticed", async () => {
                await helperPath(file());
                await tells();
                assert.equal(session.helper.failure?.code, code);
                assert.match(status.text, /^\$\(error\) GPU Bay$/);
            });

            for (const [command, behaviours] of Object.entries(COMMANDS)) {
                const behaviour = behaviours[when] ?? behaviours;
                check(title(command, behaviour), async () => {
                    if (behaviour.log) {
                        return opensLog(command);
                    }
                    if (behaviour.terminal) {
                        return opensTerminal(command);
                    }
                    const begun = begin(command);
                    await tells();
                    return over(begun);
                });
            }
        });
    }

    suite("since it is killed while it is asked", () => {
        suiteSetup(async () => {
            await helperPath(undefined);
            await until("it runs", () => session.helper.status === "running");
        });
        teardown(() => delete session.request);

        for (const [command, behaviours] of Object.entries(COMMANDS)) {
            const { log, terminal } = behaviours.killed ?? behaviours;
            check(title(command, { log, terminal }), async () => {
                // The one before has ended more often than anybody waits for.
                await session.restart();
                await state(session, folder, "it looks at the folder", ({ phase }) => phase === "stopped");
                const [pid] = helpers();
                // From here on it answers nothing.
                process.kill(pid, "SIGSTOP");
                if (log) {
                    await opensLog(command);
                } else if (terminal) {
                    await opensTerminal(command);
                } else {
                    let asked = false;
                    session.request = (...args) => {
                        asked = true;
                        return Object.getPrototypeOf(session).request.apply(session, args);
                    };
                    const begun = begin(command);
                    await until("it is asked", () => asked);
                    process.kill(pid, "SIGKILL");
                    const { buttons } = await said.take(
                        /^The helper ended while it was working on this\. Containers go on running\. Try it again\.$/,
                    );
                    assert.deepEqual(buttons, ["Retry", "Show Log"]);
                    await over(begun);
                }
                if (helpers().includes(pid)) {
                    process.kill(pid, "SIGKILL");
                }
                await until("there is another one", () => helpers().some((other) => other !== pid));
                await state(session, folder, "it looks at the folder", ({ phase }) => phase === "stopped");
            });
        }
    });

    check("one that ends again and again is left alone, and comes back when it is wanted", async () => {
        await session.restart();
        for (let times = 1; times <= 5; times += 1) {
            await until("it runs", () => session.helper.status === "running");
            const [pid] = helpers();
            process.kill(pid, "SIGKILL");
            await until("its end is noticed", () => !helpers().includes(pid) && session.helper.status !== "running");
        }
        const told = await said.take(/^The helper ended unexpectedly\.$/);
        assert.deepEqual(told.buttons, ["Retry", "Show Log"]);
        assert.deepEqual(helpers(), []);
        assert.match(status.text, /^\$\(error\) GPU Bay$/);
        told.press("Retry");
        await state(session, folder, "it looks at the folder", ({ phase }) => phase === "stopped");
    });
});
