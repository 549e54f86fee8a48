// What every test in a browser begins and ends with: one browser, an editor with the packed extension on an engine of the lab, and
// windows of it, which leave a screenshot where a test fails.
import { after, afterEach, before } from "node:test";
import { engine, vsix } from "./lab.mjs";
import { browser, Window } from "./page.mjs";
import { Editor } from "./server.mjs";
import { until } from "./until.mjs";

/** What our item of the status bar says while the container runs. */
export const RUNS = /^(GPU \d|CPU)/;

/** After so long without it, it is looked for behind the bell. */
const LATE_MS = 5000;

class Stage {
    windows = [];

    /** The one that was opened last. */
    get window() {
        return this.windows.at(-1);
    }

    /** An editor of its own; `prepare` gets it before it is started. */
    async start(wanted, prepare = () => {}) {
        this.editor = new Editor({ extensions: [vsix], docker: engine("docker28"), ...wanted });
        await prepare(this.editor);
        return this.editor.start();
    }

    /** @param name of the folder of screenshots */
    async open(name, url) {
        const window = await Window.open(this.chrome, this.editor, name, url);
        this.windows.push(window);
        return window;
    }

    async closeWindows() {
        for (const window of this.windows.splice(0)) {
            await window.close();
        }
    }

    async leave() {
        await this.closeWindows();
        await this.editor?.stop();
        this.editor = undefined;
    }

    item = (pattern, window = this.window) =>
        until(`our item says ${pattern}`, async () => (await window.ours()).find((text) => pattern.test(text)));

    told = (pattern, window = this.window) => {
        const said = ({ message }) => pattern.test(message);
        const asked = Date.now();
        return until(`it is said: ${pattern}`, async () => {
            const shown = (await window.notifications()).find(said);
            // What comes while we look is seen; what came before may be kept by now.
            return shown ?? (Date.now() - asked > LATE_MS && (await window.keptNotifications()).find(said));
        });
    };

    /** In a dialog. */
    asked = (pattern, window = this.window) =>
        until(`it is asked: ${pattern}`, async () => {
            const dialog = await window.dialog();
            return dialog && pattern.test(dialog.message) && dialog;
        });
}

/**
 * The stage of a file of tests.
 * @param {{ each?: "editor" | "window" }} [fresh] what each test has for itself
 */
export function stage({ each } = {}) {
    const stage = new Stage();
    before(async () => (stage.chrome = await browser()));
    afterEach(async (t) => {
        for (const window of t.passed ? [] : stage.windows) {
            await window.screenshot("failed");
        }
        if (each === "editor") {
            await stage.leave();
        } else if (each === "window") {
            await stage.closeWindows();
        }
    });
    after(async () => {
        await stage.leave();
        await stage.chrome?.close();
    });
    return stage;
}
