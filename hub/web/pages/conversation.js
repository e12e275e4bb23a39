// The conversation as values: what each event does to it. No DOM, no network.
//
// A turn is one generation: its question, its answer so far, and how it stands. A turn that asks
// exactly what the turn before it asked is that one's restart, and supersedes it.

export function newConversation() {
  return { turns: new Map() };
}

// Applies one generation.* event; returns the turn that it changed.
export function apply(conversation, name, data, now) {
  const turn = turnOf(conversation, data.generation);
  switch (name) {
    case "generation.started":
      Object.assign(turn, { status: "running", model: data.model, startedAt: turn.startedAt ?? now });
      break;
    case "generation.restarted": // the worker was lost: what was shown is void
      Object.assign(turn, { status: "running", text: "", reasoning: "", deltas: 0, attempt: data.attempt });
      break;
    case "generation.delta":
      turn.firstAt ??= now;
      turn.text += data.text ?? "";
      turn.reasoning += data.reasoning ?? "";
      turn.deltas = data.i + 1;
      break;
    case "generation.replaced":
      turn.text = data.text;
      turn.deltas = data.i + 1;
      break;
    case "generation.done":
      Object.assign(turn, { status: "done", usage: data.usage, reason: data.finish_reason });
      break;
    case "generation.stopped":
      Object.assign(turn, { status: "stopped", by: data.by });
      break;
    case "generation.failed":
      Object.assign(turn, { status: "failed", fault: data.message });
      break;
  }
  return turn;
}

export function turnOf(conversation, id) {
  let turn = conversation.turns.get(id);
  if (!turn) {
    turn = { id, status: "queued", messages: null, text: "", reasoning: "", deltas: 0, model: "" };
    conversation.turns.set(id, turn);
  }
  return turn;
}

// What a turn was asked, once it is known; marks the turn that it supersedes and returns that one.
export function learnQuestion(conversation, turn, messages) {
  turn.messages = messages;
  const asked = JSON.stringify(messages);
  let superseded = null;
  for (const other of conversation.turns.values()) {
    if (other === turn) break;
    if (other.messages && JSON.stringify(other.messages) === asked) superseded = other;
  }
  if (superseded) superseded.superseded = true;
  return superseded;
}

export function isRunning(turn) {
  return turn.status === "queued" || turn.status === "running";
}

export function questionText(turn) {
  const last = turn.messages?.at(-1)?.content ?? "";
  return typeof last === "string" ? last : last.map((part) => part.text ?? "").join(" ");
}

// The messages of a next question: the answered turns before it, and the question.
export function nextMessages(conversation, question) {
  const messages = [];
  for (const turn of conversation.turns.values()) {
    if (turn.superseded || isRunning(turn) || !turn.text || !turn.messages) continue;
    messages.push({ role: "user", content: questionText(turn) });
    messages.push({ role: "assistant", content: turn.text });
  }
  return [...messages, { role: "user", content: question }];
}

export function running(conversation) {
  return [...conversation.turns.values()].filter((turn) => isRunning(turn) && !turn.superseded);
}
