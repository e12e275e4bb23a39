// `ai` and `@ai-sdk/react`: the Chat object of `useChat` with the default transport.

import { Chat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";

export const textOf = (message) =>
  message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");

/** Send the prompt, report each change of the text, and stop with the route of the hub, for the run or the chat. */
export async function generate(scenario, transport, runId) {
  let reported = 0;
  let finished;
  const chat = new Chat({
    id: crypto.randomUUID(),
    transport,
    onFinish: ({ finishReason }) => (finished = finishReason !== undefined),
  });
  chat["~registerMessagesCallback"](() => {
    const last = chat.messages.at(-1);
    if (last?.role !== "assistant" || textOf(last).length <= reported) return;
    reported = textOf(last).length;
    if (scenario.report("part", null, "") && scenario.name === "stop") {
      scenario.call("DELETE", `/v1/ui/chat/${runId?.() ?? chat.id}`);
    }
  });
  await chat.sendMessage({ text: scenario.prompt }, { body: { model: "wordy" } });
  if (!runId && !finished) {
    scenario.reportEnd(chat.error ?? "over"); // Node.js may report a broken stream as ended
    await chat.resumeStream();
  }
  scenario.report("status", null, `${chat.status} ${chat.messages.length}`);
  scenario.report("text", null, textOf(chat.messages.at(-1)));
}

export function run(scenario) {
  const { headers } = scenario;
  const api = `${scenario.url}/v1/ui/chat`;
  const transport = new DefaultChatTransport({
    api,
    headers,
    // With an index, the hub also returns an answer that has ended; otherwise only a running one.
    prepareReconnectToStreamRequest: ({ id }) => ({ api: `${api}/${id}/stream?startIndex=0`, headers }),
  });
  return generate(scenario, transport);
}
