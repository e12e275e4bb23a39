// The timeline of an answer: when it was queued, claimed, had its first delta, was taken over, ended.
// Pure. The times are those of Redis, so the end of a running answer is the newest time that is known.

/** Returns {marks, bars, seconds}. marks: {label, offset}, in their order; bars: {kind, lane, from, to},
 *  kind is queued, started (no delta yet) or streaming, lane the number of the attempt, 0 for the queue.
 *  All times are seconds since the request. age: seconds since the request of an answer that runs. */
export function buildTimeline({ requested_at: requestedAt, moments, status }, age) {
  const end = moments.find(({ kind }) => kind === "end");
  const marks = [{ label: "Requested", offset: 0 }];
  const bars = [];
  const newest = Math.max(0, ...moments.map(({ at }) => at - requestedAt));
  const seconds = Math.max(end ? end.at - requestedAt : Math.max(newest, age), 0.001);
  const isQueued = !moments.some(({ kind }) => kind === "begin");
  let open = { kind: "queued", lane: 0, from: 0 };
  const next = (bar, offset) => {
    bars.push({ ...open, to: offset });
    open = bar && { ...bar, from: offset };
  };
  for (const { kind, attempt, at } of moments) {
    const offset = Math.max(0, at - requestedAt);
    if (kind === "begin") {
      marks.push({ label: attempt === 1 ? "Claimed by a worker" : `Attempt ${attempt} began`, offset, attempt });
      next({ kind: "started", lane: attempt }, offset);
    } else if (kind === "delta") {
      marks.push({ label: attempt === 1 ? "First delta" : `First new delta of attempt ${attempt}`, offset });
      next({ kind: "streaming", lane: attempt }, offset);
    } else {
      marks.push({ label: `Ended: ${status}`, offset });
      next(null, offset);
    }
  }
  if (open) next(null, seconds);
  if (!end) marks.push({ label: isQueued ? "Waits for a worker" : `Now: ${status}`, offset: seconds });
  return { marks, bars, seconds };
}
