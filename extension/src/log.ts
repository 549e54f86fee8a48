import type { LogParams } from "./protocol";
import type { Session } from "./session";

/** Lines of a folder's work, in the log of the window. */
export function writeLog({ log, folders }: Session, { folder, lines }: LogParams): void {
  const name = folders.length > 1 ? `${folders.find((known) => known.uri.fsPath === folder)?.name ?? folder}: ` : "";
  for (const { level, text } of lines) {
    const line = `${name}${level === "output" ? "  " : ""}${text}`;
    if (level === "error") {
      log.error(line);
    } else if (level === "warning") {
      log.warn(line);
    } else {
      log.info(line);
    }
  }
}
