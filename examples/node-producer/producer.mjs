// A producer in Node.js 20 or later: streams the parts of an answer to the hub, one JSON object a line.
//
//     scripts/dev
//     node examples/node-producer/producer.mjs alice "When is my refund here?"
//
// Each window of alice shows the answer, such as http://localhost:8080/?user=alice, and can stop it.
// In production, set HUB_KEY (an API key with the scope `produce`).

const HUB = process.env.HUB_URL_OF_BACKENDS ?? "http://127.0.0.1:8081";
const headers = { Authorization: `Bearer ${process.env.HUB_KEY ?? "none-in-development"}` };
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function post(path, body, more) {
  const init = { method: "POST", duplex: "half", headers: { ...headers, ...more }, body };
  const response = await fetch(`${HUB}${path}`, init);
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return response.json();
}

// Your agent.
async function* answer(prompt) {
  yield { type: "status", text: "Looking up the order" };
  yield { type: "tool_call", id: "call_1", name: "find_order", arguments: JSON.stringify({ prompt }) };
  yield { type: "tool_result", id: "call_1", result: { number: 981, state: "returned" } };
  yield { type: "source", url: "https://example.com/refunds", title: "Refunds" };
  for (const word of ["Order ", "981 ", "is ", "back. ", "Your ", "money ", "follows [1]."]) {
    yield { type: "text", text: word };
    await sleep(100);
  }
  yield { type: "end", status: "done" };
}

// Numbers the parts; the hub publishes each line as it arrives.
async function* linesOf(parts) {
  let seq = 0;
  for await (const part of parts) yield new TextEncoder().encode(`${JSON.stringify({ seq: seq++, ...part })}\n`);
}

const [user = "alice", prompt = "When is my refund here?"] = process.argv.slice(2);
const begin = JSON.stringify({ to: { user }, producer: "external", model: "node-agent", prompt });
const { generation, lease } = await post("/generations", begin, { "Content-Type": "application/json" });
const { ack, stop } = await post(`/generations/${generation}/parts`, ReadableStream.from(linesOf(answer(prompt))), {
  "Content-Type": "application/x-ndjson",
  "Hub-Lease": lease,
});
console.log(stop ? `stopped by ${stop.by}` : `posted ${ack + 1} parts of ${generation}`);
