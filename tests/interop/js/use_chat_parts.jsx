// `@ai-sdk/react`: useChat in a page that shows every part of an answer. Query: ?token=….

import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { useState } from "react";
import { createRoot } from "react-dom/client";

const token = new URLSearchParams(location.search).get("token");
const transport = new DefaultChatTransport({
  api: "/v1/ui/chat",
  headers: { Authorization: `Bearer ${token}` },
  body: { model: "agent" },
});

function PartView({ part }) {
  const { type } = part;
  if (type === "text") return <p>{part.text}</p>;
  if (type === "reasoning") return <p>reasoning: {part.text}</p>;
  if (type === "source-url") return <p><a href={part.url}>{part.title}</a></p>;
  if (type === "file") return <p><img src={part.url} alt={part.mediaType} /></p>;
  if (type === "step-start") return <hr />;
  if (type.startsWith("tool-")) {
    return <p>{type} {part.state} {JSON.stringify(part.input)} {JSON.stringify(part.output) ?? part.errorText}</p>;
  }
  return <p>{type} {JSON.stringify(part.data)}</p>;
}

function Page() {
  const [statuses, setStatuses] = useState([]); // transient parts are in no message
  const { messages, status, sendMessage } = useChat({
    transport,
    onData: ({ type, data }) => type === "data-status" && setStatuses((all) => [...all, data.text]),
  });
  return (
    <>
      {messages.map((message) => (
        <article key={message.id}>{message.parts.map((part, n) => <PartView key={n} part={part} />)}</article>
      ))}
      <button onClick={() => sendMessage({ text: "tea?" })}>Ask</button>
      <output>{status}</output>
      <aside>{statuses.join(", ")}</aside>
    </>
  );
}

createRoot(document.querySelector("main")).render(<Page />);
