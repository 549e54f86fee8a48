// Text of strangers (containers, files, engines) in places where the editor knows some markup of its own.

/** Without what a label would show as an icon and a notification as a link, which could be one to a command. */
export function plain(text: string): string {
  return text.replaceAll("$(", "$ (").replaceAll("](", "] (");
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
