// The section about one answer: its parts in their order, as JSON. What readers do not see is shown, too: hidden parts, and
// who may give the value of an input.

import { get } from "./api.js";
import { cell, fillTable } from "./tables.js";

const END_STATUSES = new Set(["done", "stopped", "failed"]);
const $ = (id) => document.getElementById(id);
let generation = "";
let isEnded = false;

/** Connects the section's form. showMessage: called with an error or a text. */
export function initAnswerSection(showMessage) {
  $("find-answer").addEventListener("submit", (event) => {
    event.preventDefault();
    showAnswer($("generation").value.trim()).catch(showMessage);
  });
}

/** Shows the answer with this id. */
export async function showAnswer(id) {
  if (!id) return;
  generation = id;
  isEnded = false;
  $("generation").value = id;
  $("answer-details").hidden = true;
  await refreshAnswer();
}

/** Shows the answer again unless it has ended. */
export async function refreshAnswer() {
  if (!generation || isEnded) return;
  const id = generation;
  let snapshot;
  try {
    snapshot = await get(`/generations/${encodeURIComponent(id)}`);
  } catch (error) {
    isEnded = true; // it is not requested again
    throw error;
  }
  if (id !== generation) return; // another one was chosen meanwhile
  isEnded = END_STATUSES.has(snapshot.status);
  const { user, status, upstream, model, attempt, code, message } = snapshot;
  const facts = [user, status, upstream, model, `attempt ${attempt}`, code && `${message} (${code})`];
  $("answer-name").textContent = facts.filter(Boolean).join(" · ");
  const inputs = new Map(snapshot.inputs?.map(({ input, approvers, at }) => [input, { approvers, at }]));
  fillTable(
    "answer-parts",
    snapshot.parts.map(({ type, ...part }) => [type, cell(formatPart(type, { ...part, ...inputs.get(part.input) }), "mono")]),
    "no parts",
  );
  $("answer-details").hidden = false;
}

function formatPart(type, part) {
  return type === "text" || type === "reasoning" ? part.text : JSON.stringify(part);
}
