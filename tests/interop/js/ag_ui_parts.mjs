// `@ag-ui/client`: prints what its HttpAgent makes of an answer with parts of every kind.
// Arguments: the URL of the hub, and a token.

import { HttpAgent } from "@ag-ui/client";

const [url, token] = process.argv.slice(2);
const agent = new HttpAgent({ url: `${url}/v1/agui`, headers: { Authorization: `Bearer ${token}` } });
agent.setMessages([{ id: "q", role: "user", content: "tea?" }]);
const seen = { custom: [], steps: [], results: [], activities: [], isFinished: false };
await agent.runAgent({ forwardedProps: { model: "agent" } }, {
  onCustomEvent: ({ event }) => void seen.custom.push([event.name, event.value]),
  onStepStartedEvent: ({ event }) => void seen.steps.push(`+${event.stepName}`),
  onStepFinishedEvent: ({ event }) => void seen.steps.push(`-${event.stepName}`),
  onToolCallResultEvent: ({ event }) => void seen.results.push([event.toolCallId, event.content]),
  onActivitySnapshotEvent: ({ event }) => void seen.activities.push([event.activityType, event.content]),
  onRunFinishedEvent: () => {
    seen.isFinished = true;
  },
});
console.log(JSON.stringify({ ...seen, messages: agent.messages, state: agent.state }));
