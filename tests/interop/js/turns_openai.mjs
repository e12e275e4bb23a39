// `openai` of npm: the application runs the tools, or the SDK does (runTools).

import OpenAI from "openai";

import { SCHEMA, weather } from "./weather.mjs";

const FUNCTION = { name: "weather", parameters: SCHEMA };
const CHAT_TOOLS = [{ type: "function", function: FUNCTION }];
const TOOLS = [{ type: "function", ...FUNCTION, strict: true }];

export function* conversations({ url, token }) {
  const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: token });
  for (const [kind, open] of Object.entries({ chat, runner, previous, thinker })) {
    for (const read of ["stream", "whole"]) {
      const name = `openai-js-${kind}-${read}`;
      const upstream = kind === "thinker" ? "thinker" : "turns";
      yield { client: name, ask: open(client, `${upstream}/${name}`, read === "stream") };
    }
  }
}

/** Chat completions with the whole history. */
function chat(client, model, isStream) {
  const messages = [];
  return async (content) => {
    messages.push({ role: "user", content });
    for (;;) {
      const body = { model, messages, tools: CHAT_TOOLS };
      const completion = await (isStream
        ? client.chat.completions.stream(body).finalChatCompletion()
        : client.chat.completions.create(body));
      const { message } = completion.choices[0];
      messages.push(message);
      if (!message.tool_calls?.length) return message.content;
      for (const { id, function: called } of message.tool_calls) {
        messages.push({ role: "tool", tool_call_id: id, content: weather(JSON.parse(called.arguments)) });
      }
    }
  };
}

/** The loop of the SDK, which runs the tools itself. */
function runner(client, model, stream) {
  let messages = [];
  const tools = [{ type: "function", function: { ...FUNCTION, function: weather, parse: JSON.parse } }];
  return async (content) => {
    const body = { model, messages: [...messages, { role: "user", content }], tools, stream };
    const running = client.chat.completions.runTools(body);
    const text = await running.finalContent();
    messages = running.messages;
    return text;
  };
}

/** Responses: a request has only what is new, and names the response before it. */
function previous(client, model, isStream) {
  let previous_response_id;
  return async (content) => {
    let input = [{ role: "user", content }];
    for (;;) {
      const response = await respond(client, { model, input, previous_response_id, tools: TOOLS }, isStream);
      previous_response_id = response.id;
      input = results(response);
      if (!input.length) return response.output_text;
    }
  };
}

/** Responses with the whole history, and reasoning in its encrypted form. */
function thinker(client, model, isStream) {
  const input = [];
  const more = { store: false, include: ["reasoning.encrypted_content"], tools: TOOLS };
  return async (content) => {
    input.push({ role: "user", content });
    for (;;) {
      const response = await respond(client, { model, input, ...more }, isStream);
      const outputs = results(response);
      input.push(...response.output, ...outputs);
      if (!outputs.length) return response.output_text;
    }
  };
}

const respond = (client, body, isStream) =>
  isStream ? client.responses.stream(body).finalResponse() : client.responses.create(body);

function results(response) {
  const calls = response.output.filter((item) => item.type === "function_call");
  return calls.map(({ call_id, arguments: given }) => {
    return { type: "function_call_output", call_id, output: weather(JSON.parse(given)) };
  });
}
