// Tests wait for conditions, and for nothing else.
import { setTimeout } from "node:timers/promises";

/** How long anything may take on a machine that is busy with other tests. */
export const PATIENCE_MS = 90_000;

/** Waiting longer would not help. */
export class Hopeless extends Error {}

/** Asks until the answer is truthy, and returns it. `what` is the failure's sentence. */
export async function until(what, ask, patience = PATIENCE_MS) {
    const deadline = Date.now() + patience;
    let last;
    for (;;) {
        try {
            const answer = await ask();
            if (answer) {
                return answer;
            }
            last = undefined;
        } catch (error) {
            if (error instanceof Hopeless) {
                throw error;
            }
            last = error;
        }
        if (Date.now() > deadline) {
            throw new Error(`after ${patience / 1000} s it is still not so: ${what}`, { cause: last });
        }
        await setTimeout(50);
    }
}
