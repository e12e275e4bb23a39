// `@anthropic-ai/sdk` of npm: the application runs the tools, or the SDK does (toolRunner).

import Anthropic from "@anthropic-ai/sdk";
import { betaTool } from "@anthropic-ai/sdk/helpers/beta/json-schema";

import { SCHEMA, weather } from "./weather.mjs";

const TOOLS = [{ name: "weather", input_schema: SCHEMA }];
const MODELS = { messages: "turns", thinker: "thinker", claude: "claude" };

export function* conversations({ url, token }) {
  const client = new Anthropic({ baseURL: url, apiKey: token, authToken: null });
  for (const [kind, open] of Object.entries({ messages, runner, thinker: messages, claude: messages })) {
    for (const read of ["stream", "whole"]) {
      const name = `anthropic-js-${kind}-${read}`;
      yield { client: name, ask: open(client, `${MODELS[kind] ?? "claude"}/${name}`, read === "stream") };
    }
  }
}

/** Messages with the whole history. */
function messages(client, model, isStream) {
  const history = [];
  return async (content) => {
    history.push({ role: "user", content });
    for (;;) {
      const body = { model, max_tokens: 1024, messages: history, tools: TOOLS };
      const message = await (isStream ? client.messages.stream(body).finalMessage() : client.messages.create(body));
      history.push({ role: "assistant", content: message.content });
      const calls = message.content.filter((block) => block.type === "tool_use");
      if ((message.stop_reason === "tool_use") !== calls.length > 0) throw new Error(message.stop_reason);
      if (!calls.length) return textOf(message);
      const results = calls.map(({ id, input }) => ({ type: "tool_result", tool_use_id: id, content: weather(input) }));
      history.push({ role: "user", content: results });
    }
  };
}

/** The loop of the SDK, which runs the tools itself. */
function runner(client, model, stream) {
  let history = [];
  const tools = [betaTool({ name: "weather", description: "", inputSchema: SCHEMA, run: weather })];
  return async (content) => {
    history.push({ role: "user", content });
    const running = client.beta.messages.toolRunner({ model, max_tokens: 1024, messages: history, tools, stream });
    const message = await running.runUntilDone();
    history = [...running.params.messages];
    if (history.at(-1).role !== "assistant") history.push({ role: "assistant", content: message.content });
    return textOf(message);
  };
}

const textOf = ({ content }) => content.map((block) => (block.type === "text" ? block.text : "")).join("");
