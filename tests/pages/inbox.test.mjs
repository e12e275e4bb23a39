// Tests hub.inbox and the list of inbox.js with a fake hub: which requests they send, and what they make of events.
// The clock is a fake: only tests advance it.
import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { connect } from "../../hub/http/pages/hub.js";
import "../../hub/http/pages/inbox.js"; // loaded now, so that no test waits for the file

const OPEN = { connection: "c_1", user: "alice", node: "n1", heartbeat_seconds: 8, recovered: false, replayed: 0 };

// A hub with one stream. Requests for the inbox wait until the test responds.
class FakeHub {
  requests = [];
  #stream;

  fetch = (url, { method = "GET", body, signal, keepalive }) => new Promise((resolve, reject) => {
    const { pathname, searchParams } = new URL(url, "http://hub");
    if (pathname.startsWith("/sse/")) resolve(this.#openStream(signal));
    else {
      const query = Object.fromEntries(searchParams);
      delete query.user;
      this.requests.push({
        request: `${method} ${pathname}`, query, body: body && JSON.parse(body), keepalive,
        respond: (json, status = 200) => resolve(Response.json(json, { status })),
        fail: () => reject(new TypeError("Failed to fetch")),
      });
    }
  });

  #openStream(signal) {
    const body = new ReadableStream({ start: (controller) => (this.#stream = controller) });
    signal.addEventListener("abort", () => this.#stream.error(signal.reason));
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  }

  async send(name, data, id) {
    const text = `event: ${name}\ndata: ${JSON.stringify(data)}\n${id ? `id: ${id}\n` : ""}\n`;
    this.#stream.enqueue(new TextEncoder().encode(text));
    await runCallbacks();
  }

  async next() {
    await runCallbacks();
    assert.ok(this.requests.length, "no request was sent");
    return this.requests.shift();
  }
}

async function runCallbacks() {
  for (let round = 0; round < 20; round += 1) await new Promise((resolve) => setImmediate(resolve));
}

async function tick(ms) {
  await runCallbacks();
  mock.timers.tick(ms);
  await runCallbacks();
}

const hubs = [];

async function openHub(options, at = cursor(5)) {
  const fake = new FakeHub();
  const hub = connect({ url: "http://hub", user: "alice", store: null, fetch: fake.fetch, ...options });
  hubs.push(hub);
  await runCallbacks();
  if (options?.cursor !== "start") await fake.send("hub.open", OPEN, at);
  return { fake, hub };
}

// The position `offset` in the user's channel, and one in `all`.
function cursor(offset, offsetInAll = 0) {
  return `AAAAA-${offset}*BBBBB-${offsetInAll}.`;
}

// The position in a channel that has no event yet: the first event begins another epoch.
const EMPTY = "EEEEE-0*BBBBB-0.";

function counts(offset, unread, { unseen = unread, topic_unread = 0, topic_unseen = topic_unread } = {}) {
  return { unread, unseen, topic_unread, topic_unseen, cursor: `AAAAA-${offset}.` };
}

function item(id, more = {}) {
  return {
    id, event: "notification", data: { title: id }, category: null, key: null, topic: null,
    created_at: 1, seen: false, read: false, archived: false, ...more,
  };
}

function page(offset, items, { next = null, unread = items.length, ...more } = {}) {
  return { items, next, ...counts(offset, unread, more) };
}

async function openList(options, first) {
  const { fake, hub } = await openHub();
  const opening = hub.inbox.open(options);
  const request = await fake.next();
  request.respond(first);
  const list = await opening;
  await runCallbacks();
  const ids = () => list.state.items.map(({ id }) => id);
  return { fake, hub, list, ids, request };
}

beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 }));
afterEach(() => {
  hubs.splice(0).forEach((hub) => hub.close());
  mock.timers.reset();
});

async function watchCounts(first) {
  const { fake, hub } = await openHub();
  const seen = [];
  hub.inbox.on("counts", ({ unread, topic_unread }) => seen.push(topic_unread ? [unread, topic_unread] : unread));
  await tick(0);
  const request = await fake.next();
  request.respond(first);
  await runCallbacks();
  return { fake, hub, seen, request };
}

test("the first listener of the counts requests them, and events change them", async () => {
  const { fake, hub, seen, request } = await watchCounts(counts(5, 3));
  assert.deepEqual([request.request, request.query], ["GET /inbox", { limit: "1" }]);
  await fake.send("inbox.item", { item: item("n1"), replaced: false, unread: 4, unseen: 4 }, cursor(6));
  await fake.send("inbox.changed", { items: ["n1"], change: "read", unread: 3, unseen: 3 }, cursor(7));
  assert.deepEqual(seen, [3, 4, 3]);
  assert.equal(hub.inbox.counts, hub.inbox.counts);
  assert.deepEqual(hub.inbox.counts, { unread: 3, unseen: 3, topic_unread: 0, topic_unseen: 0 });
  assert.equal(fake.requests.length, 0);
});

test("counts belong to a position: older ones change nothing, whichever way they come", async () => {
  const { fake, hub, seen } = await watchCounts(counts(8, 3));
  for (const offset of [6, 7]) {
    await fake.send("inbox.changed", { items: [], change: "read", unread: 9, unseen: 9 }, cursor(offset, offset));
  }
  await fake.send("inbox.item", { item: item("n1"), replaced: false, unread: 5, unseen: 5 }, cursor(9, 7));
  const late = hub.inbox.list();
  (await fake.next()).respond(page(8, [], { unread: 1 }));
  await late;
  assert.deepEqual(seen, [3, 5]);
});

test("an event shows the user's own counts before the first response, also if that never comes", async () => {
  const { fake, hub } = await openHub();
  const seen = [];
  hub.inbox.on("counts", (known) => seen.push(known));
  await tick(0);
  const request = await fake.next();
  await fake.send("inbox.item", { item: item("9-0"), replaced: false, unread: 1, unseen: 1 }, cursor(6));
  assert.deepEqual(seen, [{ unread: 1, unseen: 1, topic_unread: 0, topic_unseen: 0 }]);
  request.respond(counts(5, 0, { topic_unread: 2 }));
  await runCallbacks();
  assert.deepEqual(seen.at(-1), { unread: 1, unseen: 1, topic_unread: 2, topic_unseen: 2 });
});

test("the first event of a user counts, whenever the response to an earlier request arrives", async () => {
  const { fake, hub } = await openHub({}, EMPTY);
  const seen = [];
  hub.inbox.on("counts", ({ unread }) => seen.push(unread));
  await tick(0);
  const request = await fake.next();
  await fake.send("inbox.item", { item: item("9-0"), replaced: false, unread: 1, unseen: 1 }, cursor(2));
  request.respond({ ...counts(0, 0), cursor: "EEEEE-0." });
  await runCallbacks();
  assert.deepEqual(seen, [1]);
});

test("a response at the present position counts: items expire without an event", async () => {
  const { fake, hub, seen } = await watchCounts(counts(5, 3));
  const again = hub.inbox.refresh();
  (await fake.next()).respond(counts(5, 2));
  assert.equal((await again).unread, 2);
  assert.deepEqual(seen, [3, 2]);
});

test("requests for the inbox wait until the position of the tab is known", async () => {
  const fake = new FakeHub();
  const hub = connect({ url: "http://hub", user: "alice", store: null, fetch: fake.fetch });
  hubs.push(hub);
  const listing = hub.inbox.list({ category: "exports", unread: true, before: null, limit: 20 });
  await runCallbacks();
  assert.equal(fake.requests.length, 0);
  await fake.send("hub.open", OPEN, cursor(5));
  const request = await fake.next();
  assert.deepEqual(request.query, { category: "exports", unread: "true", limit: "20" });
  request.respond(page(5, [item("n1")]));
  assert.deepEqual((await listing).items.map(({ id }) => id), ["n1"]);
});

test("changes are sent with an id, a list of ids, a position or a category", async () => {
  const { fake, hub } = await openHub();
  const selections = [["n1", { items: ["n1"] }], [["n1", "n2"], { items: ["n1", "n2"] }], [{ up_to: "n3" }, { up_to: "n3" }], [{ category: "exports" }, { category: "exports" }]];
  for (const change of ["read", "unread", "seen", "archive", "unarchive", "delete"]) {
    for (const [selection, body] of selections) {
      const changing = hub.inbox[change](selection);
      const request = await fake.next();
      assert.deepEqual([request.request, request.body, request.keepalive], [`POST /inbox/${change}`, body, true]);
      request.respond(counts(9, 1));
      assert.equal((await changing).unread, 1);
    }
  }
});

test("a change whose response was lost is sent again; one that the hub refuses is not", async () => {
  const { fake, hub } = await openHub();
  const lost = hub.inbox.read("n1");
  (await fake.next()).fail();
  await tick(500);
  (await fake.next()).respond(counts(9, 1));
  await lost;
  const refused = hub.inbox.read("none");
  (await fake.next()).respond({ detail: "no", code: "item_unknown" }, 404);
  await assert.rejects(refused, { code: "item_unknown" });
});

test("subscriptions and preferences", async () => {
  const { fake, hub } = await openHub();
  const muted = { inbox: ["ads"], push: [] };
  const calls = [
    [() => hub.inbox.subscriptions(), "GET /inbox/subscriptions", undefined, { topics: ["news"] }, ["news"]],
    [() => hub.inbox.setSubscriptions(["news"]), "PUT /inbox/subscriptions", { topics: ["news"] }, { topics: ["news"] }, ["news"]],
    [() => hub.inbox.preferences(), "GET /inbox/preferences", undefined, { muted }, { muted }],
    [() => hub.inbox.setPreferences({ muted }), "PUT /inbox/preferences", { muted }, { muted }, { muted }],
  ];
  for (const [call, name, body, response, result] of calls) {
    const calling = call();
    const request = await fake.next();
    assert.deepEqual([request.request, request.body], [name, body]);
    request.respond(response);
    assert.deepEqual(await calling, result);
  }
});

test("many events of topics cause one request, after a random delay; later ones rarer while nothing changes", async () => {
  const { fake, seen } = await watchCounts(counts(5, 3));
  for (let offset = 1; offset < 10; offset += 1) await fake.send("notification", {}, cursor(5, offset));
  await tick(1999);
  assert.equal(fake.requests.length, 0);
  await tick(2001);
  (await fake.next()).respond(counts(5, 3, { topic_unread: 1 }));
  await runCallbacks();
  assert.deepEqual(seen, [3, [3, 1]]);
  for (const delay of [4000, 8000, 16_000]) {
    await fake.send("notification", {}, cursor(5, `Z${delay}`));
    await tick(delay / 2 - 1);
    assert.equal(fake.requests.length, 0);
    await tick(delay / 2 + 1);
    (await fake.next()).respond(counts(5, 3, { topic_unread: 1 }));
    await runCallbacks();
  }
});

test("a change of items of topics in another tab causes a request at once; one of the user's own items does not", async () => {
  const { fake, seen } = await watchCounts(counts(5, 3, { topic_unread: 2 }));
  await fake.send("inbox.changed", { items: ["1-0"], change: "read", unread: 2, unseen: 2 }, cursor(6));
  await tick(10_000);
  assert.equal(fake.requests.length, 0);
  for (const [offset, id] of [[7, "2-0~abcdef"], [8, "3-0*"]]) {
    await fake.send("inbox.changed", { items: ["1-0", id], change: "read", unread: 2, unseen: 2 }, cursor(offset));
    await tick(0);
    (await fake.next()).respond(counts(offset, 2, { topic_unread: 9 - offset }));
    await runCallbacks();
  }
  assert.deepEqual(seen, [[3, 2], [2, 2], [2, 1]]);
});

test("events of the user, of generations and of the hub cause no request", async () => {
  const { fake } = await watchCounts(counts(5, 3));
  await fake.send("notification", {}, cursor(6));
  await fake.send("generation.delta", { generation: "g", i: 0, text: "a" }, cursor(6, 1));
  await fake.send("presence.joined", {}, cursor(6, 2));
  await tick(10_000);
  assert.equal(fake.requests.length, 0);
});

test("a hidden page requests the counts of topics once it is visible", async () => {
  const document = Object.assign(new EventTarget(), { hidden: true });
  Object.defineProperty(globalThis, "document", { value: document, configurable: true });
  try {
    const { fake } = await watchCounts(counts(5, 3));
    await fake.send("notification", {}, cursor(5, 1));
    await tick(10_000);
    assert.equal(fake.requests.length, 0);
    document.hidden = false;
    document.dispatchEvent(new Event("visibilitychange"));
    await tick(0);
    (await fake.next()).respond(counts(5, 3));
  } finally {
    delete globalThis.document;
  }
});

test("after a reset the counts are requested, and those of the new log count", async () => {
  const { fake, seen } = await watchCounts(counts(5, 3));
  await fake.send("hub.reset", { channel: "user:alice", reason: "epoch" });
  await tick(0);
  (await fake.next()).respond({ ...counts(0, 7), cursor: "CCCCC-1." });
  await runCallbacks();
  await fake.send("inbox.changed", { items: [], change: "read", unread: 6, unseen: 6 }, "CCCCC-2*BBBBB-0.");
  assert.deepEqual(seen, [3, 7, 6]);
});

test("the counts are requested again when the hub did not respond, and not after a refusal", async () => {
  const { fake, hub } = await openHub();
  hub.inbox.on("counts", () => {});
  await tick(0);
  (await fake.next()).fail();
  await tick(500);
  (await fake.next()).respond({ detail: "no" }, 403);
  await tick(60_000);
  assert.equal(fake.requests.length, 0);
});

test("a list begins with the newest items and loads older ones", async () => {
  const { fake, list, ids, request } = await openList({ limit: 2 }, page(5, [item("n4"), item("n3")], { next: "n3" }));
  assert.deepEqual(request.query, { archived: "false", limit: "2" });
  assert.deepEqual([ids(), list.state.hasMore], [["n4", "n3"], true]);
  const loading = list.loadMore();
  const more = await fake.next();
  assert.deepEqual(more.query, { archived: "false", limit: "2", before: "n3" });
  more.respond(page(5, [item("n2"), item("n1")]));
  await loading;
  assert.deepEqual([ids(), list.state.hasMore, list.state.isLoading], [["n4", "n3", "n2", "n1"], false, false]);
});

test("a list follows new, replaced and changed items", async () => {
  const { fake, list, ids } = await openList({}, page(5, [item("n2", { key: "job" }), item("n1")]));
  const states = [];
  list.on((state) => states.push(state));
  await fake.send("inbox.item", { item: item("n3"), replaced: false, unread: 3, unseen: 3 }, cursor(6));
  assert.deepEqual(ids(), ["n3", "n2", "n1"]);
  await fake.send("inbox.item", { item: item("n4", { key: "job" }), replaced: true, unread: 3, unseen: 3 }, cursor(7));
  assert.deepEqual(ids(), ["n4", "n3", "n1"]);
  await fake.send("inbox.changed", { items: ["n3"], change: "read", unread: 2, unseen: 2 }, cursor(8));
  assert.deepEqual(list.state.items.map(({ read, seen }) => [read, seen]), [[false, false], [true, true], [false, false]]);
  await fake.send("inbox.changed", { items: ["n4", "n3"], change: "archive", unread: 1, unseen: 1 }, cursor(9));
  assert.deepEqual(ids(), ["n1"]);
  assert.equal(new Set(states.map(({ items }) => items)).size, 4);
});

test("a change of this tab is shown when its response arrives, and its event changes nothing", async () => {
  const { fake, hub, list } = await openList({}, page(5, [item("n2"), item("n1")]));
  const reading = hub.inbox.read({ up_to: "n2" });
  (await fake.next()).respond(counts(6, 0));
  await reading;
  assert.deepEqual(list.state.items.map(({ read }) => read), [true, true]);
  await fake.send("inbox.changed", { items: ["n2", "n1"], change: "read", unread: 0, unseen: 0 }, cursor(6));
  assert.deepEqual(list.state.items.map(({ read }) => read), [true, true]);
});

test("events that arrive while a page is requested are applied if they are newer than the page", async () => {
  const { fake, hub } = await openHub();
  const opening = hub.inbox.open();
  const request = await fake.next();
  await fake.send("inbox.item", { item: item("n1"), replaced: false, unread: 1, unseen: 1 }, cursor(6));
  await fake.send("inbox.changed", { items: ["n1"], change: "archive", unread: 0, unseen: 0 }, cursor(7));
  await fake.send("inbox.item", { item: item("n2"), replaced: false, unread: 1, unseen: 1 }, cursor(8));
  request.respond(page(7, [item("n0")], { unread: 0 }));
  const list = await opening;
  assert.deepEqual(list.state.items.map(({ id }) => id), ["n2", "n0"]);
  assert.equal(hub.inbox.counts.unread, 1);
});

test("events that are older than the list do not change it, also when they arrive after it", async () => {
  const { fake, ids } = await openList({}, page(8, [item("n2")]));
  await fake.send("inbox.item", { item: item("n1"), replaced: false, unread: 1, unseen: 1 }, cursor(6));
  await fake.send("inbox.changed", { items: ["n2"], change: "delete", unread: 0, unseen: 0 }, cursor(7));
  assert.deepEqual(ids(), ["n2"]);
});

test("an event that an older page is ahead of changes the newer items of the list", async () => {
  const { fake, list, ids } = await openList({ limit: 1 }, page(5, [item("n2")], { next: "n2" }));
  const loading = list.loadMore();
  (await fake.next()).respond(page(6, [item("n1")]));
  await loading;
  await fake.send("inbox.item", { item: item("n3"), replaced: false, unread: 3, unseen: 3 }, cursor(6));
  assert.deepEqual(ids(), ["n3", "n2", "n1"]);
});

test("an item that was stored before the page started is marked as replayed", async () => {
  const { fake, hub } = await openHub({ cursor: "start" });
  const items = [];
  hub.inbox.on("item", ({ item: { id }, replayed }) => items.push([id, replayed]));
  await fake.send("hub.open", { ...OPEN, replayed: 1 }, cursor(5));
  await fake.send("inbox.item", { item: item("n1"), replaced: false, unread: 1, unseen: 1 }, cursor(6));
  await fake.send("inbox.item", { item: item("n2"), replaced: false, unread: 2, unseen: 2 }, cursor(7));
  assert.deepEqual(items, [["n1", true], ["n2", false]]);
});

test("a list is loaded again after a reset and after events of topics; older items stay if nothing is between", async () => {
  const { fake, list, ids } = await openList({ limit: 2 }, page(5, [item("n4"), item("n3")], { next: "n3" }));
  const loading = list.loadMore();
  (await fake.next()).respond(page(5, [item("n2")]));
  await loading;
  await fake.send("notification", {}, cursor(5, 1));
  await tick(4000);
  (await fake.next()).respond(page(5, [item("t1", { topic: "news" }), item("n4")], { next: "n4", topic_unread: 1 }));
  await runCallbacks();
  assert.deepEqual([ids(), list.state.hasMore], [["t1", "n4", "n3", "n2"], false]);
  await fake.send("hub.reset", { channel: "user:alice", reason: "trimmed" });
  await tick(0);
  (await fake.next()).respond(page(9, [item("n9"), item("n8")], { next: "n8" }));
  await runCallbacks();
  assert.deepEqual([ids(), list.state.hasMore], [["n9", "n8"], true]);
});

test("a list that could not be loaded says why, and is loaded again", async () => {
  const { fake, hub } = await openHub();
  const opening = hub.inbox.open();
  (await fake.next()).respond({ detail: "The broker is away." }, 503);
  const list = await opening;
  await runCallbacks();
  assert.deepEqual([list.state.error.message, list.state.isLoading], ["The broker is away.", false]);
  await tick(500);
  (await fake.next()).respond(page(5, [item("n1")]));
  await runCallbacks();
  assert.deepEqual([list.state.error, list.state.items.length], [null, 1]);
});

test("a list of one category or of unread items has no others", async () => {
  const { fake, hub, ids } = await openList({ category: "exports", unread: true }, page(5, [item("n1", { category: "exports" })]));
  await fake.send("inbox.item", { item: item("n2", { category: "ads" }), replaced: false, unread: 2, unseen: 2 }, cursor(6));
  await fake.send("inbox.item", { item: item("n3", { category: "exports" }), replaced: false, unread: 3, unseen: 3 }, cursor(7));
  assert.deepEqual(ids(), ["n3", "n1"]);
  await fake.send("inbox.changed", { items: ["n1"], change: "read", unread: 2, unseen: 2 }, cursor(8));
  assert.deepEqual(ids(), ["n3"]);
  hub.close();
});

test("a list of archived items follows what is archived and taken back", async () => {
  const { fake, ids } = await openList({ archived: true }, page(5, [item("n1", { archived: true })]));
  await fake.send("inbox.item", { item: item("n2"), replaced: false, unread: 1, unseen: 1 }, cursor(6));
  assert.deepEqual(ids(), ["n1"]);
  await fake.send("inbox.changed", { items: ["n2"], change: "archive", unread: 0, unseen: 0 }, cursor(7));
  (await fake.next()).respond(page(7, [item("n2", { archived: true }), item("n1", { archived: true })]));
  await runCallbacks();
  assert.deepEqual(ids(), ["n2", "n1"]);
  await fake.send("inbox.changed", { items: ["n1"], change: "unarchive", unread: 1, unseen: 1 }, cursor(8));
  await fake.send("inbox.changed", { items: ["n2"], change: "expire", unread: 1, unseen: 1 }, cursor(9));
  assert.deepEqual(ids(), []);
});

test("an item that is taken back from the archive is loaded", async () => {
  const { fake, ids } = await openList({}, page(5, [item("n1")]));
  await fake.send("inbox.changed", { items: ["n2"], change: "unarchive", unread: 2, unseen: 2 }, cursor(6));
  (await fake.next()).respond(page(6, [item("n2"), item("n1")]));
  await runCallbacks();
  assert.deepEqual(ids(), ["n2", "n1"]);
});

test("a list of unread items loads one that is unread again", async () => {
  const { fake, ids } = await openList({ unread: true }, page(5, [item("n1")]));
  await fake.send("inbox.changed", { items: ["n2"], change: "unread", unread: 2, unseen: 2 }, cursor(6));
  (await fake.next()).respond(page(6, [item("n2"), item("n1")]));
  await runCallbacks();
  assert.deepEqual(ids(), ["n2", "n1"]);
});

test("a closed list follows nothing, and a closed hub sends no request", async () => {
  const { fake, hub, list, ids } = await openList({}, page(5, [item("n1")]));
  list.close();
  await fake.send("inbox.item", { item: item("n2"), replaced: false, unread: 2, unseen: 2 }, cursor(6));
  assert.deepEqual(ids(), ["n1"]);
  hub.inbox.on("counts", () => {});
  await fake.send("notification", {}, cursor(6, 1));
  hub.close();
  await tick(10_000);
  assert.equal(fake.requests.length, 0);
});

// A hub that keeps items, and forgets nothing. It handles each request at once; responses and events arrive later.
class Model {
  items = []; // the newest first
  events = []; // [name, data, cursor], in the order of the log
  #ids = 0;

  constructor(offset) {
    this.offset = offset;
  }

  get position() {
    return this.offset ? `AAAAA-${inBase62(this.offset)}.` : "EEEEE-0.";
  }

  counts() {
    const count = (flag) => this.items.filter((each) => !each[flag] && !each.archived).length;
    return counts(this.offset, count("read"), { unseen: count("seen") });
  }

  publish(key) {
    this.#ids += 1;
    const added = item(`${1000 + this.#ids}-0`, { key, created_at: this.#ids });
    const others = this.items.filter((each) => !key || each.key !== key);
    const replaced = others.length < this.items.length;
    this.items = [added, ...others];
    this.#log("inbox.item", { item: { ...added }, replaced });
  }

  change(change, { items, up_to: upTo }) {
    const flags = { read: { read: true, seen: true }, unread: { read: false }, seen: { seen: true }, archive: { archived: true }, delete: {} }[change];
    const changed = this.items.filter(({ id, ...now }) => (
      (items ? items.includes(id) : id <= upTo) && (change === "delete" || Object.entries(flags).some(([name, flag]) => now[name] !== flag))
    ));
    this.items = this.items.map((each) => (changed.includes(each) ? { ...each, ...flags } : each));
    if (change === "delete") this.items = this.items.filter(({ id }) => !changed.some((each) => each.id === id));
    if (changed.length) this.#log("inbox.changed", { items: changed.map(({ id }) => id), change });
    return this.counts();
  }

  page({ before = "9", limit }) {
    const shown = this.shown().filter(({ id }) => id < before);
    const end = shown.length > limit ? shown[limit - 1].id : null;
    return { ...this.counts(), items: shown.slice(0, limit), next: end };
  }

  shown() {
    return this.items.filter(({ archived }) => !archived);
  }

  #log(name, data) {
    this.offset += 1;
    const { unread, unseen } = this.counts();
    // Offsets are base 62 in ASCII order.
    this.events.push([name, { ...data, unread, unseen }, cursor(inBase62(this.offset))]);
  }
}

function inBase62(number) {
  const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  return number < 62 ? digits[number] : inBase62(Math.floor(number / 62)) + digits[number % 62];
}

// A generator of pseudo-random numbers (mulberry32).
function generator(seed) {
  let state = seed;
  return (count) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % count;
  };
}

test("in every order of events and responses, counts and list are those of the hub at the end", async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const random = generator(seed);
    const model = new Model(seed % 2 ? 5 : 0);
    const { fake, hub } = await openHub({}, seed % 2 ? cursor(5) : EMPTY);
    for (let count = random(6); count > 0; count -= 1) model.publish(null);
    const responses = [];
    const lists = [];
    const handle = (request) => {
      const { query, body } = request;
      const [method, path] = request.request.split(" ");
      const limit = Number(query.limit);
      const response = method === "GET" ? model.page({ ...query, limit }) : model.change(path.split("/")[2], body);
      response.cursor = model.position;
      responses.push(() => request.respond(response));
    };
    const steps = [
      () => model.publish(random(2) ? `job ${random(2)}` : null),
      () => model.items.length && model.change(["read", "unread", "archive", "delete", "seen"][random(5)], { items: [model.items[random(model.items.length)].id] }),
      () => model.events.length && fake.send(...model.events.shift()),
      () => fake.requests.length && handle(fake.requests.shift()),
      () => responses.length && responses.splice(random(responses.length), 1)[0](),
      () => {
        const [shown] = lists.flatMap(({ state }) => state.items).slice(random(3));
        if (shown) hub.inbox[["read", "archive", "unread", "delete", "seen"][random(5)]](random(2) ? shown.id : { up_to: shown.id });
      },
      () => lists[0]?.[["loadMore", "reload"][random(2)]](),
    ];
    hub.inbox.open({ limit: 3 }).then((list) => lists.push(list));
    for (let step = 0; step < 60; step += 1) {
      steps[random(steps.length)]();
      if (random(2)) await runCallbacks();
    }
    do {
      await runCallbacks();
      while (fake.requests.length) handle(fake.requests.shift());
      if (responses.length) responses.shift()();
      else if (model.events.length) await fake.send(...model.events.shift());
      await runCallbacks();
    } while (fake.requests.length || responses.length || model.events.length);
    const { items, hasMore, isLoading, error } = lists[0].state;
    const expected = model.shown().map(({ id, read, seen }) => [id, read, seen]);
    const { cursor: _, ...expectedCounts } = model.counts();
    assert.deepEqual([error, isLoading], [null, false], `seed ${seed}`);
    assert.deepEqual(items.map(({ id, read, seen }) => [id, read, seen]), hasMore ? expected.slice(0, items.length) : expected, `seed ${seed}`);
    assert.deepEqual(hub.inbox.counts, expectedCounts, `seed ${seed}`);
    hub.close();
  }
});
