// `ai` and `@ai-sdk/react`: the Chat that `useChat` holds, with the default transport.

import { Chat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";

export const textOf = (message) =>
  message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");

/** Asks, tells each growth, and stops by the hub's own route: the run's of `runId`, or the chat's. */
export async function ask(story, transport, runId) {
  let told = 0;
  let finished;
  const chat = new Chat({
    id: crypto.randomUUID(),
    transport,
    onFinish: ({ finishReason }) => (finished = finishReason !== undefined),
  });
  chat["~registerMessagesCallback"](() => {
    const last = chat.messages.at(-1);
    if (last?.role !== "assistant" || textOf(last).length <= told) return;
    told = textOf(last).length;
    if (story.tell("piece", null, "") && story.scenario === "stop") {
      story.call("DELETE", `/v1/ui/chat/${runId?.() ?? chat.id}`);
    }
  });
  await chat.sendMessage({ text: story.question }, { body: { model: "wordy" } });
  if (!runId && !finished) {
    story.end(chat.error ?? "over"); // Node.js takes a broken stream for one that is over
    await chat.resumeStream();
  }
  story.tell("status", null, `${chat.status} ${chat.messages.length}`);
  story.tell("text", null, textOf(chat.messages.at(-1)));
}

export function run(story) {
  const { headers } = story;
  const api = `${story.url}/v1/ui/chat`;
  const transport = new DefaultChatTransport({
    api,
    headers,
    // By index an answer that ended meanwhile comes, too; else only one that still runs.
    prepareReconnectToStreamRequest: ({ id }) => ({ api: `${api}/${id}/stream?startIndex=0`, headers }),
  });
  return ask(story, transport);
}
