// A form for a question, and its answer while it streams.
import { useState } from "react";
import { useAnswer } from "./useHub.js";

export function Answer({ hub, storageKey }) {
  const [prompt, setPrompt] = useState("");
  const { text, status, error, ask, stop, restart } = useAnswer(hub, storageKey);
  const isRunning = status !== null && !["done", "stopped", "failed"].includes(status);

  function submit(event) {
    event.preventDefault();
    ask(prompt);
  }

  return (
    <>
      <form onSubmit={submit}>
        <label htmlFor="prompt">Your question</label>
        <input id="prompt" value={prompt} onChange={(event) => setPrompt(event.target.value)}
               required autoComplete="off" />
        <button>Ask</button>
      </form>
      {status && (
        <article aria-label="Answer">
          {/* above the text: a button that moves while it is pressed is not clicked */}
          {isRunning
            ? <button type="button" onClick={stop}>Stop</button>
            : <button type="button" onClick={restart}>Restart</button>}
          <small role="status">{status}</small>
          <p className="text" aria-busy={isRunning}>{text}</p>
          {error && <p role="alert">{error.message}</p>}
        </article>
      )}
    </>
  );
}
