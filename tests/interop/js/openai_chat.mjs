// `openai` of npm, chat completions: the SDK and its parser as they are, another base URL.

import OpenAI from "openai";

export async function run(story) {
  const client = new OpenAI({ baseURL: `${story.url}/v1`, apiKey: story.token, maxRetries: 0 });
  let text = "";
  try {
    const stream = await client.chat.completions.create({
      model: "wordy",
      messages: [{ role: "user", content: story.question }],
      stream: true,
      ...(story.scenario === "stop" ? { on_disconnect: "stop" } : {}),
    });
    for await (const chunk of stream) {
      const piece = chunk.choices[0]?.delta?.content;
      if (!piece) continue;
      text += piece;
      if (story.tell("piece", null, piece) && story.scenario === "stop") break; // it hangs up
    }
  } catch (error) {
    story.end(error);
  }
  story.tell("text", null, text);
}
