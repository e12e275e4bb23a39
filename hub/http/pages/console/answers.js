// The list of answers that have not ended, a page at a time, and one answer with its timeline.

import * as actions from "./actions.js";
import { get } from "./api.js";
import { $, setText } from "./dom.js";
import { formatAge, formatDate, formatNumber } from "./format.js";
import { pathTo, statusCell } from "./paths.js";
import { fillFacts, fillPager, fillTable, mono, number } from "./tables.js";
import { shorten } from "./tail_rows.js";
import { drawTimeline } from "./timeline_picture.js";

const PAGE = 25;
const MAX_PARTS = 200;
const MAX_PART_CHARS = 4000;
const END_STATUSES = new Set(["done", "stopped", "failed"]);
const refresh = () => dispatchEvent(new Event("hub-refresh"));
let skip = 0;
let shown = { id: "", isEnded: false, error: null };

export const answersView = {
  intervalMs: 2000,
  open() {
    skip = 0;
  },
  async refresh() {
    const first = skip;
    const page = await get(`/generations?limit=${PAGE}&skip=${first}`);
    return () => showAnswers(page, first);
  },
};

function showAnswers(page, first) {
  setText($("answers-total"), formatNumber(page.total));
  setText($("pinned"), page.pinned.filter(({ workers }) => workers === 0).map(describePinned).join(" "));
  fillTable("answers", page.generations.map((each) => [
    { text: each.generation, href: pathTo("answer", each.generation), className: "mono" },
    { text: each.user, href: pathTo("user", each.user) },
    statusCell(each.status),
    each.model,
    { text: `${formatAge(each.requested_at)} ago`, title: formatDate(each.requested_at) },
    number(formatNumber(each.attempt)),
    number(formatNumber(each.characters)),
  ]), first ? "no answers on this page" : "no answer runs or waits");
  const last = Math.min(first + PAGE, page.total);
  fillPager("answers-pager", page.total > PAGE || first ? `${formatNumber(first + 1)} to ${formatNumber(last)} of ${formatNumber(page.total)}` : "", [
    ["Previous", first > 0, () => { skip = Math.max(0, first - PAGE); refresh(); }],
    ["Next", first + PAGE < page.total, () => { skip = first + PAGE; refresh(); }],
  ]);
}

const describePinned = ({ jobs, queue, version }) =>
  `${formatNumber(jobs)} runs of the queue ${queue} wait for a worker ${version ? `of the version ${version}` : "without a version"}.`;

export const answerView = {
  intervalMs: 1500,
  start(attempt) {
    $("answer-stop").addEventListener("click", () => attempt(async () => {
      if (await actions.stop(shown.id)) refresh();
    }));
  },
  open(id = "") {
    shown = { id, isEnded: false, error: null };
    setText($("answer-id"), id);
    setText($("answer-status"), "");
    fillTable("answer-parts", [], "…");
    $("timeline").replaceChildren();
    $("answer-stop").disabled = true;
  },
  async refresh() {
    const current = shown;
    if (current.error) throw current.error;
    if (current.isEnded) return null;
    let snapshot;
    try {
      snapshot = await get(`/generations/${encodeURIComponent(current.id)}`);
    } catch (error) {
      if (error.status === 404) current.error = error; // it is not requested again
      throw error;
    }
    return () => {
      current.isEnded = END_STATUSES.has(snapshot.status);
      showSnapshot(snapshot, current.isEnded);
    };
  },
};

function showSnapshot(snapshot, isEnded) {
  const { level, text } = statusCell(snapshot.status);
  setText($("answer-status"), text);
  $("answer-status").dataset.level = level;
  $("answer-stop").disabled = isEnded;
  $("answer-stop").hidden = isEnded;
  fillFacts("answer-facts", [
    ["User", { text: snapshot.user, href: pathTo("user", snapshot.user) }],
    ["Upstream", snapshot.upstream],
    ["Model", snapshot.model],
    ["Requested", formatDate(snapshot.requested_at)],
    ["Attempt", formatNumber(snapshot.attempt)],
    ["Deltas", formatNumber(snapshot.deltas)],
    ["Chat", snapshot.chat],
    ["Topic", snapshot.topic && { text: snapshot.topic, href: pathTo("tail", "topic", snapshot.topic) }],
    ["Tokens", snapshot.usage?.total_tokens !== undefined ? formatNumber(snapshot.usage.total_tokens) : undefined],
    ["Ended because", snapshot.finish_reason ?? snapshot.by],
    ["Question", { text: promptOf(snapshot.messages), isBlock: true }],
    ["Error code", snapshot.code],
    ["Error", snapshot.code && { text: snapshot.message, isBlock: true }],
  ]);
  drawTimeline(snapshot, Date.now() / 1000 - snapshot.requested_at);
  const inputs = new Map(snapshot.inputs?.map(({ input, approvers, at }) => [input, { approvers, at }]));
  const { parts } = snapshot;
  setText($("parts-total"), parts.length > MAX_PARTS ? `the newest ${MAX_PARTS} of ${formatNumber(parts.length)}` : formatNumber(parts.length));
  fillTable("answer-parts", parts.slice(-MAX_PARTS).map(({ type, ...part }) => [type, mono(formatPart(type, { ...part, ...inputs.get(part.input) }))]), "no parts yet");
}

function promptOf(messages) {
  const content = messages.findLast(({ role }) => role === "user")?.content ?? "";
  return shorten(typeof content === "string" ? content : content.map(({ text = "" }) => text).join(" "));
}

function formatPart(type, part) {
  const text = type === "text" || type === "reasoning" ? part.text : JSON.stringify(part);
  return text.length > MAX_PART_CHARS ? `… ${text.slice(-MAX_PART_CHARS)}` : text;
}
