// The demo page's connection: when it comes back, with which cursor, and when it does not.
import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { pauseMs, Stream } from "../../hub/web/pages/stream.js";

class FakeEventSource extends EventTarget {
  static CLOSED = 2;
  static made = [];
  readyState = 0;

  constructor(url) {
    super();
    this.url = url;
    FakeEventSource.made.push(this);
  }

  close() {
    this.readyState = 2;
  }

  send(name, data, lastEventId = "") {
    this.dispatchEvent(Object.assign(new Event(name), { data: JSON.stringify(data), lastEventId }));
  }

  // What EventSource does on an answer that is not 200.
  giveUp() {
    this.readyState = 2;
    this.dispatchEvent(new Event("error"));
  }
}

function connected({ refusal = async () => null } = {}) {
  FakeEventSource.made = [];
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const heard = [];
  const states = [];
  const stream = new Stream("/s", {
    cursor: "start",
    names: ["notification"],
    EventSource: FakeEventSource,
    onEvent: (name, data, id) => heard.push([name, data, id]),
    onState: (state) => states.push(state),
    refusal,
  });
  stream.connect();
  return { stream, heard, states, made: FakeEventSource.made };
}

const settled = () => new Promise((wake) => setImmediate(wake));

test("begins at the cursor it was given and is live with hub.open", () => {
  const { made, states } = connected();
  assert.equal(made[0].url, "/s?cursor=start");
  made[0].send("hub.open", {}, "c1");
  assert.deepEqual(states.map(({ state }) => state), ["connecting", "live"]);
});

test("a bye that invites is followed after its retry_ms, with the last cursor", () => {
  const { made, states } = connected();
  made[0].send("hub.open", {}, "c1");
  made[0].send("notification", { n: 1 }, "c2");
  made[0].send("hub.bye", { reason: "draining", reconnect: true, retry_ms: 2000 });
  mock.timers.tick(1900);
  assert.equal(made.length, 1);
  assert.deepEqual(states.at(-1), { state: "reconnecting", reason: "draining", seconds: 1 });
  mock.timers.tick(1000);
  assert.equal(made[1].url, "/s?cursor=c2");
});

test("a bye that does not invite closes until someone connects", () => {
  const { stream, made, states } = connected();
  made[0].send("hub.bye", { reason: "replaced", reconnect: false, retry_ms: 0 });
  mock.timers.tick(60_000);
  assert.deepEqual(states.at(-1), { state: "closed", reason: "replaced", seconds: null });
  assert.equal(made.length, 1);
  stream.connect();
  assert.equal(made.length, 2);
});

test("a network break is left to EventSource", () => {
  const { made, states } = connected();
  made[0].dispatchEvent(new Event("error"));
  mock.timers.tick(60_000);
  assert.equal(made.length, 1);
  assert.equal(states.at(-1).state, "reconnecting");
});

test("a refusal that passes is tried again, a final one is shown", async () => {
  const refusals = [{ reason: "503", final: false }, { reason: "expired", final: true }];
  const { made, states } = connected({ refusal: async () => refusals.shift() });
  made[0].giveUp();
  await settled();
  assert.deepEqual([states.at(-1).state, states.at(-1).reason], ["reconnecting", "503"]);
  mock.timers.tick(1000);
  assert.equal(made.length, 2);
  made[1].giveUp();
  await settled();
  mock.timers.tick(60_000);
  assert.deepEqual(states.at(-1), { state: "closed", reason: "expired", seconds: null });
  assert.equal(made.length, 2);
});

test("what was let go is no longer heard", () => {
  const { stream, made, heard } = connected();
  stream.connect();
  made[0].send("notification", { n: 1 }, "c1");
  assert.deepEqual([heard, stream.cursor, made[0].readyState], [[], "start", 2]);
});

test("waking cuts a pause short and disturbs nothing else", () => {
  const { stream, made } = connected();
  stream.wake();
  assert.equal(made.length, 1);
  made[0].send("hub.bye", { reason: "slow", reconnect: true, retry_ms: 9000 });
  stream.wake();
  assert.equal(made.length, 2);
  mock.timers.tick(60_000);
  assert.equal(made.length, 2);
});

test("the pause doubles, is spread, and has an end", () => {
  assert.deepEqual([0, 1, 2, 9].map((failures) => pauseMs(failures, 1)), [500, 1000, 2000, 15_000]);
  assert.equal(pauseMs(1, 0), 500);
});
