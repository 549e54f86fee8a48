// The extension in an editor that speaks Japanese: manifest, status bar, view, and what the helper's codes are translated by.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import path from "node:path";
import { FIXTURES, vsix } from "../lib/lab.mjs";
import { stage } from "../lib/stage.mjs";
import { until } from "../lib/until.mjs";

const scene = stage();
const { item, told } = scene;
let window;
before(async () => {
    const wanted = {
        settings: { "gpubay.onOpen": "nothing" },
        files: { Dockerfile: "FROM gpubay-lab/busybox\nRUN echo no coral here >&2; exit 3\n" },
        extensions: [path.join(FIXTURES, "language-pack-ja"), vsix],
    };
    await scene.start(wanted, (editor) => {
        editor.writeAt(editor.at("data/User/argv.json"), '{ "locale": "ja" }\n');
        // What the editor writes of its language packs when it has looked at them, which is after the first window. A pack of no
        // extension would be installed from the marketplace, and until then the server offers no extension at all.
        const translations = path.join("extensions/gpubay-test.language-pack-ja-0.0.1/translations/main.i18n.json");
        const pack = {
            hash: "test",
            label: "日本語",
            extensions: [{ extensionIdentifier: { id: "gpubay-test.language-pack-ja" }, version: "0.0.1" }],
            translations: { vscode: editor.at(translations) },
        };
        editor.writeAt(editor.at("data/languagepacks.json"), JSON.stringify({ ja: pack }));
    });
    window = await scene.open("japanese");
});

test("status bar and palette speak it", async () => {
    await item(/^GPU: 未開始$/);
    const rows = await window.commands("GPU Bay:", (rows) => rows.some((row) => row?.includes("GPU コンテナーを開始")));
    await window.screenshot("palette");
    assert.ok(rows.length > 3);
    await window.press("Escape");
});

test("the view speaks it", async () => {
    await window.page.locator('.activitybar [aria-label^="GPU Bay"]').first().click();
    await until("what can be done is Japanese", async () => (await window.viewRows()).includes("GPU コンテナーを開始"));
    await window.screenshot("view");
});

test("a failure has its next step and its buttons in it", async () => {
    await window.command("GPU Bay: GPU コンテナーを開始");
    const { message, buttons } = await told(/その命令か、必要とするものを直してから、もう一度お試しください。$/);
    await window.screenshot("failed-build");
    assert.match(message, /no coral here/);
    assert.deepEqual(buttons, ["ファイルを開く", "再試行", "ログを表示"]);
});
