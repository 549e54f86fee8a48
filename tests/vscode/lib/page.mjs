// A window of the editor as a user sees it: what is shown is read, what is done is done with keyboard and mouse.
import { mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import { BROWSER, chromium, REPOSITORY } from "./lab.mjs";
import { PATIENCE_MS, until } from "./until.mjs";

const FLAGS = [
    ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
    ...["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"],
];

export async function browser() {
    return chromium.launch({ executablePath: BROWSER, args: FLAGS });
}

export class Window {
    /** @param name of the folder of screenshots */
    static async open(chrome, editor, name, url = editor.url) {
        const context = await chrome.newContext({ viewport: { width: 1280, height: 800 } });
        const page = await context.newPage();
        page.setDefaultTimeout(PATIENCE_MS);
        const window = new Window(page, name);
        page.on("pageerror", (error) => window.errors.push(String(error)));
        await page.goto(url);
        await page.locator(".monaco-workbench .statusbar").waitFor();
        return window;
    }

    constructor(page, name) {
        this.page = page;
        this.errors = [];
        this.steps = 0;
        this.screenshots = path.join(REPOSITORY, "target/screenshots", name);
        // Those of an earlier run would be taken for this one's.
        rmSync(this.screenshots, { recursive: true, force: true });
        mkdirSync(this.screenshots, { recursive: true });
    }

    async close() {
        await this.page.context().close();
    }

    /** Leaves `target/screenshots/<test>/NN-<name>.png`. */
    async screenshot(name) {
        this.steps += 1;
        const file = `${String(this.steps).padStart(2, "0")}-${name}.png`;
        // What slides in is shown where it will be.
        await this.page.screenshot({ path: path.join(this.screenshots, file), animations: "disabled" });
    }

    async press(...keys) {
        for (const key of keys) {
            await this.page.keyboard.press(key);
        }
    }

    async type(text) {
        await this.page.keyboard.type(text);
    }

    // --- Palette and quick picks

    get input() {
        return this.page.locator(".quick-input-widget:visible");
    }

    /** Opens the palette and types. */
    async palette(text) {
        await until("the palette is open", async () => {
            await this.press("F1");
            return this.input.locator("input").first().isVisible();
        });
        await this.input.locator("input").first().fill(`>${text}`);
    }

    /** What a quick pick lists, as it is read aloud. */
    async rows() {
        return this.input.locator(".monaco-list-row").evaluateAll((rows) => rows.map((row) => row.ariaLabel));
    }

    /** Those of them that are ticked. */
    async ticked() {
        const rows = this.input.locator(".monaco-list-row").filter({ has: this.page.locator('[aria-checked="true"]') });
        return rows.evaluateAll((all) => all.map((row) => row.ariaLabel));
    }

    /** The rows of the palette for a text, once `enough` says that they are there. */
    async commands(text, enough = (rows) => rows.length > 0) {
        return until(`the palette lists what «${text}» wants`, async () => {
            // An open one does not learn of commands that come later.
            await this.press("Escape");
            await this.palette(text);
            await this.input.locator(".monaco-list-row").first().waitFor({ timeout: 5000 });
            const rows = await this.rows();
            return enough(rows) && rows;
        });
    }

    /** Runs a command of the palette by its whole label. */
    async command(label) {
        await this.commands(label, (rows) => rows.some((row) => row?.startsWith(label)));
        await this.input.locator(`.monaco-list-row[aria-label^="${label}"]`).first().click();
    }

    /** Clicks a row of the open quick pick. */
    async pick(text) {
        await this.input.locator(".monaco-list-row", { hasText: text }).first().click();
    }

    // --- What is shown

    /** Texts of the status bar, as they are read aloud. */
    async statusBar() {
        const items = this.page.locator(".statusbar-item:visible");
        return items.evaluateAll((all) =>
            all.map((item) => {
                const label = item.querySelector("[aria-label]")?.getAttribute("aria-label");
                return (label || item.getAttribute("aria-label") || item.textContent).trim();
            }),
        );
    }

    /** The item of the status bar whose words or id match, once it is there. */
    statusItem(pattern) {
        return this.page.locator(".statusbar-item:visible").filter({ hasText: pattern }).first();
    }

    /** Texts of our extension's items of the status bar. */
    async ours() {
        const items = this.page.locator('.statusbar-item[id^="gpubay."]:visible');
        return items.evaluateAll((all) => all.map((item) => item.textContent.trim()));
    }

    async notifications(place = ".notifications-toasts") {
        const all = this.page.locator(`${place} .notification-list-item`);
        return all.evaluateAll((items) =>
            items.map((item) => ({
                message: item.querySelector(".notification-list-item-message")?.textContent ?? "",
                buttons: [...item.querySelectorAll(".notification-list-item-buttons-container .monaco-button")].map(
                    (button) => button.textContent,
                ),
            })),
        );
    }

    /** Those that nobody looked at in time: the editor keeps them behind its bell after ten seconds. */
    async keptNotifications() {
        const bell = this.page.locator("#status\\.notifications .codicon-bell-dot");
        if ((await bell.count()) && (await this.notifications()).length === 0) {
            await bell.first().click();
        }
        return this.notifications(".notifications-center.visible");
    }

    /** From now on keeps what is said in notifications, also of those that are gone again. */
    async keepSaid() {
        await this.page.evaluate(() => {
            window.gpubaySaid = [];
            new MutationObserver((changes) => {
                for (const node of changes.flatMap(({ addedNodes }) => [...addedNodes])) {
                    const messages = node.querySelectorAll?.(".notification-list-item-message") ?? [];
                    window.gpubaySaid.push(...[...messages].map((message) => message.textContent));
                }
            }).observe(document.body, { childList: true, subtree: true });
        });
    }

    /** What has been said since, in its order. */
    async said() {
        return this.page.evaluate(() => window.gpubaySaid);
    }

    /** Closes the notifications that are shown. */
    async dismiss() {
        const close = this.page.locator(".notifications-toasts .codicon-notifications-clear");
        await close.evaluateAll((all) => all.forEach((button) => button.click()));
        await until("the notifications are gone", async () => (await this.notifications()).length === 0);
    }

    /** What is shown of an item while the mouse is on it. */
    async tooltip(selector) {
        await this.page.locator(selector).first().hover();
        return this.page.locator(".workbench-hover-container:visible").first().textContent();
    }

    /** Presses a button of a notification. */
    async answer(message, button) {
        const item = this.page.locator(".notification-list-item", { hasText: message }).first();
        await item.locator(".monaco-button", { hasText: button }).first().click();
    }

    /** The modal dialog's text and buttons, or nothing. */
    async dialog() {
        const box = this.page.locator(".monaco-dialog-box:visible");
        if (!(await box.count())) {
            return undefined;
        }
        return box.first().evaluate((element) => ({
            message: element.querySelector(".dialog-message-text")?.textContent ?? "",
            detail: element.querySelector(".dialog-message-detail")?.textContent ?? "",
            buttons: [...element.querySelectorAll(".dialog-buttons .monaco-button")].map(
                (button) => button.textContent,
            ),
        }));
    }

    /** The text of what has the focus. */
    async focused() {
        return this.page.evaluate(() => document.activeElement?.textContent.trim());
    }

    async answerDialog(button) {
        await this.page.locator(".monaco-dialog-box .monaco-button", { hasText: button }).first().click();
    }

    /** Rows of the view in the side bar: label and what stands beside it. */
    async viewRows() {
        const rows = this.page.locator(".sidebar .monaco-list-row:visible");
        return rows.evaluateAll((all) => all.map((row) => row.textContent.trim()));
    }

    /** A row of the view in the side bar, by what stands in it. */
    viewRow(pattern) {
        return this.page.locator(".sidebar .monaco-list-row:visible").filter({ hasText: pattern }).first();
    }

    get menuItems() {
        return this.page.locator(".monaco-menu:visible .action-item:not(.disabled) .action-label:not(.separator)");
    }

    /** What a right click on a row of the view offers. The menu stays open. */
    async menu(pattern) {
        return until(`the row ${pattern} has a menu`, async () => {
            await this.press("Escape");
            await this.viewRow(pattern).click({ button: "right", timeout: 5000 });
            await this.menuItems.first().waitFor({ timeout: 5000 });
            return this.menuItems.evaluateAll((all) => all.map((item) => item.ariaLabel ?? item.textContent.trim()));
        });
    }

    /** Clicks an item of the menu of a row. */
    async pickInMenu(pattern, item) {
        const items = await this.menu(pattern);
        if (!items.includes(item)) {
            throw new Error(`the menu of ${pattern} has no «${item}»: ${items.join(", ")}`);
        }
        // A menu that has just opened takes no click, lest the one that opened it count.
        await until("the menu has closed", async () => {
            await this.menuItems.filter({ hasText: new RegExp(`^${item}$`) }).click({ timeout: 1000 });
            await this.menuItems.first().waitFor({ state: "hidden", timeout: 500 });
            return true;
        });
    }

    /** Rows of the problems panel, as they are read aloud. */
    async problems() {
        const panel = this.page.locator(".markers-panel:visible");
        if (!(await panel.count())) {
            await this.command("Problems: Focus on Problems View");
            await panel.first().waitFor();
        }
        return panel.locator(".monaco-list-row").evaluateAll((rows) => rows.map((row) => row.ariaLabel));
    }

    /** Milliseconds that an extension took to be activated, by the editor's own figure. */
    async activation(name) {
        await this.command("Developer: Show Running Extensions");
        const row = this.page.locator(".runtime-extensions-editor .monaco-list-row", { hasText: name }).first();
        const figure = /Activation: (\d+)ms/;
        const text = await until("it is listed with its time", async () => {
            const text = await row.textContent({ timeout: 2000 });
            return figure.test(text) && text;
        });
        return Number(figure.exec(text)[1]);
    }

    // --- The editor

    /** Opens a file of the workspace by its name. */
    async openFile(name) {
        await until(`${name} is open`, async () => {
            await this.press("Control+P");
            return this.input.locator("input").first().isVisible();
        });
        await this.input.locator("input").first().fill(name);
        // The row that Enter takes: until the list has heard of the name, that is what was open before.
        await this.input
            .locator(".monaco-list-row.focused", { hasText: path.basename(name) })
            .first()
            .waitFor();
        await this.press("Enter");
        await this.tab(path.basename(name)).waitFor();
        await this.focusEditor();
    }

    tab(name) {
        return this.page.locator(".tabs-container .tab.active", { hasText: name }).first();
    }

    async activeTab() {
        return this.page.locator(".tabs-container .tab.active .label-name").first().textContent();
    }

    async focusEditor() {
        await this.page.locator(".editor-instance .monaco-editor .view-lines").first().click();
    }

    /** The visible text of the active editor; lines that are scrolled away are not in it. */
    async text() {
        const lines = await this.page
            .locator(".editor-instance .monaco-editor .view-line")
            .evaluateAll((all) => all.map((line) => [line.getBoundingClientRect().top, line.textContent]));
        const sorted = lines.sort(([a], [b]) => a - b);
        return sorted.map(([, line]) => line.replaceAll("\u00a0", " ")).join("\n");
    }

    /** Puts the cursor at the end of the line `number`, counted from one. */
    async goToLine(number, column = 1) {
        await this.press("Control+G");
        await this.input.locator("input").first().fill(`:${number}:${column}`);
        await this.press("Enter");
    }

    /** Labels of the completion list at the cursor, once `wanted` says that they are right. */
    async completions(what, wanted) {
        const list = this.page.locator(".suggest-widget.visible .monaco-list-row");
        return until(`completion offers ${what}`, async () => {
            const rows = await list.evaluateAll((all) => all.map((row) => row.ariaLabel));
            if (wanted(rows)) {
                return rows;
            }
            // The language server may just have learnt of it: a list that is open is not asked for again.
            await this.press("Escape", "Control+Space");
            await list
                .first()
                .waitFor({ timeout: 2000 })
                .catch(() => {});
            const again = await list.evaluateAll((all) => all.map((row) => row.ariaLabel));
            return wanted(again) && again;
        });
    }

    /** Goes to the definition of what the cursor is on; the tab that opens. */
    async goToDefinition(tab) {
        return until(`the definition opens ${tab}`, async () => {
            await this.press("F12");
            await this.tab(tab).waitFor({ timeout: 3000 });
            return this.activeTab();
        });
    }
}
