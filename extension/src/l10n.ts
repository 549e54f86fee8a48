// The words of the extension. Modules that know nothing of the editor use this, too: in plain Node it answers in English.

type Translate = (message: string, ...args: (string | number | boolean)[]) => string;

let translate: Translate = (message, ...args) =>
  message.replace(/\{(\d+)\}/g, (whole, index: string) => String(args[Number(index)] ?? whole));

/** The editor's own translations from now on; `language`: the editor's. */
export function useTranslations(from: Translate, language: string): void {
  translate = from;
  l10n.foreign = !/^en\b/.test(language);
}

export const l10n = {
  /** The editor speaks another language than the helper. */
  foreign: false,
  /** The message is a literal and the key of `extension/l10n`: a test reads it from the source. */
  t: (message: string, ...args: (string | number | boolean)[]): string => translate(message, ...args),
};
