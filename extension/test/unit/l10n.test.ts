import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import ts from "typescript";

// No string may be missing in any language, and none may be there that nothing says any more.

const root = process.cwd();
const languages = ["ja", "ko", "zh-cn"];

function json(file: string): Record<string, string> {
  return JSON.parse(readFileSync(path.join(root, file), "utf8")) as Record<string, string>;
}

function holes(text: string): string[] {
  return [...text.matchAll(/\{\d+\}/g)].map(([hole]) => hole).sort();
}

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => path.join(entry.parentPath, entry.name));
}

/** The first argument of every `l10n.t(…)`, and the places where it is no literal. */
function said(): { messages: Set<string>; unreadable: string[] } {
  const messages = new Set<string>();
  const unreadable: string[] = [];
  for (const file of sources(path.join(root, "extension/src"))) {
    const source = ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.Latest, true);
    const visit = (node: ts.Node): void => {
      if (ts.isCallExpression(node) && /(^|\.)l10n\.t$/.test(node.expression.getText())) {
        const [message] = node.arguments;
        if (message && ts.isStringLiteralLike(message)) {
          messages.add(message.text);
        } else if (!/extension\.ts$|l10n\.ts$/.test(file)) {
          unreadable.push(`${file}: ${node.getText()}`);
        }
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  return { messages, unreadable };
}

describe("translations", () => {
  const { messages, unreadable } = said();

  it("can be read from the source", () => {
    assert.deepEqual(unreadable, []);
  });

  for (const language of languages) {
    it(`have every string of the code in ${language}`, () => {
      const bundle = json(`extension/l10n/bundle.l10n.${language}.json`);
      assert.deepEqual([...messages].filter((message) => !bundle[message]).sort(), [], "missing");
      assert.deepEqual(
        Object.keys(bundle)
          .filter((message) => !messages.has(message))
          .sort(),
        [],
        "of no use",
      );
      for (const [message, translated] of Object.entries(bundle)) {
        assert.deepEqual(holes(translated), holes(message), message);
      }
    });

    it(`have every string of the manifest in ${language}`, () => {
      const [english, bundle] = [json("package.nls.json"), json(`package.nls.${language}.json`)];
      assert.deepEqual(Object.keys(bundle).sort(), Object.keys(english).sort());
      assert.deepEqual(
        Object.entries(bundle).filter(([, text]) => text === ""),
        [],
      );
    });
  }

  it("name in the manifest what package.nls.json has", () => {
    const used = [...readFileSync(path.join(root, "package.json"), "utf8").matchAll(/"%([^%"]+)%"/g)].map(
      ([, key]) => key ?? "",
    );
    assert.deepEqual([...new Set(used)].sort(), Object.keys(json("package.nls.json")).sort());
  });

  it("explain each choice of a setting", () => {
    const manifest = JSON.parse(readFileSync(path.join(root, "package.json"), "utf8")) as {
      contributes: { configuration: { properties: Record<string, { enum?: string[]; enumDescriptions?: string[] }> } };
    };
    for (const [name, setting] of Object.entries(manifest.contributes.configuration.properties)) {
      assert.equal(setting.enumDescriptions?.length, setting.enum?.length, name);
    }
  });
});
