// The list of notifications: every event that is not a system event, newest first.

const MAX_ITEMS = 200;

export class NotificationList {
  // onAdd(title, isNew): called after a notification was added
  constructor(root, { onAdd }) {
    Object.assign(this, { root, onAdd });
  }

  // receivedAt: in milliseconds since 1970; undefined if it arrived before this tab was open.
  add(name, data, receivedAt, isNew) {
    const item = document.createElement("li");
    item.dataset.testid = "notification";
    const { title, text, url, rest } = parseNotification(name, data);
    item.append(createElement("strong", title), createTime(receivedAt));
    if (text) item.append(createElement("p", text));
    if (url) item.append(createAnchor(url));
    if (rest) item.append(createElement("code", rest));
    if (name !== "notification") item.append(createElement("span", name));
    this.root.prepend(item);
    if (this.root.children.length > MAX_ITEMS) this.root.lastElementChild.remove();
    this.onAdd(title, isNew);
  }
}

// Returns the fields title, text (or body) and url if the data has them, and all other fields as JSON.
function parseNotification(name, data) {
  if (data === null || typeof data !== "object" || Array.isArray(data)) return { title: toText(data) };
  const { title, body, text = body, url, ...others } = data;
  if (body !== undefined && body !== text) others.body = body;
  if (url !== undefined && !isWebUrl(url)) others.url = url;
  const webUrl = isWebUrl(url) ? url : "";
  const rest = Object.keys(others).length ? JSON.stringify(others) : "";
  if (title !== undefined) return { title: toText(title), text: text === undefined ? "" : toText(text), url: webUrl, rest };
  return { title: text === undefined ? name : toText(text), url: webUrl, rest };
}

// A javascript: URL would run as a script of this page.
function isWebUrl(url) {
  return typeof url === "string" && /^https?:\/\//i.test(url);
}

function createAnchor(url) {
  return Object.assign(createElement("a", url), { href: url, target: "_blank", rel: "noopener noreferrer" });
}

function toText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function createTime(receivedAt) {
  const time = createElement("time", "earlier");
  if (receivedAt === undefined) return time;
  const date = new Date(receivedAt);
  time.dateTime = date.toISOString();
  time.textContent = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  return time;
}

function createElement(tag, text) {
  return Object.assign(document.createElement(tag), { textContent: text });
}
