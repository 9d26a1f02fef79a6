// What the page writes about candidates, answers and estimates.

import { clock } from "../axes";
import { percent } from "../dom";
import type { Candidate, Counts, Estimate, State, Verdict } from "./api";

const VERDICTS: Record<Verdict, string> = { yes: "yes", no: "no", unsure: "not sure" };

/** "0:12.5 to 0:15.5 · probability 83 % · most uncertain · given: dog" */
export function factsText({ start, end, score, why, given }: Candidate): string {
  const parts = [`${clock(start, 1)} to ${clock(end, 1)}`, score === null ? "no score yet" : `probability ${percent(score)}`, why];
  if (given !== null) parts.push(`given: ${given}`);
  return parts.join(" · ");
}

/** "5 yes, 3 no, 1 not sure" */
export function countsText({ yes, no, unsure }: Counts): string {
  return `${yes} yes, ${no} no, ${unsure} not sure`;
}

export function precisionText(label: string, estimate: Estimate | null): string {
  if (!estimate) return `The precision of “${label}” is not known yet: answer candidates chosen at random (key 5).`;
  const [precision, low, high, count] = estimate;
  const answers = count === 1 ? "1 answer" : `${count} answers`;
  return (
    `Of the windows that the classifier finds for “${label}”, ${percent(precision)} have it ` +
    `(95 % interval: ${percent(low)} to ${percent(high)}; from ${answers} at random).`
  );
}

export function archiveText({ files, windows, model, who }: State): string {
  const recordings = files === 1 ? "1 recording" : `${files} recordings`;
  const by = who ? ` Answers are those of ${who}.` : "";
  return `${recordings}, ${windows} windows, embedded by ${model}.${by} Sound and answers stay on this machine.`;
}

/** For screen readers: what was done, the counts, and the candidate that is shown now. */
export function announcement(done: string, label: string, counts: Counts | undefined, candidate: Candidate | null): string {
  const now = candidate ? `Is this ${label}? ${candidate.path}, ${factsText(candidate)}` : `No window is left for ${label}`;
  return [done, counts && `${label}: ${countsText(counts)}`, now].filter(Boolean).join(". ") + ".";
}

export function verdictText(verdict: Verdict): string {
  return `Answered ${VERDICTS[verdict]}`;
}
