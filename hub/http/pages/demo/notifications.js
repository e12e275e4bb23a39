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
    const { title, text, rest } = parseNotification(name, data);
    item.append(createElement("strong", title), createTime(receivedAt));
    if (text) item.append(createElement("p", text));
    if (rest) item.append(createElement("code", rest));
    if (name !== "notification") item.append(createElement("span", name));
    this.root.prepend(item);
    if (this.root.children.length > MAX_ITEMS) this.root.lastElementChild.remove();
    this.onAdd(title, isNew);
  }
}

// Returns the fields title and text if the data has them, and all other fields as JSON.
function parseNotification(name, data) {
  if (data === null || typeof data !== "object" || Array.isArray(data)) return { title: toText(data) };
  const { title, text, ...others } = data;
  const rest = Object.keys(others).length ? JSON.stringify(others) : "";
  if (title !== undefined) return { title: toText(title), text: text === undefined ? "" : toText(text), rest };
  return { title: text === undefined ? name : toText(text), rest };
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
