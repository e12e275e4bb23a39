// `ai`, versions 6 and 7: a chat decides an approval and answers a question, as the SDK's own examples do.
// Arguments: the URL of the hub, a token, the package, `approve` or `deny`.

const [url, token, name, decision] = process.argv.slice(2);
const sdk = await import(name);
const { lastAssistantMessageIsCompleteWithApprovalResponses: isDecided } = sdk;
const { lastAssistantMessageIsCompleteWithToolCalls: isComplete } = sdk;

class State {
  status = "ready";
  error = undefined;
  messages = [];
  pushMessage = (message) => void this.messages.push(message);
  popMessage = () => void this.messages.pop();
  replaceMessage = (index, message) => void (this.messages[index] = structuredClone(message));
  snapshot = (value) => structuredClone(value);
}
class Chat extends sdk.AbstractChat {
  constructor(options) {
    super({ ...options, state: new State() });
  }
}

let requests = 0;
const transport = new sdk.DefaultChatTransport({
  api: `${url}/v1/ui/chat`,
  headers: { Authorization: `Bearer ${token}` },
  body: { model: "agent" },
  fetch: (...options) => (requests += 1, fetch(...options)),
});
const pauses = [];
const { promise, resolve } = Promise.withResolvers?.() ?? deferred();
const chat = new Chat({
  id: crypto.randomUUID(),
  transport,
  sendAutomaticallyWhen: (given) => isDecided(given) || isComplete(given),
  onError: (error) => (console.error(error), process.exit(1)),
  onFinish: ({ message }) => {
    const part = message.parts.findLast((each) => each.toolCallId);
    pauses.push([part.type, part.state, message.metadata.status]);
    setTimeout(() => answer(part, message.metadata.status));
  },
});

function deferred() {
  const made = {};
  made.promise = new Promise((done) => (made.resolve = done));
  return made;
}

function answer(part, status) {
  if (status !== "waiting") resolve();
  else if (part.state === "approval-requested") {
    chat.addToolApprovalResponse({ id: part.approval.id, approved: decision === "approve" });
  } else chat.addToolOutput({ tool: "request_input", toolCallId: part.toolCallId, output: "Thanks!" });
}

await chat.sendMessage({ text: "refund?" });
await promise;
const [, ...answers] = chat.messages;
console.log(JSON.stringify({ requests, pauses, answers }));
process.exit(0);
