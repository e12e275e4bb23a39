// `@ai-sdk/workflow`: its transport resumes by itself from the last received chunk.

import { WorkflowChatTransport } from "@ai-sdk/workflow/client";
import { generate } from "./ai_chat.mjs";

export function run(scenario) {
  let run;
  const transport = new WorkflowChatTransport({
    api: `${scenario.url}/v1/ui/chat`,
    fetch: (url, init) => fetch(url, { ...init, headers: { ...init?.headers, ...scenario.headers } }),
    onChatSendMessage: (response) => (run = response.headers.get("x-workflow-run-id")),
  });
  return generate(scenario, transport, () => run);
}
