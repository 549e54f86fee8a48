// Which settings point Python tools at the container's Python. Knows nothing of the editor.

/** What `inspect` tells of a setting. */
export interface Inspected {
  defaultValue?: unknown;
  globalValue?: unknown;
  workspaceValue?: unknown;
  workspaceFolderValue?: unknown;
  globalLanguageValue?: unknown;
  workspaceLanguageValue?: unknown;
  workspaceFolderLanguageValue?: unknown;
}

export interface Change {
  key: string;
  value: string | string[];
  /** For people: what gets it. */
  tool: string;
}

interface Candidate {
  key: string;
  tool: string;
  /** In the host env's `bin`. */
  program: string;
  list: boolean;
  /** Between the editor and the program stands Python that the container cannot run: this setting names a Python of the host for it. */
  servedBy?: string;
}

const served = (id: string, tool: string, program: string): Candidate => ({
  key: `${id}.path`,
  tool,
  program,
  list: true,
  servedBy: `${id}.interpreter`,
});

/**
 * Interpreters first; then programs that check and format, each of its own extension. Not Mypy: what it finds it tells with the
 * container's paths, and its extension shows nothing of that.
 */
const CANDIDATES: Candidate[] = [
  { key: "python.defaultInterpreterPath", tool: "Python", program: "python", list: false },
  { key: "python.pythonPath", tool: "Pyright", program: "python", list: false },
  served("autopep8", "autopep8", "autopep8"),
  served("black-formatter", "Black", "black"),
  served("flake8", "Flake8", "flake8"),
  served("isort", "isort", "isort"),
  served("pylint", "Pylint", "pylint"),
  { key: "ruff.path", tool: "Ruff", program: "ruff", list: true },
];

export const PROGRAMS = [...new Set(CANDIDATES.map(({ program }) => program))];

/** All that may be written. */
export const SETTINGS = CANDIDATES.flatMap(({ key, servedBy }) => [key, servedBy ?? []].flat());

export type Mode = "ask" | "always" | "never";

/** The nearest setting counts; but a yes that came with the folder is none of the user's, and the user's own no is stronger. */
export function modeOf(inspected: Inspected | undefined): Mode {
  const { globalValue } = inspected ?? {};
  const theirs = theirsOf(inspected);
  if (globalValue === "never" || theirs === "never") {
    return "never";
  }
  return globalValue === "always" && (theirs === undefined || theirs === "always") ? "always" : "ask";
}

/** What the folder's own settings say. */
function theirsOf(inspected: Inspected | undefined): unknown {
  return inspected?.workspaceFolderValue ?? inspected?.workspaceValue;
}

/** What is remembered of a folder, outside of it. */
export interface Remembered {
  /** Settings that the user has answered about. */
  asked?: string[];
  /** Not here: what the folder's own settings said when that was the answer, or nothing at all. */
  refused?: unknown[];
}

/** No in this folder, whatever comes, until its own settings say something else. */
export function refusal(inspected: Inspected | undefined): unknown[] {
  return [theirsOf(inspected) ?? null];
}

/** Whether the settings may be written, or first a question is to be asked. */
export function stepOf(
  inspected: Inspected | undefined,
  remembered: Remembered,
  wanted: Change[],
): "write" | "ask" | "nothing" {
  const mode = modeOf(inspected);
  const { asked = [], refused } = remembered;
  const no = refused !== undefined && JSON.stringify(refused) === JSON.stringify(refusal(inspected));
  if (mode === "never" || no || wanted.length === 0) {
    return "nothing";
  }
  if (mode === "always") {
    return "write";
  }
  return wanted.every(({ key }) => asked.includes(key)) ? "nothing" : "ask";
}

/**
 * Of extensions that are there, of programs that the container has, and of nothing that anybody has set. `hostPython`: a Python of this
 * machine; asked for where one is needed.
 */
export async function changes(
  env: string,
  inspect: (key: string) => Inspected | undefined,
  exists: (program: string) => boolean,
  hostPython: () => Promise<string | undefined>,
): Promise<Change[]> {
  const all: Change[] = [];
  for (const { key, tool, program, list, servedBy } of CANDIDATES) {
    if (!isFree(inspect(key)) || !exists(program)) {
      continue;
    }
    if (servedBy !== undefined && isFree(inspect(servedBy))) {
      const python = await hostPython();
      if (python === undefined) {
        continue;
      }
      all.push({ key: servedBy, tool, value: [python] });
    }
    const value = `\${workspaceFolder}/${env}/bin/${program}`;
    all.push({ key, tool, value: list ? [value] : value });
  }
  return all;
}

/** Some extension brings it, and the user has said nothing of it anywhere. A list that is empty says nothing, too. */
function isFree(inspected: Inspected | undefined): boolean {
  if (inspected?.defaultValue === undefined) {
    return false;
  }
  const silent = (value: unknown) => value === undefined || (Array.isArray(value) && value.length === 0);
  return Object.entries(inspected)
    .filter(([name]) => name.endsWith("Value") && !name.startsWith("default"))
    .every(([, value]) => silent(value));
}

/** Commands by which language servers look again at once, where they are there. */
export const LOOK_AGAIN = [
  "pyright.restartserver",
  "basedpyright.restartserver",
  "python.analysis.restartLanguageServer",
  "ty.restart",
  "pyrefly.restartClient",
  "python-envs.refreshAllManagers",
];
