// The hub in React: three hooks. The hub itself is made once, outside of any component.
import { useEffect, useState, useSyncExternalStore } from "react";

// { state: "connecting" | "live" | "reconnecting" | "closed", reason, retryAt, … }
export function useHubState(hub) {
  return useSyncExternalStore((changed) => hub.on("state", changed), () => hub.state);
}

// Those that came while this component was there, the newest first.
export function useNotifications(hub) {
  const [heard, setHeard] = useState([]);
  useEffect(() => hub.on("notification", ({ data }) => setHeard((before) => [data, ...before])), [hub]);
  return heard;
}

const queued = { text: "", status: "queued", error: null };

// One answer at a time. storedAs: under which name this tab keeps which one it was, for a reload.
export function useAnswer(hub, storedAs) {
  const [answer, setAnswer] = useState(null);
  const [shown, setShown] = useState({ ...queued, status: null });

  function begin(begun) {
    setAnswer(begun);
    setShown(queued);
  }

  useEffect(() => {
    const generation = sessionStorage.getItem(storedAs);
    if (generation) begin(hub.join(generation));
  }, [hub, storedAs]);

  useEffect(() => {
    if (!answer) return undefined;
    let isCurrent = true; // until another is asked for, or the component is gone
    async function follow() {
      const generation = await answer.accepted;
      if (isCurrent) sessionStorage.setItem(storedAs, generation);
      for await (const { text, status } of answer) {
        if (!isCurrent) return;
        setShown({ text, status, error: null });
      }
    }
    follow().catch((error) => isCurrent && setShown({ text: answer.text, status: "failed", error }));
    return () => {
      isCurrent = false;
    };
  }, [storedAs, answer]);

  return {
    ...shown,
    ask: (question) => begin(hub.ask(question)),
    stop: () => answer.stop().catch((error) => setShown((before) => ({ ...before, error }))),
    restart: () => begin(answer.restart()),
  };
}
