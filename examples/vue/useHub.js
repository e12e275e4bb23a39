// Three Vue composables for the hub. Hub and Answer have private fields, which a deep proxy cannot
// access: store them in a plain variable or a shallowRef, never in ref() or reactive().
import { connect } from "@ssehub/client";
import { onScopeDispose, ref, shallowRef } from "vue";

// Creates a hub that is closed when the component (or the scope) is disposed.
export function useHub(options) {
  const hub = connect(options);
  const state = shallowRef(hub.state);
  const notifications = ref([]);
  hub.on("state", (newState) => (state.value = newState));
  hub.on("notification", ({ data }) => notifications.value.unshift(data));
  onScopeDispose(() => hub.close());
  return { hub, state, notifications };
}

// Shows one answer at a time. storageKey: where this tab stores the generation id for a reload.
export function useAnswer(hub, storageKey) {
  const text = ref("");
  const status = ref(null); // queued, running, waiting, done, stopped, failed
  const error = shallowRef(null);
  let answer = null;

  async function show(newAnswer) {
    answer = newAnswer;
    text.value = "";
    status.value = "queued";
    error.value = null;
    try {
      const generation = await newAnswer.accepted;
      if (answer === newAnswer) sessionStorage.setItem(storageKey, generation);
      for await (const update of newAnswer) {
        if (answer !== newAnswer) return; // another one was started, or the component was disposed
        text.value = update.text;
        status.value = update.status;
      }
    } catch (caught) {
      if (answer !== newAnswer) return;
      status.value = "failed";
      error.value = caught;
    }
  }

  onScopeDispose(() => (answer = null));
  const generation = sessionStorage.getItem(storageKey);
  if (generation) show(hub.join(generation));

  return {
    text,
    status,
    error,
    ask: (prompt) => show(hub.ask(prompt)),
    stop: () => answer.stop().catch((caught) => (error.value = caught)),
    restart: () => show(answer.restart()),
  };
}

// The inbox of the user: counts and list are the same in all tabs and devices.
export function useInbox(hub) {
  const counts = shallowRef(hub.inbox.counts);
  const list = shallowRef({ items: [], hasMore: false, error: null });
  let opened = null;
  let isDisposed = false;

  const removeListener = hub.inbox.on("counts", (newCounts) => (counts.value = newCounts));
  hub.inbox.open({ limit: 20 }).then((newList) => {
    if (isDisposed) return newList.close();
    opened = newList;
    list.value = newList.state;
    newList.on((state) => (list.value = state));
  });
  onScopeDispose(() => {
    isDisposed = true;
    removeListener();
    opened?.close();
  });

  return { counts, list, loadMore: () => opened?.loadMore() };
}
