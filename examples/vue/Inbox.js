// The inbox of the user, with a component of your own. <hub-inbox> shows the same without one.
import { computed } from "vue";
import { useInbox } from "./useHub.js";

export const Inbox = {
  props: { hub: { type: Object, required: true } },

  setup({ hub }) {
    const { counts, list, loadMore } = useInbox(hub);
    const unread = computed(() => (counts.value ? counts.value.unread + counts.value.topic_unread : 0));
    return { unread, list, loadMore, read: (id) => hub.inbox.read(id), archive: (id) => hub.inbox.archive(id) };
  },

  template: `
    <section aria-labelledby="inbox-title">
      <h2 id="inbox-title">Inbox, {{ unread }} unread</h2>
      <p v-if="list.error" role="alert">{{ list.error.message }}</p>
      <ul>
        <li v-for="item in list.items" :key="item.id">
          <component :is="item.read ? 'span' : 'strong'">{{ item.data.title }}</component>
          <button v-if="!item.read" type="button" @click="read(item.id)">Mark as read</button>
          <button type="button" @click="archive(item.id)">Archive</button>
        </li>
      </ul>
      <button v-if="list.hasMore" type="button" @click="loadMore">Load more</button>
    </section>`,
};
