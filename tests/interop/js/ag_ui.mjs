// `@ag-ui/client`: its HttpAgent. A second request for the same run reads the answer from its start.
// Node.js may report a broken stream as ended: a run without RUN_FINISHED or RUN_ERROR is incomplete.

import { HttpAgent } from "@ag-ui/client";

export async function run(scenario) {
  const agent = new HttpAgent({ url: `${scenario.url}/v1/agui`, headers: scenario.headers });
  const message = { id: "message", role: "user", content: scenario.prompt };
  const runId = crypto.randomUUID();
  const forwardedProps = { model: "wordy" };
  if (scenario.name === "stop") forwardedProps.on_disconnect = "stop";
  for (;;) {
    agent.setMessages([message]);
    let isComplete = false;
    const onEnd = () => {
      isComplete = true;
    };
    try {
      await agent.runAgent(
        { runId, forwardedProps },
        {
          onTextMessageContentEvent({ event }) {
            const due = scenario.report("part", null, event.delta);
            if (!due || scenario.name !== "stop") return;
            isComplete = true; // disconnect: this stops the answer
            agent.abortRun();
          },
          onRunFinishedEvent: onEnd,
          onRunErrorEvent: onEnd,
        },
      );
      if (!isComplete) throw new Error("ended without an end event");
      break;
    } catch (error) {
      scenario.reportEnd(error);
    }
  }
  scenario.report("text", null, agent.messages.at(-1).content);
}
