// The texts of <hub-inbox> by language. `{n}` and `{title}` are replaced. A page adds a language to LABELS, or replaces
// some texts of one element with its property `labels`.

export const LABELS = {
  en: {
    title: "Notifications",
    unread: "{n} unread",
    unseen: "{n} new",
    itemUnread: "Unread",
    markRead: "Mark as read",
    markUnread: "Mark as unread",
    markAllRead: "Mark all as read",
    archive: "Archive",
    close: "Close",
    more: "Load more",
    loading: "Loading…",
    empty: "No notifications",
    emptyHint: "New notifications appear here.",
    error: "The notifications could not be loaded.",
    retry: "Try again",
    failed: "The change could not be saved.",
    arrived: "New notification: {title}",
    arrivedMany: "{n} new notifications",
    archived: "Archived: {title}",
    allRead: "All notifications are read.",
  },
  zh: {
    title: "通知",
    unread: "{n} 条未读",
    unseen: "{n} 条新通知",
    itemUnread: "未读",
    markRead: "标记为已读",
    markUnread: "标记为未读",
    markAllRead: "全部标记为已读",
    archive: "归档",
    close: "关闭",
    more: "加载更多",
    loading: "正在加载…",
    empty: "没有通知",
    emptyHint: "新通知会显示在这里。",
    error: "无法加载通知。",
    retry: "重试",
    failed: "更改未能保存。",
    arrived: "新通知：{title}",
    arrivedMany: "{n} 条新通知",
    archived: "已归档：{title}",
    allRead: "所有通知均已读。",
  },
};

// Returns the texts for a language tag such as `zh-CN`: those of the tag, of its language, or of English.
export function labelsFor(language) {
  const tag = language.toLowerCase();
  const name = [tag, tag.split("-")[0], "en"].find((each) => Object.hasOwn(LABELS, each));
  return { ...LABELS.en, ...LABELS[name] };
}

// Replaces `{name}` in a text.
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

// The language of an element: its own `lang`, or that of an ancestor, also outside of shadow trees.
export function languageOf(element) {
  for (let node = element; node; node = node.getRootNode().host) {
    const { lang } = node.closest("[lang]") ?? {};
    if (lang) return lang;
  }
  return navigator.language ?? "en";
}
