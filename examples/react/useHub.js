// Four React hooks for the hub. Create the hub once, outside of components.
import { useEffect, useState, useSyncExternalStore } from "react";

// { state: "connecting" | "live" | "reconnecting" | "closed", reason, retryAt, … }
export function useHubState(hub) {
  return useSyncExternalStore((onChange) => hub.on("state", onChange), () => hub.state);
}

// Returns the notifications that arrived while the component was mounted, newest first.
export function useNotifications(hub) {
  const [notifications, setNotifications] = useState([]);
  useEffect(() => hub.on("notification", ({ data }) => setNotifications((others) => [data, ...others])), [hub]);
  return notifications;
}

const QUEUED = { text: "", status: "queued", error: null };

// Shows one answer at a time. storageKey: where this tab stores the generation id for a reload.
export function useAnswer(hub, storageKey) {
  const [answer, setAnswer] = useState(null);
  const [view, setView] = useState({ ...QUEUED, status: null });

  function start(newAnswer) {
    setAnswer(newAnswer);
    setView(QUEUED);
  }

  useEffect(() => {
    const generation = sessionStorage.getItem(storageKey);
    if (generation) start(hub.join(generation));
  }, [hub, storageKey]);

  useEffect(() => {
    if (!answer) return undefined;
    let isCurrent = true; // false after another answer was started, or the component was unmounted
    async function follow() {
      const generation = await answer.accepted;
      if (isCurrent) sessionStorage.setItem(storageKey, generation);
      for await (const { text, status } of answer) {
        if (!isCurrent) return;
        setView({ text, status, error: null });
      }
    }
    follow().catch((error) => isCurrent && setView({ text: answer.text, status: "failed", error }));
    return () => {
      isCurrent = false;
    };
  }, [storageKey, answer]);

  return {
    ...view,
    ask: (prompt) => start(hub.ask(prompt)),
    stop: () => answer.stop().catch((error) => setView((current) => ({ ...current, error }))),
    restart: () => start(answer.restart()),
  };
}

// The inbox of the user: { counts, items, hasMore, error, loadMore }. counts and items are the same in all tabs and devices.
export function useInbox(hub) {
  const counts = useSyncExternalStore((onChange) => hub.inbox.on("counts", onChange), () => hub.inbox.counts);
  const [list, setList] = useState(null);
  const [state, setState] = useState({ items: [], hasMore: false, error: null });

  useEffect(() => {
    let opened = null;
    let isCurrent = true; // false after the component was unmounted
    hub.inbox.open({ limit: 20 }).then((newList) => {
      if (!isCurrent) return newList.close();
      opened = newList;
      setList(newList);
      setState(newList.state);
      newList.on(setState);
    });
    return () => {
      isCurrent = false;
      opened?.close();
    };
  }, [hub]);

  return { counts, ...state, loadMore: () => list?.loadMore() };
}
