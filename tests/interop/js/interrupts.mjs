// `@ag-ui/client`: HttpAgent gets the interrupts of an answer, and resumes them with new runs.
// Arguments: the URL of the hub, a token, the status and the payload of the first answer.

import { HttpAgent } from "@ag-ui/client";

const [url, token, status, payload] = process.argv.slice(2);
const agent = new HttpAgent({ url: `${url}/v1/agui`, headers: { Authorization: `Bearer ${token}` } });
agent.setMessages([{ id: "q", role: "user", content: "refund?" }]);
const answers = [{ status, payload: JSON.parse(payload) }, { status: "resolved", payload: "Thanks!" }];
const requested = [];
let resume;
for (let isFinished = false; !isFinished; ) {
  let outcome;
  await agent.runAgent({ forwardedProps: { model: "agent" }, resume }, {
    onRunFinishedEvent: ({ event }) => void (outcome = event.outcome),
    onRunErrorEvent: ({ event }) => (console.error(event), process.exit(1)),
  });
  isFinished = outcome?.type !== "interrupt";
  if (isFinished) break;
  requested.push(...outcome.interrupts);
  resume = outcome.interrupts.map(({ id }) => ({ interruptId: id, ...answers.shift() }));
}
console.log(JSON.stringify({ requested, messages: agent.messages }));
process.exit(0);
