// `@ag-ui/client`: its HttpAgent; the same run again joins its answer from the beginning.

import { HttpAgent } from "@ag-ui/client";

export async function run(story) {
  const agent = new HttpAgent({ url: `${story.url}/v1/agui`, headers: story.headers });
  const question = { id: "question", role: "user", content: story.question };
  const runId = crypto.randomUUID();
  const forwardedProps = { model: "wordy" };
  if (story.scenario === "stop") forwardedProps.on_disconnect = "stop";
  for (;;) {
    agent.setMessages([question]);
    try {
      await agent.runAgent(
        { runId, forwardedProps },
        {
          onTextMessageContentEvent({ event }) {
            const due = story.tell("piece", null, event.delta);
            if (due && story.scenario === "stop") agent.abortRun();
          },
        },
      );
      break;
    } catch (error) {
      story.end(error);
    }
  }
  story.tell("text", null, agent.messages.at(-1).content);
}
