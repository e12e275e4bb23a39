// Types of hub-inbox.js. docs/guides/inbox.md describes the element.

import type { Hub, InboxCounts, InboxItem, Options } from "./hub.js";

/** The texts of the element. `{n}` and `{title}` are replaced. */
export interface HubInboxLabels {
  /** The title of the panel and the name of the bell. */
  title: string;
  /** Added to the name of the bell: the number of unread items. */
  unread: string;
  /** The same with `count="unseen"`. */
  unseen: string;
  /** Said before the title of an unread item. */
  itemUnread: string;
  /** A button of an unread item. */
  markRead: string;
  /** A button of an item that is read. */
  markUnread: string;
  /** A button in the header. */
  markAllRead: string;
  /** A button of an item. */
  archive: string;
  /** The button that closes the panel. */
  close: string;
  /** The button for older items. */
  more: string;
  /** Shown until the items are loaded. */
  loading: string;
  /** Shown if there are no items. */
  empty: string;
  /** The second line of it. */
  emptyHint: string;
  /** Shown before the reason if the items could not be loaded. */
  error: string;
  /** The button below it. */
  retry: string;
  /** Shown before the reason if a change failed. */
  failed: string;
  /** Announced when one item arrives. */
  arrived: string;
  /** Announced when several items arrive. */
  arrivedMany: string;
  /** Announced after an item was archived. */
  archived: string;
  /** Announced after all items were marked as read. */
  allRead: string;
}

/** The element `<hub-inbox>`: a bell with the number of unread items, and a panel with them. */
export class HubInbox extends HTMLElement {
  /** The texts by language. Add a language, or change one, before the element is in a page. */
  static LABELS: Record<string, Partial<HubInboxLabels>>;
  /** The hub whose inbox is shown. Without one the element connects to the hub of the attribute `url`. */
  hub: Hub | null;
  /** As the option `getToken` of `connect`. */
  getToken: Options["getToken"];
  /** Texts that replace those of the language. */
  get labels(): HubInboxLabels;
  set labels(labels: Partial<HubInboxLabels>);
  /** Whether the panel is open. */
  open: boolean;
  /** The items that are loaded, the newest first. */
  readonly items: InboxItem[];
  /** The number that the bell shows. */
  readonly number: number;
  /** Opens the panel. */
  show(): void;
  /** Closes the panel. `focus`: whether the bell gets the focus. */
  hide(options?: { focus?: boolean }): void;
  /** Opens or closes the panel. */
  toggle(): void;
  /** Loads the items again. */
  reload(): Promise<void>;
  /** Marks all items as read; those of its category if the element has one. */
  markAllRead(): Promise<void>;
}

/** The events of the element. `item-open` can be cancelled: the page then opens the item itself. */
export interface HubInboxEventMap {
  "item-open": CustomEvent<{ item: InboxItem }>;
  counts: CustomEvent<{ counts: InboxCounts; number: number }>;
  toggle: CustomEvent<{ open: boolean }>;
}

declare global {
  interface HTMLElementTagNameMap {
    "hub-inbox": HubInbox;
  }
}
