// `@ag-ui/client`: HttpAgent gets the interrupts of an answer, and resumes them with new runs.
// Arguments: the URL of the hub, a token, a list of first answers. Prints what was seen with each.

import { HttpAgent } from "@ag-ui/client";

const [url, token, firstAnswers] = process.argv.slice(2);

async function resumeWith(first) {
  const agent = new HttpAgent({ url: `${url}/v1/agui`, headers: { Authorization: `Bearer ${token}` } });
  agent.setMessages([{ id: "q", role: "user", content: "refund?" }]);
  const answers = [first, { status: "resolved", payload: "Thanks!" }];
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
  return { requested, messages: agent.messages };
}

const seen = await Promise.all(JSON.parse(firstAnswers).map(resumeWith));
console.log(JSON.stringify(seen));
process.exit(0);
