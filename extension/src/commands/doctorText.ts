// Knows nothing of the editor.

import { l10n } from "../l10n";
import type { DoctorReport, Verdict } from "../protocol";

const signs: Record<Verdict, string> = { ok: "✓", warning: "!", problem: "✗" };

/** What is in the way first. */
export function doctorPage({ findings, warnings, problems }: DoctorReport): string {
  const head =
    problems + warnings === 0
      ? l10n.t("Nothing is in the way.")
      : l10n.t("Problems: {0}. Warnings: {1}.", problems, warnings);
  const order: Verdict[] = ["problem", "warning", "ok"];
  const sorted = order.flatMap((verdict) => findings.filter((finding) => finding.verdict === verdict));
  const lines = sorted.flatMap(({ check, verdict, text, next }) => [
    ...wrapped(`${signs[verdict]} ${check}: ${text}`, "  "),
    ...(next ? wrapped(`    → ${next}`, "      ") : []),
  ]);
  return [head, "", ...lines, ""].join("\n");
}

/** Lines that can be read without scrolling; further ones are indented. */
function wrapped(text: string, indent: string, width = 100): string[] {
  const lines = [""];
  for (const word of text.split(/(?<=\S) /)) {
    const line = lines.at(-1) ?? "";
    if (line.trim() !== "" && line.length + 1 + word.length > width) {
      lines.push(indent + word);
    } else {
      lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
    }
  }
  return lines;
}
