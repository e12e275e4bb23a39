// `ai` with the default model of `@ai-sdk/openai`: two questions with a tool. From its second request on, it
// sends the ids of earlier items (`item_reference`) instead of the items. At the end, `openai` deletes the newest answer.

import { createOpenAI } from "@ai-sdk/openai";
import { isStepCount, jsonSchema, streamText, tool } from "ai";
import OpenAI from "openai";

const schema = { type: "object", properties: { city: { type: "string" } } };

export async function run(scenario) {
  let references = 0;
  let newest;
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
    newest = (await result.response).id;
    scenario.report("turn", null, text);
  }
  scenario.report("references", null, String(references));
  const client = new OpenAI({ baseURL: `${scenario.url}/v1`, apiKey: scenario.token, maxRetries: 0 });
  await client.responses.delete(newest);
  const status = await client.responses.retrieve(newest).then(() => 200, (error) => error.status);
  scenario.report("deleted", null, String(status));
}
