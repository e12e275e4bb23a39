// `@ai-sdk/workflow`: its transport asks again from the chunk it had, by itself.

import { WorkflowChatTransport } from "@ai-sdk/workflow/client";
import { ask } from "./ai_chat.mjs";

export function run(story) {
  let run;
  const transport = new WorkflowChatTransport({
    api: `${story.url}/v1/ui/chat`,
    fetch: (url, init) => fetch(url, { ...init, headers: { ...init?.headers, ...story.headers } }),
    onChatSendMessage: (response) => (run = response.headers.get("x-workflow-run-id")),
  });
  return ask(story, transport, () => run);
}
