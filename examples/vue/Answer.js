// A form for a question, and its answer while it streams. In a single-file component the string is
// the <template>.
import { computed, ref } from "vue";
import { useAnswer } from "./useHub.js";

export const Answer = {
  props: { hub: { type: Object, required: true }, storageKey: { type: String, required: true } },

  setup({ hub, storageKey }) {
    const prompt = ref("");
    const { text, status, error, ask, stop, restart } = useAnswer(hub, storageKey);
    const isRunning = computed(() => status.value !== null && !["done", "stopped", "failed"].includes(status.value));
    return { prompt, text, status, error, ask, stop, restart, isRunning };
  },

  template: `
    <form @submit.prevent="ask(prompt)">
      <label for="prompt">Your question</label>
      <input id="prompt" v-model="prompt" required autocomplete="off">
      <button>Ask</button>
    </form>
    <article v-if="status" aria-label="Answer">
      <!-- above the text: a button that moves while it is pressed is not clicked -->
      <button v-if="isRunning" type="button" @click="stop">Stop</button>
      <button v-else type="button" @click="restart">Restart</button>
      <small role="status">{{ status }}</small>
      <p class="text" :aria-busy="isRunning">{{ text }}</p>
      <p v-if="error" role="alert">{{ error.message }}</p>
    </article>`,
};
