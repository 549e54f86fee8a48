// What is said of a container that has lost its GPUs. Knows nothing of the editor.

import { l10n } from "../l10n";
import type { Cause, FolderState, LostGpus, Row } from "../protocol";

/** The option that a `Drift` names then. */
export const LOST_GPUS = "lost_gpus";

/** A container that has lost its GPUs, by a key that stays the same while nothing new is to be said of it. */
export interface Loss {
  key: string;
  /** Of a job. */
  job?: string;
  lost: LostGpus;
}

/** The dev container's first. */
export function losses({ gpu, container, jobs }: FolderState): Loss[] {
  const key = (id: string, lost: LostGpus) => `${id}:${lost.cause}`;
  const found: Loss[] = [];
  if (container && gpu?.lost) {
    found.push({ key: key(container.id, gpu.lost), lost: gpu.lost });
  }
  for (const job of jobs) {
    if (job.lost_gpus) {
      found.push({ key: key(job.id, job.lost_gpus), job: nameOf(job), lost: job.lost_gpus });
    }
  }
  return found;
}

function nameOf(job: Row): string {
  return job.job ?? job.name;
}

export function causeText(cause: Cause): string {
  switch (cause) {
    case "daemon_reload":
      return l10n.t("systemd was reloaded");
    case "device_rules":
      return l10n.t("its device rules were changed");
    case "driver_update":
      return l10n.t("the driver was updated");
    case "mig_change":
      return l10n.t("a GPU was divided otherwise (MIG)");
    case "nodes":
      return l10n.t("its device files were changed");
  }
}

/** For a notification, whose buttons say what to do. */
export function lossText(folder: string, { job, lost }: Loss): string {
  const cause = causeText(lost.cause);
  return job === undefined
    ? l10n.t("The container of {0} has lost its GPUs: {1}. What starts in it now finds none.", folder, cause)
    : l10n.t("The job {0} of {1} has lost its GPUs: {2}. What starts in it now finds none.", job, folder, cause);
}

/** All that is known, in the words of the helper. */
export function lossLines({ text, evidence, next }: LostGpus): string {
  return [`${text}.`, ...evidence.map((line) => `• ${line}`), next].join("\n");
}
