// What the extension asks of the editor, seen where it asks: the editor hands out an API of its own to each extension. What it
// says is shown all the same; a test may press one of the buttons.
const { createRequire } = require("node:module");
const path = require("node:path");
const vscode = require("vscode");
const { until } = require("./session");

const { extensionPath, packageJSON } = vscode.extensions.getExtension("gpubay.gpubay");

/** The extension's own API. */
exports.api = createRequire(path.join(extensionPath, packageJSON.main))("vscode");

/** The messages that it shows from now on. */
exports.messages = () => {
    const { window } = exports.api;
    const all = [];
    const shows = ["showErrorMessage", "showWarningMessage", "showInformationMessage"].map((name) => [
        name,
        window[name],
    ]);
    for (const [name, show] of shows) {
        window[name] = (message, ...rest) => {
            const items = rest.filter((item) => typeof item === "string" || "title" in item);
            const buttons = items.map((item) => item.title ?? item);
            const { promise, resolve } = Promise.withResolvers();
            const press = (button) => resolve(items[buttons.indexOf(button)]);
            all.push({ message, buttons, press });
            return Promise.race([show.call(window, message, ...rest), promise]);
        };
    }
    return {
        all,
        /** Takes out the first that says it, once there is one. */
        take: async (pattern) => {
            const at = await until(`it is said: ${pattern}`, () => {
                const found = all.findIndex(({ message }) => pattern.test(message));
                return found >= 0 && { found };
            });
            return all.splice(at.found, 1)[0];
        },
        dispose: () => shows.forEach(([name, show]) => (window[name] = show)),
    };
};
