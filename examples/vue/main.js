import { createApp } from "vue";
import { Answer } from "./Answer.js";
import { Inbox } from "./Inbox.js";
import { useHub } from "./useHub.js";

const user = new URLSearchParams(location.search).get("user") ?? "alice";

createApp({
  components: { Answer, Inbox },

  // Only hub dev accepts a user without a token. In production pass getToken instead.
  setup: () => ({ ...useHub({ url: "http://127.0.0.1:8080", user }), user }),

  template: `
    <h1>An answer in Vue</h1>
    <p>Connection: <span role="status">{{ state.state }}</span></p>
    <Answer :hub="hub" :storage-key="'answer of ' + user" />
    <Inbox :hub="hub" />
    <section aria-labelledby="notifications-title">
      <h2 id="notifications-title">Notifications</h2>
      <ul aria-live="polite">
        <li v-for="(data, index) in notifications" :key="notifications.length - index">
          {{ data?.title ?? data }}
        </li>
      </ul>
    </section>`,
}).mount("#app");
