// What the helper has said that it is and can do. Does not load the library that speaks to it.

import type { LanguageClient } from "vscode-languageclient/node";
import type { Capabilities } from "../protocol";

/** `undefined`: it has not answered yet, or is so old that it does not say. */
export function capabilitiesOf(client: LanguageClient): Capabilities | undefined {
  const told = client.initializeResult?.capabilities.experimental as { gpubay?: Capabilities } | undefined;
  return told?.gpubay;
}
