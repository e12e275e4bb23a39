// What to draw of an answer's folded parts, as values. No DOM.

const MAX_JSON_CHARS = 20_000;
const MEDIA_TYPE = /^[\w.+-]+\/[\w.+-]+$/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
const TYPES = new Set(["text", "reasoning", "status", "step", "tool_call", "tool_result", "file", "data", "input"]);

// Returns `{ key, type, values, isGrowing, … }` for each part that is drawn. key: the same while a part is
// there. values: they differ when it must be drawn again. Sources that follow each other share one
// view, and all sources of the answer are numbered from 1.
export function listViews(parts, isRunning) {
  const views = [];
  const counts = {};
  let sourceCount = 0;
  for (const part of parts) {
    const sources = sourcesOf(part)?.map((source) => ({ ...source, number: (sourceCount += 1) }));
    const last = views.at(-1);
    if (sources && last?.type === "sources") last.sources.push(...sources);
    else if (sources) views.push({ type: "sources", sources });
    else if (TYPES.has(part.type) && (part.type !== "reasoning" || part.text)) {
      views.push({ ...viewOf(part, isRunning), isGrowing: isRunning && part === parts.at(-1) });
    }
  }
  for (const view of views) {
    counts[view.type] = (counts[view.type] ?? 0) + 1;
    view.key = view.type === "input" ? `input ${view.part.input}` : `${view.type} ${counts[view.type]}`;
    view.values = view.sources ? [JSON.stringify(view.sources)] : [...Object.values(view.part), view.state, view.isGrowing];
  }
  return views;
}

function viewOf(part, isRunning) {
  const isCall = part.type === "tool_call" || part.type === "tool_result";
  return { type: isCall ? "tool" : part.type, part, state: isCall ? callState(part, isRunning) : part.state };
}

// A tool_result is here only when its call is not.
function callState({ state, result, is_error: isError, run_by: runBy }, isRunning) {
  if (result !== undefined) return isError ? "failed" : "done";
  if (state) return state;
  if (runBy === "client") return "client";
  return isRunning ? "running" : "none";
}

// Returns the sources of a part, or null for a part without any.
function sourcesOf({ type, url, title, annotations }) {
  if (type === "source") return [{ url, title }];
  if (type !== "annotations") return null;
  const citations = annotations.map((each) => each?.url_citation).filter((each) => typeof each?.url === "string");
  return citations.length ? citations.map((each) => ({ url: each.url, title: each.title })) : null;
}

// Returns where a file can be loaded from; null if that is no address that a page may use.
export function fileAddress({ url, data, media_type: mediaType }) {
  if (data === undefined) return isWebUrl(url) ? url : null;
  return MEDIA_TYPE.test(mediaType) && BASE64.test(data) ? `data:${mediaType};base64,${data}` : null;
}

// Links to other protocols, such as javascript:, are not followed.
export function isWebUrl(url) {
  try {
    return /^https?:$/.test(new URL(url, globalThis.location?.href).protocol);
  } catch {
    return false;
  }
}

export function hostOf(url) {
  try {
    return new URL(url).host || url;
  } catch {
    return String(url);
  }
}

// The arguments of a call are JSON text, which may not be whole yet.
export function formatArguments(text) {
  try {
    return formatValue(JSON.parse(text));
  } catch {
    return shorten(text, MAX_JSON_CHARS);
  }
}

export function formatValue(value) {
  return shorten(typeof value === "string" ? value : JSON.stringify(value, null, 2), MAX_JSON_CHARS);
}

export function shorten(text, maxChars) {
  return text.length > maxChars ? `${text.slice(0, maxChars)}…` : text;
}
