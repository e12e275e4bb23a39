// Typical use of hub.js. test_package.py compiles it with tsc --strict; nothing runs it.
import { Answer, connect, type HubError, type State } from "@ssehub/client";

interface Note { title: string }

const hub = connect({
  url: "https://hub.example",
  getToken: async ({ reason }) => (reason === "connect" ? "T" : null),
  topics: ["news"],
  store: { get: (key) => localStorage.getItem(key), set: (key, cursor) => localStorage.setItem(key, cursor) },
});

const off: () => void = hub.on<Note>("notification", ({ data, replayed }) => console.log(data.title, replayed));
hub.on("state", ({ state, retryAt }) => console.log(state === "live", retryAt ?? 0));
hub.on("*", ({ name, cursor }) => console.log(name, cursor));

export async function ask(prompt: string): Promise<string> {
  const answer: Answer = hub.ask({ messages: [{ role: "user", content: prompt }], params: { temperature: 0 } });
  for await (const { text, delta, isReplaced } of answer) console.log(isReplaced ? text : delta);
  await answer.stop();
  const again = answer.restart();
  const { usage, finishReason } = await again.ended();
  return `${usage?.completion_tokens} ${finishReason} ${again.generation ?? ""}`;
}

export function describe(error: HubError): string {
  return error.isRetryable ? `later: ${error.retryAfterSeconds}` : error.message;
}

// @ts-expect-error there is no such state
const never: State["state"] = "offline";
// @ts-expect-error a request is a string or an object
hub.ask(7);
// @ts-expect-error answers are created by ask, join and restart
new Answer();

off();
void never;
