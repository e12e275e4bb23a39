// The section about one answer: its parts in their order, as JSON. Parts that readers do not see are shown, too.

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
  fillTable(
    "answer-parts",
    snapshot.parts.map(({ type, ...part }) => [type, cell(formatPart(type, part), "mono")]),
    "no parts",
  );
  $("answer-details").hidden = false;
}

function formatPart(type, part) {
  return type === "text" || type === "reasoning" ? part.text : JSON.stringify(part);
}
