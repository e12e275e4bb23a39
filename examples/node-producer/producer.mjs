// A producer in Node.js 20 or later: an agent that writes the parts of an answer.
//
//     scripts/dev
//     node examples/node-producer/producer.mjs alice "When is my refund here?"
//
// Each window of alice shows the answer, such as http://localhost:8080/?user=alice, and can stop it.
// In production, set HUB_KEY (an API key with the scope `produce`).

import { setTimeout as sleep } from "node:timers/promises";
// In your project: npm install @ssehub/client, and "@ssehub/client/backend" here.
import { connectBackend, GenerationStopped } from "../../clients/javascript/backend.js";

const HUB = process.env.HUB_URL_OF_BACKENDS ?? "http://127.0.0.1:8081";
const backend = connectBackend(HUB, { key: process.env.HUB_KEY });

// Your agent. `signal` is aborted when a user stops the answer: pass it to whatever takes time.
async function* agent(prompt, signal) {
  yield { type: "status", text: "Looking up the order" };
  yield { type: "tool_call", id: "call_1", name: "find_order", arguments: JSON.stringify({ prompt }) };
  yield { type: "tool_result", id: "call_1", result: { number: 981, state: "returned" } };
  yield { type: "source", url: "https://example.com/refunds", title: "Refunds" };
  for (const word of ["Order ", "981 ", "is ", "back. ", "Your ", "money ", "follows [1]."]) {
    yield word;
    await sleep(100, undefined, { signal });
  }
}

const [user = "alice", prompt = "When is my refund here?"] = process.argv.slice(2);
try {
  await backend.generation({ user, model: "node-agent", messages: prompt }, async (answer) => {
    for await (const part of agent(prompt, answer.signal)) await answer.write(part);
    console.log(`wrote ${answer.generation}`);
  });
} catch (error) {
  const reason = error.cause ?? error; // an AbortError has the reason of the signal as its cause
  if (!(reason instanceof GenerationStopped)) throw error;
  console.log(`stopped by ${reason.by}`);
}
