// Routes as an application with the AI SDK has them for `useChat`, with a fake model of `ai/test`.
// It prints the port first, and `stopped` when a client closes the connection of /api/slow.

import { createServer } from "node:http";
import {
  convertToModelMessages,
  createUIMessageStream,
  jsonSchema,
  pipeUIMessageStreamToResponse as sendStream,
  simulateReadableStream,
  stepCountIs,
  streamText,
  tool,
} from "ai";
import { MockLanguageModelV4 } from "ai/test";

const usage = {
  inputTokens: { total: 3, noCache: 1, cacheRead: 2, cacheWrite: 0 },
  outputTokens: { total: 2, text: 1, reasoning: 1 },
};
const text = (id, ...deltas) => [
  { type: "text-start", id },
  ...deltas.map((delta) => ({ type: "text-delta", id, delta })),
  { type: "text-end", id },
];
const finish = (unified) => ({ type: "finish", finishReason: { unified, raw: unified }, usage });
const call = (toolName, input) => [
  { type: "tool-input-start", id: "c1", toolName },
  { type: "tool-input-delta", id: "c1", delta: input },
  { type: "tool-input-end", id: "c1" },
  { type: "tool-call", toolCallId: "c1", toolName, input },
];

// A model that answers with one list of parts for each step.
const model = (...steps) => {
  let step = 0;
  return new MockLanguageModelV4({
    doStream: async () => ({ stream: simulateReadableStream({ chunks: steps[step++], chunkDelayInMs: null }) }),
  });
};
const hasResult = (messages) => messages.some(({ role }) => role === "tool");

const input = (type, name) =>
  jsonSchema({ type: "object", properties: { [name]: { type } }, required: [name], additionalProperties: false });

const routes = {
  // Steps with reasoning, a tool that the server runs, and sources.
  weather: async ({ messages }) =>
    streamText({
      model: model(
        [
          { type: "reasoning-start", id: "r" },
          { type: "reasoning-delta", id: "r", delta: "Which weather?" },
          { type: "reasoning-end", id: "r", providerMetadata: { openai: { itemId: "rs_1" } } },
          ...text("t", "Let me look. "),
          ...call("weather", '{"city":"Köln"}'),
          finish("tool-calls"),
        ],
        [
          ...text("u", "It is clear ", "in Köln."),
          { type: "source", sourceType: "url", id: "s1", url: "https://sky.example", title: "Sky" },
          finish("stop"),
        ],
      ),
      messages: await convertToModelMessages(messages),
      tools: { weather: tool({ inputSchema: input("string", "city"), execute: async ({ city }) => ({ city, sky: "clear" }) }) },
      stopWhen: stepCountIs(5),
    }).toUIMessageStream({
      sendSources: true,
      messageMetadata: ({ part }) => (part.type === "finish" ? { totalUsage: part.totalUsage } : undefined),
    }),

  // A tool that only the browser has: the server defines it and does not run it.
  confirm: async ({ messages }) => {
    const modelMessages = await convertToModelMessages(messages);
    const last = modelMessages.at(-1);
    const output = last?.role === "tool" ? JSON.stringify(last.content[0].output.value) : "";
    return streamText({
      model: hasResult(modelMessages)
        ? model([...text("u", `The client says ${output}.`), finish("stop")])
        : model([...call("confirm", '{"n":1}'), finish("tool-calls")]),
      messages: modelMessages,
      tools: { confirm: tool({ inputSchema: input("number", "n") }) },
    }).toUIMessageStream();
  },

  // Parts of every kind that an application writes itself.
  parts: async () =>
    createUIMessageStream({
      execute: ({ writer }) => {
        writer.write({ type: "data-status", data: { text: "Searching" }, transient: true });
        writer.write({ type: "data-order", id: "o", data: { number: 980 } });
        writer.write({ type: "data-order", id: "o", data: { number: 981 } });
        writer.write({ type: "file", url: "data:image/png;base64,aGk=", mediaType: "image/png" });
        writer.write({ type: "source-url", sourceId: "s", url: "https://shop.example/tea", title: "Tea" });
        for (const part of text("t", "Tea.")) writer.write(part);
      },
    }),

  // What the user has sent, as the model sees it.
  echo: async ({ messages, id }) => {
    const sent = (await convertToModelMessages(messages)).map(({ role, content }) => [
      role,
      typeof content === "string" ? content : content.map(({ type, text, mediaType }) => text ?? mediaType ?? type),
    ]);
    return streamText({
      model: model([...text("t", JSON.stringify([id, ...sent])), finish("stop")]),
      prompt: "hi",
    }).toUIMessageStream();
  },

  failing: async () =>
    streamText({
      model: model([...text("t", "Half of "), { type: "error", error: new Error("no memory") }]),
      prompt: "hi",
      onError() {},
    }).toUIMessageStream({ onError: ({ message }) => `the server has ${message}` }),

  slow: async (_, signal) =>
    streamText({
      model: new MockLanguageModelV4({
        doStream: async () => ({
          stream: simulateReadableStream({
            chunks: text("t", ...Array.from({ length: 10_000 }, (_, n) => `${n} `)),
            chunkDelayInMs: 20,
          }),
        }),
      }),
      prompt: "hi",
      abortSignal: signal,
      onAbort: () => console.log("stopped"),
    }).toUIMessageStream(),

  // A tool that a person must approve.
  refunds: async ({ messages }) => {
    const modelMessages = await convertToModelMessages(messages);
    const tools = {
      refund: tool({
        inputSchema: input("number", "euros"),
        needsApproval: true,
        execute: async ({ euros }) => `refunded ${euros} euros`,
      }),
    };
    const isAnswered = hasResult(modelMessages);
    return streamText({
      model: isAnswered
        ? model([...text("u", "Thank you."), finish("stop")])
        : model([...call("refund", '{"euros":40}'), finish("tool-calls")]),
      messages: modelMessages,
      tools,
      stopWhen: stepCountIs(5),
    }).toUIMessageStream();
  },
};

const server = createServer(async (request, response) => {
  const closed = new AbortController();
  response.on("close", () => response.writableFinished || closed.abort());
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = JSON.parse(Buffer.concat(chunks).toString());
  const route = routes[request.url.replace("/api/", "")];
  if (!route) return response.writeHead(404).end();
  return sendStream({ response, stream: await route(body, closed.signal) });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
