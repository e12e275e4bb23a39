// The list of notifications: every event that is not the hub's own, newest first.

const MOST = 200;

export class NoteList {
  // onAdd(title, isNews): what a new one says
  constructor(root, { onAdd }) {
    Object.assign(this, { root, onAdd });
  }

  // at: when it came, as milliseconds; undefined for one that came before this tab was there.
  add(name, data, at, isNews) {
    const item = document.createElement("li");
    item.dataset.testid = "notification";
    const { title, text, rest } = read(name, data);
    item.append(element("strong", title), timeElement(at));
    if (text) item.append(element("p", text));
    if (rest) item.append(element("code", rest));
    if (name !== "notification") item.append(element("span", name));
    this.root.prepend(item);
    if (this.root.children.length > MOST) this.root.lastElementChild.remove();
    this.onAdd(title, isNews);
  }
}

// title and text where there are such fields, the JSON of all others.
function read(name, data) {
  if (data === null || typeof data !== "object" || Array.isArray(data)) {
    return { title: typeof data === "string" ? data : JSON.stringify(data) };
  }
  const { title, text, ...others } = data;
  const rest = Object.keys(others).length ? JSON.stringify(others) : "";
  const said = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  if (title !== undefined) return { title: said(title), text: text === undefined ? "" : said(text), rest };
  return { title: text === undefined ? name : said(text), rest };
}

function timeElement(at) {
  const time = element("time", "earlier");
  if (at === undefined) return time;
  const date = new Date(at);
  time.dateTime = date.toISOString();
  time.textContent = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  return time;
}

function element(tag, text) {
  return Object.assign(document.createElement(tag), { textContent: text });
}
