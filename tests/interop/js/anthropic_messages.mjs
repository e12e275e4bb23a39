// `@anthropic-ai/sdk` of npm: the unchanged SDK with another base URL.
// Node.js may report a broken stream as ended: an answer without `message_stop` is incomplete.

import Anthropic from "@anthropic-ai/sdk";

export async function run(scenario) {
  const client = new Anthropic({ baseURL: scenario.url, apiKey: scenario.token, maxRetries: 0 });
  let [text, isComplete] = ["", false];
  try {
    const stream = await client.messages.create({
      model: "wordy",
      max_tokens: 1024,
      messages: [{ role: "user", content: scenario.prompt }],
      stream: true,
      ...(scenario.name === "stop" ? { on_disconnect: "stop" } : {}),
    });
    for await (const event of stream) {
      isComplete ||= event.type === "message_stop";
      if (event.type !== "content_block_delta") continue;
      text += event.delta.text;
      if (!scenario.report("part", null, event.delta.text) || scenario.name !== "stop") continue;
      isComplete = true; // disconnect: this stops the answer
      break;
    }
    if (!isComplete) throw new Error("ended without message_stop");
  } catch (error) {
    scenario.reportEnd(error);
  }
  scenario.report("text", null, text);
}
