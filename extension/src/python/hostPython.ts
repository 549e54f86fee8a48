// A Python of this machine. What Microsoft's extensions for formatters and linters put between the editor and a program is
// Python with libraries of their own: the container does not see those, so its Python cannot run them.

import { execFile } from "node:child_process";
import { access, constants, realpath } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

/** What they ask for. */
const NEW_ENOUGH = "import sys; print(sys.version_info >= (3, 10))";

/** Those of the system, then what the editor would find by name. */
export function places(searched: string | undefined): string[] {
  const folders = [
    "/usr/bin",
    "/usr/local/bin",
    ...(searched ?? "").split(path.delimiter).filter((one) => path.isAbsolute(one)),
  ];
  return [...new Set(folders)].map((folder) => path.join(folder, "python3"));
}

/**
 * The first of them that is new enough, is no host env's, which is the container's, and lies in none of the window's folders, where a
 * container may have put it.
 */
export async function firstOf(programs: string[], folders: string[]): Promise<string | undefined> {
  for (const program of programs) {
    try {
      await access(program, constants.X_OK);
      const real = await realpath(program);
      const planted = folders.some((folder) => [program, real].some((one) => one.startsWith(`${folder}${path.sep}`)));
      if (!planted && !(await isOfHostEnv(program))) {
        const { stdout } = await promisify(execFile)(program, ["-I", "-c", NEW_ENOUGH], { timeout: 5000 });
        if (stdout.trim() === "True") {
          return program;
        }
      }
    } catch {
      // None there, or none that runs.
    }
  }
  return undefined;
}

async function isOfHostEnv(program: string): Promise<boolean> {
  try {
    await access(path.join(path.dirname(program), "../gpubay-env.json"));
    return true;
  } catch {
    return false;
  }
}

let found: Promise<string | undefined> | undefined;

/** Looked for once in a window. */
export function hostPython(folders: string[]): Promise<string | undefined> {
  return (found ??= firstOf(places(process.env["PATH"]), folders));
}
