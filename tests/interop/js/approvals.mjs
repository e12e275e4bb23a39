// `ai`, versions 6 and 7: a chat decides an approval and answers a question, as the SDK's own examples do.
// Arguments: the URL of the hub, a token, the package. Prints what was seen by the decision.

const [url, token, name] = process.argv.slice(2);
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

async function decide(decision) {
  let requests = 0;
  const transport = new sdk.DefaultChatTransport({
    api: `${url}/v1/ui/chat`,
    headers: { Authorization: `Bearer ${token}` },
    body: { model: "agent" },
    fetch: (...options) => (requests += 1, fetch(...options)),
  });
  const pauses = [];
  let resolve;
  const promise = new Promise((done) => (resolve = done));
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

  function answer(part, status) {
    if (status !== "waiting") resolve();
    else if (part.state === "approval-requested") {
      chat.addToolApprovalResponse({ id: part.approval.id, approved: decision === "approve" });
    } else chat.addToolOutput({ tool: "request_input", toolCallId: part.toolCallId, output: "Thanks!" });
  }

  await chat.sendMessage({ text: "refund?" });
  await promise;
  const [, ...answers] = chat.messages;
  return { requests, pauses, answers };
}

const decisions = ["approve", "deny"];
const seen = await Promise.all(decisions.map(decide));
console.log(JSON.stringify(Object.fromEntries(decisions.map((decision, index) => [decision, seen[index]]))));
process.exit(0);
