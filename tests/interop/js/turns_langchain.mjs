// `@langchain/openai`: the application keeps the messages and runs the tools.

import { HumanMessage } from "@langchain/core/messages";
import { tool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";

import { SCHEMA, weather } from "./weather.mjs";

const TOOL = tool(weather, { name: "weather", description: "The weather in a city", schema: SCHEMA });

export function* conversations({ url, token }) {
  const options = { apiKey: token, configuration: { baseURL: `${url}/v1` } };
  const kinds = {
    chat: {},
    responses: { useResponsesApi: true },
    // Without `store`, the requests have the reasoning in its encrypted form.
    thinker: { useResponsesApi: true, zdrEnabled: true },
  };
  for (const [kind, more] of Object.entries(kinds)) {
    for (const read of ["stream", "whole"]) {
      const client = `langchain-js-${kind}-${read}`;
      const model = `${kind === "thinker" ? kind : "turns"}/${client}`;
      const llm = new ChatOpenAI({ ...options, ...more, model }).bindTools([TOOL]);
      yield { client, ask: conversation(llm, read) };
    }
  }
}

function conversation(llm, read) {
  const messages = [];
  return async (prompt) => {
    messages.push(new HumanMessage(prompt));
    for (;;) {
      const answer = await (read === "stream" ? readStream(llm, messages) : llm.invoke(messages));
      messages.push(answer);
      if (!answer.tool_calls.length) return answer.text;
      for (const call of answer.tool_calls) messages.push(await TOOL.invoke(call));
    }
  };
}

async function readStream(llm, messages) {
  let answer;
  for await (const chunk of await llm.stream(messages)) answer = answer?.concat(chunk) ?? chunk;
  return answer;
}
