// The inbox of the user, with components of your own. <hub-inbox> shows the same without them.
import { useInbox } from "./useHub.js";

export function Inbox({ hub }) {
  const { counts, items, hasMore, error, loadMore } = useInbox(hub);
  const unread = counts ? counts.unread + counts.topic_unread : 0;

  return (
    <section aria-labelledby="inbox-title">
      <h2 id="inbox-title">Inbox, {unread} unread</h2>
      {error && <p role="alert">{error.message}</p>}
      <ul>
        {items.map(({ id, data, read }) => (
          <li key={id}>
            {read ? data.title : <strong>{data.title}</strong>}
            {!read && <button type="button" onClick={() => hub.inbox.read(id)}>Mark as read</button>}
            <button type="button" onClick={() => hub.inbox.archive(id)}>Archive</button>
          </li>
        ))}
      </ul>
      {hasMore && <button type="button" onClick={loadMore}>Load more</button>}
    </section>
  );
}
