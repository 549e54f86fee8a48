import assert from "node:assert/strict";
import { useTranslations } from "../../src/l10n";
import { WorkError, asFailure, buttonsFor, failure, isBroken, sentence } from "../../src/failure";

/** As it is in plain Node. */
const english = (text: string, ...args: (string | number | boolean)[]) =>
  text.replace(/\{(\d+)\}/g, (whole, index: string) => String(args[Number(index)] ?? whole));

describe("failures", () => {
  it("offer from inside the container nothing that is done outside", () => {
    const buttons = (code: string, inside: boolean) => buttonsFor(failure(code, "no"), true, inside);
    assert.deepEqual(buttons("gpu_unknown", false), ["retry", "doctor", "showLog"]);
    assert.deepEqual(buttons("gpu_unknown", true), ["retry", "showLog"]);
    assert.deepEqual(buttons("not_running", true), []);
    // That it is done elsewhere is no failure.
    assert.equal(isBroken(failure("inside", "no")), false);
    assert.deepEqual(buttons("inside", true), ["showLog"]);
  });

  const said = { ...failure("no_dockerfile", "the folder has nothing to build", "Write one."), candidates: ["a"] };

  it("are what the helper says", () => {
    assert.deepEqual(asFailure({ code: -32803, message: "the folder", data: said }), said);
    assert.equal(asFailure(new WorkError(said)), said);
  });

  it("say that the helper has gone, or that it was cancelled", () => {
    assert.equal(asFailure({ code: -32097, message: "Pending response rejected" }).code, "helper_gone");
    assert.equal(asFailure({ code: -32800, message: "cancelled" }).code, "cancelled");
    assert.equal(asFailure(new Error("boom")).code, "internal");
    assert.equal(asFailure("boom").message, "boom");
    assert.equal(asFailure({ code: 1, message: "x", data: { code: 5 } }).code, "internal");
  });

  it("are sentences with the next step", () => {
    assert.equal(sentence(said), "The folder has nothing to build. Write one.");
    assert.equal(sentence(failure("x", "It is over.")), "It is over.");
    assert.equal(sentence(failure("x", "a.toml:3:1: bad\n  |\n3 | [", "Mend it.")), "a.toml:3:1: bad. Mend it.");
  });

  it("name what the palette has as it is there, and files from their folder", () => {
    const hint = "Start it with `gpubay up`, or look at `gpubay ps`; `gpubay up --recreate` ends it.";
    assert.equal(
      sentence(failure("x", "/w/a/Dockerfile:3: it ended with 3", hint), "/w/a"),
      "Dockerfile:3: it ended with 3. Start it with «Start GPU Container», or look at `gpubay ps`; «Recreate…» ends it.",
    );
    assert.equal(sentence(failure("x", "/w/ab/Dockerfile:3: no"), "/w/a"), "/w/ab/Dockerfile:3: no.");
    assert.equal(sentence(failure("x", "/w/a has no Dockerfile"), "/w/a"), "“a” has no Dockerfile.");
  });

  it("say of a build why the step failed, and in another language what to do next", () => {
    const built = failure(
      "build_step_failed",
      "Dockerfile:3: `RUN x` failed with 3\n    one\n    no coral here",
      "Mend it.",
    );
    assert.equal(sentence(built), "Dockerfile:3: `RUN x` failed with 3: no coral here. Mend it.");
    useTranslations((text) => `«${text}»`, "ja");
    try {
      assert.match(sentence(built), /«Correct that instruction/);
      assert.match(sentence(failure("of_tomorrow", "new", "Look.")), /Look\./);
      assert.equal(
        sentence(failure("no_engine", "it is gone")),
        "«The container engine cannot be reached»: It is gone.",
      );
      assert.match(sentence(failure("untrusted", "the helper's words")), /^«The workspace is not trusted/);
    } finally {
      useTranslations(english, "en-GB");
    }
    assert.match(sentence(built), /Mend it\./);
  });

  it("are told quietly where nothing is broken", () => {
    const broken = ["build_step_failed", "ticket_lost", "no_dockerfile"].filter((code) => isBroken(failure(code, "")));
    assert.deepEqual(broken, ["build_step_failed"]);
  });

  it("have buttons for the next step", () => {
    const buttons = (code: string, canRetry = true) => buttonsFor(failure(code, ""), canRetry);
    assert.deepEqual(buttons("no_dockerfile"), ["initialize", "retry"]);
    assert.deepEqual(buttons("engine_unreachable"), ["retry", "doctor", "showLog"]);
    assert.deepEqual(buttons("helper_missing"), ["extension", "retry", "showLog"]);
    assert.deepEqual(buttons("helper_setting"), ["settings", "retry", "showLog"]);
    assert.deepEqual(buttons("other_version"), ["reload", "settings", "showLog"]);
    assert.deepEqual(buttons("untrusted"), ["trust"]);
    assert.deepEqual(buttons("anything", false), ["showLog"]);
    const placed = { ...failure("config_syntax", ""), place: { path: "/w/gpubay.toml", line: 3, column: 1 } };
    assert.deepEqual(buttonsFor(placed, true), ["openFile", "retry", "showLog"]);
  });
});
