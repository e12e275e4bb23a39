// The conversation as values: what each event does to it. No DOM, no network, no clock.
//
// A turn is one question; its generations are the answers to it, the newest last. Whatever asks
// twice (a restart, a repeated POST) adds to the turn, and the newest supersedes the others.
//
// Rules:
// 1. A generation ends once; what comes after its end changes nothing.
// 2. Deltas count from 0 without a hole. Where one is missing (the log no longer holds it), the
//    generation is `missing`: it holds back what comes until a snapshot closes the hole.
// 3. The order of turns, and of the generations in one, is that of the stream.

const ENDED = new Set(["done", "stopped", "failed"]);
const HISTORY_TURNS = 12; // what goes along with the next question; an LLM's context has an end

export function newConversation() {
  return { turns: [], generations: new Map() };
}

// Applies one generation.* event; returns the generation that it changed.
export function apply(conversation, name, data, now) {
  const generation = generationOf(conversation, data.generation);
  if (isEnded(generation)) return generation;
  switch (name) {
    case "generation.started":
      Object.assign(generation, { status: "running", model: data.model, attempt: data.attempt });
      break;
    case "generation.restarted": // a worker was lost: what was shown is void
      Object.assign(generation, {
        status: "running", attempt: data.attempt, model: data.model ?? generation.model,
        text: "", reasoning: "", toolCalls: [], ...whole(0),
      });
      break;
    case "generation.delta":
      generation.status = "running";
      generation.firstAt ??= now;
      if (data.i > generation.deltas) generation.missing = true;
      if (generation.missing) generation.held.push(data);
      else append(generation, data);
      break;
    case "generation.replaced": // all of the text, so it closes any hole
      generation.status = "running";
      generation.firstAt ??= now;
      Object.assign(generation, { text: data.text, ...whole(data.i + 1) });
      break;
    case "generation.done":
      Object.assign(generation, { status: "done", usage: data.usage, reason: data.finish_reason });
      break;
    case "generation.stopped":
      Object.assign(generation, { status: "stopped", by: data.by });
      break;
    case "generation.failed":
      Object.assign(generation, { status: "failed", code: data.code, fault: data.message });
      break;
  }
  // The end says how many there were; a failure does not, but one that never began here has a past.
  const told = data.deltas ?? (generation.attempt ? 0 : 1);
  if (isEnded(generation) && told > generation.deltas) generation.missing = true;
  return generation;
}

// What GET /generations/{id} found: the question, and what the stream could not tell.
export function learn(conversation, generation, found) {
  const messages = found.messages ?? [{ role: "user", content: found.prompt ?? "" }];
  placeInTurn(conversation, generation, found.metadata?.turn ?? generation.turn?.key ?? generation.id);
  Object.assign(generation.turn, { messages, question: lastQuestion(messages) });
  generation.model ||= found.model ?? "";
  if (!generation.missing) return;
  const { text, deltas, attempt } = found;
  const isOlder = attempt < generation.attempt
    || (attempt === generation.attempt && deltas < generation.deltas);
  if (isOlder) return; // the next look finds more
  Object.assign(generation, { text, attempt });
  if (ENDED.has(found.status) && !isEnded(generation)) {
    const { status, usage, finish_reason: reason, by, code, message: fault } = found;
    Object.assign(generation, { status, usage, reason, by, code, fault });
  }
  closeHole(generation, deltas);
}

// The snapshot is gone too: what there is is shown, and marked as a part.
export function learnNothing(conversation, generation) {
  if (!generation.turn) placeInTurn(conversation, generation, generation.id);
  if (!generation.missing) return;
  generation.partial = true;
  closeHole(generation, generation.held[0]?.i ?? generation.deltas);
}

// After a reset the stream goes on behind a hole: nothing that runs can be trusted to be whole.
export function doubt(conversation) {
  for (const generation of running(conversation)) generation.missing = true;
}

// A question that this page asks: shown at once, before the hub has it.
export function ask(conversation, key, question) {
  const messages = nextMessages(conversation, question);
  const turn = newTurn(conversation, key);
  return Object.assign(turn, { question, messages });
}

// Makes the generation an answer of the turn with this key. Two turns that prove to be one (their
// key was learned late) are joined in the place of the earlier.
export function placeInTurn(conversation, generation, key) {
  const { turns } = conversation;
  const from = generation.turn;
  const to = turns.find((turn) => turn.key === key);
  if (from && (!to || to === from)) {
    from.key = key;
    return;
  }
  const turn = to ?? newTurn(conversation, key);
  if (from) {
    if (turns.indexOf(from) < turns.indexOf(turn)) {
      turns.splice(turns.indexOf(turn), 1);
      turns[turns.indexOf(from)] = turn;
    } else turns.splice(turns.indexOf(from), 1);
    turn.question ??= from.question;
  }
  for (const moved of from?.generations ?? [generation]) {
    moved.turn = turn;
    turn.generations.push(moved);
  }
  turn.generations.sort((a, b) => a.order - b.order);
}

export function generationOf(conversation, id) {
  const { generations } = conversation;
  if (!generations.has(id)) {
    generations.set(id, {
      id, order: generations.size, turn: null, status: "queued", model: "", attempt: 0,
      text: "", reasoning: "", toolCalls: [], ...whole(0),
    });
  }
  return generations.get(id);
}

export function isEnded(generation) {
  return ENDED.has(generation.status);
}

export function isSuperseded(generation) {
  return generation.turn !== null && generation.turn.generations.at(-1) !== generation;
}

export function running(conversation) {
  return [...conversation.generations.values()].filter((generation) => !isEnded(generation));
}

// The messages of the next question: the turns that were answered, and the question.
export function nextMessages(conversation, question) {
  const messages = [];
  for (const turn of conversation.turns.slice(-HISTORY_TURNS)) {
    const answer = turn.generations.at(-1);
    const counts = answer && (answer.status === "done" || answer.status === "stopped");
    if (!counts || !answer.text || !turn.question) continue;
    messages.push({ role: "user", content: turn.question });
    messages.push({ role: "assistant", content: answer.text });
  }
  return [...messages, { role: "user", content: question }];
}

function newTurn(conversation, key) {
  const turn = { key, question: null, messages: null, generations: [] };
  conversation.turns.push(turn);
  return turn;
}

function whole(deltas) {
  return { deltas, missing: false, held: [] };
}

// There are so many deltas now; what was held back follows, unless the hole is still there.
function closeHole(generation, deltas) {
  const held = generation.held;
  Object.assign(generation, whole(deltas));
  if (held.length && held[0].i > deltas) Object.assign(generation, { missing: true, held });
  else for (const data of held) append(generation, data);
}

function append(generation, data) {
  if (data.i < generation.deltas) return; // the snapshot had it
  generation.text += data.text ?? "";
  generation.reasoning += data.reasoning ?? "";
  for (const call of data.tool_calls ?? []) addToolCall(generation.toolCalls, call);
  generation.deltas = data.i + 1;
}

// OpenAI's delta form: the name comes once, the arguments in pieces, by index.
function addToolCall(calls, { index = 0, function: made = {} }) {
  calls[index] ??= { name: "", arguments: "" };
  calls[index].name += made.name ?? "";
  calls[index].arguments += made.arguments ?? "";
}

function lastQuestion(messages) {
  const content = messages.findLast((message) => message.role === "user")?.content ?? "";
  return typeof content === "string" ? content : content.map((part) => part.text ?? "").join(" ");
}
