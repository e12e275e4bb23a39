// `@ai-sdk/react` and `ai`: useChat in a page that keeps its messages over a reload.
// Query: ?chat=…&token=…; with &ended=too, the page also receives an answer that has ended meanwhile.

import { useChat } from "@ai-sdk/react";
import { DefaultChatTransport } from "ai";
import { StrictMode, useEffect } from "react";
import { createRoot } from "react-dom/client";
import { textOf } from "./ai_chat.mjs";

const given = new URLSearchParams(location.search);
const chat = given.get("chat");
const api = "/v1/ui/chat";
const headers = { Authorization: `Bearer ${given.get("token")}` };
const byIndex = ({ id }) => ({ api: `${api}/${id}/stream?startIndex=0` });
const transport = new DefaultChatTransport({
  api,
  headers,
  body: { model: "wordy" },
  prepareReconnectToStreamRequest: given.get("ended") === "too" ? byIndex : undefined,
});
const kept = JSON.parse(sessionStorage.getItem(chat) ?? "[]");
const end = () => fetch(`${api}/${chat}`, { method: "DELETE", headers });

window.shown = []; // for the test: every state of the screen, in order
window.finished = []; // and how each response ended

function Page() {
  const { messages, status, sendMessage, regenerate, stop, resumeStream } = useChat({
    id: chat,
    messages: kept,
    resume: true,
    transport,
    onFinish: ({ isAbort, isDisconnect, isError }) =>
      window.finished.push({ isAbort, isDisconnect, isError }),
  });
  useEffect(() => {
    sessionStorage.setItem(chat, JSON.stringify(messages));
    const texts = messages.map(textOf);
    window.shown.push({ status, texts, metadata: messages.at(-1)?.metadata });
  }, [messages, status]);
  return (
    <>
      {messages.map((message) => <p key={message.id}>{textOf(message)}</p>)}
      <button onClick={() => sendMessage({ text: "Say it, and wait" })}>Ask</button>
      <button onClick={end}>Stop</button>
      <button onClick={() => regenerate()}>Again</button>
      <button onClick={stop}>Disconnect</button>
      <button onClick={() => resumeStream()}>Resume</button>
      <output>{status}</output>
    </>
  );
}

createRoot(document.querySelector("main")).render(<StrictMode><Page /></StrictMode>);
