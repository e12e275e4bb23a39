// Typical use of hub.js. test_package.py compiles it with tsc --strict; nothing runs it.
import { connectBackend, GenerationStopped, type ProducedAnswer } from "@ssehub/client/backend";
import { Answer, connect, type HubError, type State } from "@ssehub/client";
import { HubInbox } from "@ssehub/client/hub-inbox";

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

export function follow(answer: Answer): () => void {
  return answer.onInput(async ({ prompt, options, respond, settled, expiresAt }) => {
    if (Date.now() < expiresAt && options !== null) await respond(confirm(prompt) ? options[0] : options[1]);
    const { state, by } = await settled;
    console.log(state === "received" ? by : state);
  });
}

export async function approve(generation: string): Promise<string> {
  await hub.steer(generation, { role: "user", content: "in English" });
  return (await hub.respond(generation, "refund", { amount: 40 })).by;
}

export function describe(error: HubError): string {
  return error.isRetryable ? `later: ${error.retryAfterSeconds}` : error.message;
}

// @ts-expect-error there is no such state
const never: State["state"] = "offline";
// @ts-expect-error an input has a key
hub.respond("g1", { amount: 40 });
// @ts-expect-error a request is a string or an object
hub.ask(7);
// @ts-expect-error answers are created by ask, join and restart
new Answer();

const backend = connectBackend("http://hub.internal:8081", { key: "k" });

async function produce(answer: ProducedAnswer): Promise<number> {
  const response = await fetch("https://handbook.example", { signal: answer.signal });
  await answer.write({ type: "status", text: "Searching" });
  await answer.write(await response.text(), { checkpoint: { page: answer.attempt } });
  return response.status;
}

export const status: Promise<number | null> = backend
  .generation({ user: "alice", messages: "why?", lease_seconds: 60 }, produce)
  .catch((error) => (error instanceof GenerationStopped && error.by ? null : -1));
backend.worker("support", async (job, answer) => answer.write(job.prompt), { max_running: 2 });
// @ts-expect-error a part has a type
backend.generation({ user: "alice" }, (answer) => answer.write({ text: "a" }));

off();
void never;

const list = await hub.inbox.open<Note>({ category: "exports", limit: 20 });
const stopList: () => void = list.on(({ items, hasMore, error }) => console.log(items[0]?.data.title, hasMore, error?.code));
hub.inbox.on("counts", ({ unread, topic_unread }) => console.log(unread + topic_unread));
hub.inbox.on<Note>("item", ({ item }) => console.log(item.data.title));
await hub.inbox.read({ up_to: list.state.items[0].id });
await hub.inbox.setPreferences({ muted: { inbox: ["ads"], push: [] } });
// @ts-expect-error: there is no such change
await hub.inbox.remove("id");

const bell = document.querySelector("hub-inbox");
if (bell) {
  bell.hub = hub;
  bell.labels = { title: "Messages" };
  bell.addEventListener("item-open", (event) => event.preventDefault());
  HubInbox.LABELS.de = { title: "Mitteilungen" };
  stopList();
}
