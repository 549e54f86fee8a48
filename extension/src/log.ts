import type { LogParams } from "./protocol";
import type { Session } from "./session";

/** Lines of a folder's work, in the log of the window. Steps that end since the user wants it so have not failed. */
export function writeLog({ log, folders }: Session, { folder, lines }: LogParams, cancelling: boolean): void {
  const name = folders.length > 1 ? `${folders.find((known) => known.uri.fsPath === folder)?.name ?? folder}: ` : "";
  for (const { level, text } of lines) {
    const said = cancelling && level === "error" ? text.replace(/^failed: /, "cancelled: ") : text;
    const line = `${name}${level === "output" ? "  " : ""}${said}`;
    if (level === "error" && !cancelling) {
      log.error(line);
    } else if (level === "warning") {
      log.warn(line);
    } else {
      log.info(line);
    }
  }
}
