// `openai` of npm, chat completions: the SDK and its parser as they are, another base URL.
// Node.js may take a broken stream for one that is over: what has no finish_reason is not whole.

import OpenAI from "openai";

export async function run(story) {
  const client = new OpenAI({ baseURL: `${story.url}/v1`, apiKey: story.token, maxRetries: 0 });
  let [text, isWhole] = ["", false];
  try {
    const stream = await client.chat.completions.create({
      model: "wordy",
      messages: [{ role: "user", content: story.question }],
      stream: true,
      ...(story.scenario === "stop" ? { on_disconnect: "stop" } : {}),
    });
    for await (const chunk of stream) {
      isWhole ||= Boolean(chunk.choices[0]?.finish_reason);
      const piece = chunk.choices[0]?.delta?.content;
      if (!piece) continue;
      text += piece;
      if (!story.tell("piece", null, piece) || story.scenario !== "stop") continue;
      isWhole = true; // it has what it wants, and hangs up
      break;
    }
    if (!isWhole) throw new Error("over, without an end");
  } catch (error) {
    story.end(error);
  }
  story.tell("text", null, text);
}
