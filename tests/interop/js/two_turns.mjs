// `ai` with the default model of `@ai-sdk/openai`: two questions with a tool. From its second request on, it
// sends the ids of earlier items (`item_reference`) instead of the items.

import { createOpenAI } from "@ai-sdk/openai";
import { isStepCount, jsonSchema, streamText, tool } from "ai";

const schema = { type: "object", properties: { city: { type: "string" } } };

export async function run(scenario) {
  let references = 0;
  const provider = createOpenAI({
    baseURL: `${scenario.url}/v1`,
    apiKey: scenario.token,
    fetch: (url, options) => {
      references += options.body.split('"item_reference"').length - 1;
      return fetch(url, options);
    },
  });
  const tools = { weather: tool({ inputSchema: jsonSchema(schema), execute: async () => "rain" }) };
  const messages = [];
  for (const content of ["Oslo?", "And now?"]) {
    messages.push({ role: "user", content });
    const model = provider("tool/m");
    const result = streamText({ model, messages, tools, stopWhen: isStepCount(3), maxRetries: 0, onError: () => {} });
    let text = "";
    for await (const part of result.fullStream) {
      if (part.type === "text-delta") text += part.text;
      if (part.type === "error") scenario.reportEnd(part.error);
    }
    for (const step of await result.steps) messages.push(...step.response.messages);
    scenario.report("turn", null, text);
  }
  scenario.report("references", null, String(references));
}
