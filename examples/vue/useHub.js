// The hub in Vue: two composables. Hub and Answer have private fields, which a deep proxy would
// hide: hold them in a plain variable or a shallowRef, never in ref() or reactive().
import { connect } from "hub-client";
import { onScopeDispose, ref, shallowRef } from "vue";

// One connection, for as long as the component (or the scope) lives.
export function useHub(options) {
  const hub = connect(options);
  const state = shallowRef(hub.state);
  const notifications = ref([]);
  hub.on("state", (now) => (state.value = now));
  hub.on("notification", ({ data }) => notifications.value.unshift(data));
  onScopeDispose(() => hub.close());
  return { hub, state, notifications };
}

// One answer at a time. storedAs: under which name this tab keeps which one it was, for a reload.
export function useAnswer(hub, storedAs) {
  const text = ref("");
  const status = ref(null); // queued, running, done, stopped, failed
  const error = shallowRef(null);
  let answer = null;

  async function show(begun) {
    answer = begun;
    text.value = "";
    status.value = "queued";
    error.value = null;
    try {
      const generation = await begun.accepted;
      if (answer === begun) sessionStorage.setItem(storedAs, generation);
      for await (const step of begun) {
        if (answer !== begun) return; // another was asked for, or the component is gone
        text.value = step.text;
        status.value = step.status;
      }
    } catch (fault) {
      if (answer !== begun) return;
      status.value = "failed";
      error.value = fault;
    }
  }

  onScopeDispose(() => (answer = null));
  const generation = sessionStorage.getItem(storedAs);
  if (generation) show(hub.join(generation));

  return {
    text,
    status,
    error,
    ask: (question) => show(hub.ask(question)),
    stop: () => answer.stop().catch((fault) => (error.value = fault)),
    restart: () => show(answer.restart()),
  };
}
