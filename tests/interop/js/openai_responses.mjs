// `openai` of npm with background Responses, started, resumed and stopped by the unchanged SDK.
// Node.js may report a broken stream as ended: a response without an end event is incomplete.

import OpenAI from "openai";

const ENDS = ["completed", "incomplete", "failed", "cancelled"].map((end) => `response.${end}`);

export async function run(scenario) {
  const client = new OpenAI({ baseURL: `${scenario.url}/v1`, apiKey: scenario.token, maxRetries: 0 });
  let [text, id, last] = ["", null, null];
  let stream = await client.responses.create({
    model: "wordy",
    input: scenario.prompt,
    background: true,
    stream: true,
  });
  for (;;) {
    try {
      let isComplete = false;
      for await (const event of stream) {
        isComplete ||= ENDS.includes(event.type);
        last = event.sequence_number;
        if (event.type === "response.created") id = event.response.id;
        if (event.type !== "response.output_text.delta") continue;
        text += event.delta;
        const due = scenario.report("part", null, event.delta);
        if (due && scenario.name === "stop") await client.responses.cancel(id);
      }
      if (!isComplete) throw new Error("ended without an end event");
      return scenario.report("text", null, text);
    } catch (error) {
      scenario.reportEnd(error);
      stream = await client.responses.retrieve(id, { stream: true, starting_after: last });
    }
  }
}
