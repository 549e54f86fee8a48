import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { plain, plainRow } from "../../src/text";

describe("what strangers wrote", () => {
  it("is shown without icons, links, and what moves the cursor or turns the direction of reading", () => {
    assert.equal(plain("a $(zap) [b](command:c)"), "a $ (zap) [b] (command:c)");
    assert.equal(plain("Dockerfile\u001b[2K\r\u202egpj"), "Dockerfile\ufffd[2K\ufffd\ufffdgpj");
    assert.equal(plain("한국어 ünï\n\tline"), "한국어 ünï\n\tline");
  });

  it("is what it was where it is chosen", () => {
    const row = plainRow({ label: "$(x)", description: "$(y)", detail: "$(z)", value: "$(x)" });
    assert.deepEqual(row, { label: "$ (x)", description: "$ (y)", detail: "$ (z)", value: "$(x)" });
    assert.deepEqual(plainRow({ label: "a" }), { label: "a" });
  });

  it("is listed by `choose` alone, which strips it", () => {
    const folder = path.join(process.cwd(), "extension/src");
    const files = readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
    const direct = files.filter((name) => readFileSync(path.join(folder, name), "utf8").includes("showQuickPick("));
    assert.deepEqual(direct, ["choose.ts"]);
  });
});
