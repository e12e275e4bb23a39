// `openai` of npm with chat completions: the unchanged SDK with another base URL.
// Node.js may report a broken stream as ended: an answer without finish_reason is incomplete.

import OpenAI from "openai";

export async function run(scenario) {
  const client = new OpenAI({ baseURL: `${scenario.url}/v1`, apiKey: scenario.token, maxRetries: 0 });
  let [text, isComplete] = ["", false];
  try {
    const stream = await client.chat.completions.create({
      model: "wordy",
      messages: [{ role: "user", content: scenario.prompt }],
      stream: true,
      ...(scenario.name === "stop" ? { on_disconnect: "stop" } : {}),
    });
    for await (const chunk of stream) {
      isComplete ||= Boolean(chunk.choices[0]?.finish_reason);
      const part = chunk.choices[0]?.delta?.content;
      if (!part) continue;
      text += part;
      if (!scenario.report("part", null, part) || scenario.name !== "stop") continue;
      isComplete = true; // disconnect: this stops the answer
      break;
    }
    if (!isComplete) throw new Error("ended without a finish_reason");
  } catch (error) {
    scenario.reportEnd(error);
  }
  scenario.report("text", null, text);
}
