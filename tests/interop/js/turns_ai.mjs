// The AI SDK 5, 6 and 7: the application keeps the messages that each answer adds.

import * as ai5 from "ai5";
import { createOpenAI as openai5 } from "ai5-openai";
import { createOpenAICompatible as compatible5 } from "ai5-openai-compatible";
import * as ai6 from "ai6";
import { createOpenAI as openai6 } from "ai6-openai";
import { createOpenAICompatible as compatible6 } from "ai6-openai-compatible";
import * as ai7 from "ai";
import { createOpenAI as openai7 } from "@ai-sdk/openai";
import { createOpenAICompatible as compatible7 } from "@ai-sdk/openai-compatible";

import { SCHEMA, weather } from "./weather.mjs";

const VERSIONS = [
  { name: "ai5", sdk: ai5, createOpenAI: openai5, createOpenAICompatible: compatible5, limit: ai5.stepCountIs },
  { name: "ai6", sdk: ai6, createOpenAI: openai6, createOpenAICompatible: compatible6, limit: ai6.stepCountIs },
  { name: "ai7", sdk: ai7, createOpenAI: openai7, createOpenAICompatible: compatible7, limit: ai7.isStepCount },
];

export function* conversations({ url, token }) {
  const options = { baseURL: `${url}/v1`, apiKey: token };
  for (const version of VERSIONS) {
    const openai = version.createOpenAI(options);
    const compatible = version.createOpenAICompatible({ name: "hub", ...options });
    const models = {
      responses: (id) => openai(`turns/${id}`), // later requests name items of the answers before
      thinker: (id) => openai(`thinker/${id}`),
      items: (id) => openai(`thinker/${id}`), // without `store`, the requests have the items themselves
      chat: (id) => openai.chat(`turns/${id}`),
      compatible: (id) => compatible(`turns/${id}`),
    };
    for (const [kind, open] of Object.entries(models)) {
      for (const read of ["stream", "whole"]) {
        const client = `${version.name}-${kind}-${read}`;
        const store = kind !== "items";
        const providerOptions = { openai: { store, include: ["reasoning.encrypted_content"] } };
        yield { client, ask: conversation(version, read, open(client), providerOptions) };
      }
    }
  }
}

function conversation({ sdk, limit }, read, model, providerOptions) {
  const messages = [];
  const tools = { weather: sdk.tool({ inputSchema: sdk.jsonSchema(SCHEMA), execute: weather }) };
  return async (content) => {
    messages.push({ role: "user", content });
    const options = { model, messages, tools, providerOptions, stopWhen: limit(3) };
    const result = await (read === "stream" ? readStream(sdk, options) : sdk.generateText(options));
    messages.push(...((await result.responseMessages) ?? (await result.response).messages));
    return result.text;
  };
}

async function readStream(sdk, options) {
  let failure;
  const result = sdk.streamText({ ...options, onError: ({ error }) => (failure = error) });
  let text = "";
  for await (const part of result.fullStream) {
    if (part.type === "start-step") text = "";
    if (part.type === "text-delta") text += part.text;
  }
  if (failure) throw failure;
  return { text, response: result.response, responseMessages: result.responseMessages };
}
