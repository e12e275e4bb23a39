// The turns of one chat of a conversation: which of them an edit has replaced, and what the next
// request contains. No DOM, no network, no clock.

const MAX_HISTORY_TURNS = 12; // sent with the next question: the context of an LLM is limited

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

// Whether a later question of the chat has replaced the turn.
export function isReplaced(conversation, turn) {
  const turns = turnsOf(conversation, turn.chat);
  const index = turns.indexOf(turn);
  return turns.slice(index + 1).some(({ replaces }) => {
    const replaced = turns.findIndex(({ key }) => key === replaces);
    return replaced !== -1 && replaced <= index;
  });
}

// Returns the messages of the next request: the turns of the chat that have an answer, those before
// the edited one if there is one, and the question.
export function nextMessages(conversation, prompt, { chat = "", edited = null } = {}) {
  const messages = [];
  const all = turnsOf(conversation, chat);
  const earlier = edited ? all.slice(0, all.indexOf(edited)) : all;
  for (const turn of earlier.filter((each) => !isReplaced(conversation, each)).slice(-MAX_HISTORY_TURNS)) {
    const answer = turn.generations.at(-1);
    const isAnswered = answer && (answer.status === "done" || answer.status === "stopped");
    if (!isAnswered || !answer.text || !turn.prompt) continue;
    messages.push({ role: "user", content: turn.prompt });
    messages.push({ role: "assistant", content: answer.text });
  }
  return [...messages, { role: "user", content: prompt }];
}
