// Text of strangers (containers, files, engines) in places where the editor knows some markup of its own.

/** What moves the cursor, or turns the direction in which the rest is read. Lines and tabs are what they are. */
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** Without what a label would show as an icon and a notification as a link, which could be one to a command. */
export function plain(text: string): string {
  return text.replace(UNSEEN, "\ufffd").replaceAll("$(", "$ (").replaceAll("](", "] (");
}

/** A row of a list of choices: the editor shows icons in each of its texts. */
export function plainRow<T extends { label: string; description?: string; detail?: string }>(row: T): T {
  const { label, description, detail } = row;
  return {
    ...row,
    label: plain(label),
    ...(description === undefined ? {} : { description: plain(description) }),
    ...(detail === undefined ? {} : { detail: plain(detail) }),
  };
}

/** One line of at most so many characters. */
export function short(text: string, limit = 80): string {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > limit ? `${line.slice(0, limit - 1)}…` : line;
}

/** The beginning of a sentence, unless it begins with a name. */
export function capital(text: string): string {
  return /^[a-z]+ /.test(text) ? text.charAt(0).toUpperCase() + text.slice(1) : text;
}

export function ended(text: string): string {
  return /[.!?。]$/.test(text) ? text : `${text}.`;
}
