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
    `${signs[verdict]} ${check}: ${text}`,
    ...(next ? [`    → ${next}`] : []),
  ]);
  return [head, "", ...lines, ""].join("\n");
}
