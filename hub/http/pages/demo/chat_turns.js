// The turns of one chat of a conversation: which of them an edit has replaced, and what the next
// request contains. No DOM, no network, no clock.

const MAX_HISTORY_TURNS = 12; // sent with the next question: the context of an LLM is limited
export const MAX_REPLACED_TURNS = 200; // by one edit: their keys are in the metadata of a request

const TOPIC_PREFIX = "topic:";

// The chat of a topic's answers. It exists only on this page.
export function chatOfTopic(topic) {
  return TOPIC_PREFIX + topic;
}

// Returns the topic of such a chat, or null.
export function topicOfChat(chat) {
  return chat.startsWith(TOPIC_PREFIX) ? chat.slice(TOPIC_PREFIX.length) : null;
}

// Returns the turns of a chat.
export function turnsOf(conversation, chat) {
  return conversation.turns.filter((turn) => turn.chat === chat);
}

// Whether the hub has refused the question, or could not be reached. An answer proves the contrary.
export function isUnsent({ error, generations }) {
  return Boolean(error) && !generations.length;
}

// Returns the turns of a chat that edited questions have replaced. Each of these names what it
// replaces, so the order in which a tab learns of them does not matter.
export function replacedTurns(conversation, chat) {
  const turns = turnsOf(conversation, chat);
  const keys = new Set(turns.filter((turn) => !isUnsent(turn)).flatMap(({ replaces }) => replaces));
  return new Set(turns.filter(({ key }) => keys.has(key)));
}

// Returns the keys of the turns that an edit replaces: the turn and those after it.
export function keysFrom(conversation, edited) {
  const turns = turnsOf(conversation, edited.chat);
  const replaced = replacedTurns(conversation, edited.chat);
  return turns.slice(turns.indexOf(edited)).filter((turn) => !replaced.has(turn)).slice(0, MAX_REPLACED_TURNS).map(({ key }) => key);
}

// Returns the messages of the next request: the turns of the chat that have an answer, those before
// the edited one if there is one, and the question.
export function nextMessages(conversation, prompt, { chat = "", edited = null } = {}) {
  const messages = [];
  const all = turnsOf(conversation, chat);
  const replaced = replacedTurns(conversation, chat);
  const earlier = edited ? all.slice(0, all.indexOf(edited)) : all;
  for (const turn of earlier.filter((each) => !replaced.has(each)).slice(-MAX_HISTORY_TURNS)) {
    const answer = turn.generations.at(-1);
    const isAnswered = answer && (answer.status === "done" || answer.status === "stopped");
    if (!isAnswered || !answer.text || !turn.prompt) continue;
    messages.push({ role: "user", content: turn.prompt });
    messages.push({ role: "assistant", content: answer.text });
  }
  return [...messages, { role: "user", content: prompt }];
}
