// `openai` of npm, Responses in the background: started, resumed and stopped by the stock SDK.
// Node.js may take a broken stream for one that is over: what has no end event is not whole.

import OpenAI from "openai";

const ENDS = ["completed", "incomplete", "failed", "cancelled"].map((end) => `response.${end}`);

export async function run(story) {
  const client = new OpenAI({ baseURL: `${story.url}/v1`, apiKey: story.token, maxRetries: 0 });
  let [text, id, last] = ["", null, null];
  let stream = await client.responses.create({
    model: "wordy",
    input: story.question,
    background: true,
    stream: true,
  });
  for (;;) {
    try {
      let isWhole = false;
      for await (const event of stream) {
        isWhole ||= ENDS.includes(event.type);
        last = event.sequence_number;
        if (event.type === "response.created") id = event.response.id;
        if (event.type !== "response.output_text.delta") continue;
        text += event.delta;
        const due = story.tell("piece", null, event.delta);
        if (due && story.scenario === "stop") await client.responses.cancel(id);
      }
      if (!isWhole) throw new Error("over, without an end");
      return story.tell("text", null, text);
    } catch (error) {
      story.end(error);
      stream = await client.responses.retrieve(id, { stream: true, starting_after: last });
    }
  }
}
