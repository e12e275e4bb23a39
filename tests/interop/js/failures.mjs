// `openai`, `@anthropic-ai/sdk`, and `ai` with `@ai-sdk/openai`: an answer that breaks off, and one that the LLM refuses.
// Each must raise an error: prints it, or "complete" if the client takes the answer for a whole one.

import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { createOpenAI } from "@ai-sdk/openai";
import { streamText } from "ai";

const READERS = {
  async openai_chat(scenario, client) {
    const messages = [{ role: "user", content: scenario.prompt }];
    const stream = await client.chat.completions.create({ model: scenario.model, messages, stream: true });
    for await (const chunk of stream) scenario.text += chunk.choices[0]?.delta?.content ?? "";
  },
  async openai_responses(scenario, client) {
    const stream = await client.responses.create({ model: scenario.model, input: scenario.prompt, stream: true });
    for await (const event of stream) if (event.type === "response.output_text.delta") scenario.text += event.delta;
  },
  async messages(scenario, _, __, anthropic) {
    const messages = [{ role: "user", content: scenario.prompt }];
    const stream = anthropic.messages.stream({ model: scenario.model, max_tokens: 9, messages });
    stream.on("text", (text) => (scenario.text += text));
    await stream.finalMessage();
  },
  ai_chat: (scenario, _, provider) => readText(scenario, provider.chat(scenario.model)),
  ai_responses: (scenario, _, provider) => readText(scenario, provider.responses(scenario.model)),
};

async function readText(scenario, model) {
  const { fullStream } = streamText({ model, prompt: scenario.prompt, maxRetries: 0, onError: () => {} });
  for await (const part of fullStream) {
    if (part.type === "text-delta") scenario.text += part.text;
    if (part.type === "error") throw part.error;
  }
}

/** Run every client with the models `cutting/…` and `rejecting/…`, whose LLMs fail. */
export async function run(given) {
  const options = { baseURL: `${given.url}/v1`, apiKey: given.token, maxRetries: 0 };
  const [client, provider] = [new OpenAI(options), createOpenAI(options)];
  const anthropic = new Anthropic({ ...options, baseURL: given.url });
  for (const [name, read] of Object.entries(READERS)) {
    for (const model of ["cutting/m", "rejecting/m"]) {
      const scenario = { prompt: given.prompt, model, text: "" };
      let error = null;
      await read(scenario, client, provider, anthropic).catch((raised) => (error = raised));
      const status = error?.status ?? error?.statusCode ?? null;
      const message = error === null ? "complete" : String(error.message ?? JSON.stringify(error));
      given.report("failure", null, JSON.stringify({ client: name, model, text: scenario.text, status, message }));
    }
  }
}
