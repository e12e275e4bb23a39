// Runs the demo page in several tabs at once, with a simulated hub. Everything that happens in a browser
// in some order, such as events, responses, timers and frames, happens in an order that a seed chooses.
//
// When all has come to an end, a tab must show what a second tab and a new one show.

import { Random } from "./random.mjs";
import { SimulatedHub } from "./simulated_hub.mjs";
import { Tab } from "./tab.mjs";

const TOPIC = "lobby";
const MAX_QUIET_STEPS = 20_000;

class Simulation {
  tabs = [];
  errors = [];
  #promptCount = 0;

  constructor(seed, { actions }) {
    this.random = new Random(seed);
    this.actions = actions;
    this.mayLoseEvents = this.random.chance(0.5);
    this.hub = new SimulatedHub(this.random);
  }

  async run() {
    this.tabs = [await this.#open(), await this.#open()];
    for (let count = 0; count < this.actions; count += 1) {
      await this.#act();
      for (let step = this.random.below(6); step > 0; step -= 1) await this.#advance();
    }
    await this.#quiet();
    const [first, second] = this.tabs;
    const problems = await this.#compare(first);
    problems.push(...await this.#compare(second));
    for (const tab of this.tabs) tab.close();
    return [...problems, ...this.errors];
  }

  // Compares a tab with a new one, in the chat that it shows and in all others.
  async #compare(tab) {
    const problems = [];
    const fresh = await this.#open(tab.search);
    this.tabs.push(fresh);
    await this.#quiet();
    for (const chat of [null, ...tab.chats]) {
      if (chat !== null && ![tab, fresh].every(({ chats }) => chats.includes(chat))) continue; // an empty one
      if (chat !== null) for (const each of [tab, fresh]) each.show(chat);
      await this.#quiet();
      const [before, after] = [tab, fresh].map(({ view }) => view);
      const lines = differences(before, after);
      if (lines.length) problems.push(`chat ${chat ?? "at first"}:`, ...lines);
    }
    return problems;
  }

  async #open(search = "?user=alice", before = null) {
    return Tab.open(this.hub, search, { before, errors: this.errors });
  }

  // One thing that a user, another device or the network does.
  async #act() {
    const tab = this.random.pick(this.tabs);
    const actions = [
      [30, () => this.#ask(tab)],
      [10, () => tab.press(".turn .edit", this.random)],
      [10, () => tab.press(".turn .edit", this.random) && this.#ask(tab)],
      [8, () => tab.press(".answer .restart, .answer .again", this.random, isOwn)],
      [6, () => tab.press(".answer .stop", this.random)],
      [this.mayLoseEvents ? 0 : 6, () => this.#steer(tab)], // no snapshot has the messages to a running answer
      [8, () => tab.press(".input button", this.random)],
      [10, () => tab.press(".chat-item", this.random)],
      [4, () => tab.press("#new-chat", this.random)],
      [4, () => tab.press("#open-room", this.random)],
      [6, () => tab.press(".unsent button", this.random)],
      [6, () => this.hub.startElsewhere(TOPIC, tab.chats.filter((chat) => !chat.startsWith("topic:")).concat(""))],
      [this.mayLoseEvents ? 3 : 0, () => tab.reset()],
      [3, () => this.#reload(tab)],
    ];
    await weighted(this.random, actions)();
    await nextTask();
  }

  #ask(tab) {
    tab.type(`prompt ${(this.#promptCount += 1)}`);
    tab.submit();
  }

  #steer(tab) {
    if (!tab.elements("#steer").length) return;
    tab.type(`message ${(this.#promptCount += 1)}`);
    tab.press("#steer", this.random);
  }

  async #reload(tab) {
    const { search } = tab;
    tab.close();
    if (this.mayLoseEvents) this.hub.trim();
    this.tabs[this.tabs.indexOf(tab)] = await this.#open(search, tab);
  }

  // One step of the machine. Returns whether there was anything to do.
  async #advance(isEnding = false) {
    const steps = [];
    for (const tab of this.tabs) {
      if (tab.isBehind) steps.push([3, () => tab.deliver()]);
      if (tab.timers.length) steps.push([1, () => tab.runTimer()]);
      if (tab.frames.length) steps.push([2, () => tab.runFrames()]);
    }
    if (this.hub.requests.length) steps.push([3, () => this.hub.advanceRequest()]);
    if (!this.hub.isIdle) steps.push([2, () => this.hub.work(isEnding)]);
    if (!steps.length) return false;
    weighted(this.random, steps)();
    await nextTask();
    return true;
  }

  // Goes on until nothing is left to happen. What could not be sent is sent again.
  async #quiet() {
    this.hub.mayFail = false;
    for (let count = 0; ; count += 1) {
      if (count > MAX_QUIET_STEPS) throw new Error("The page does not come to rest.");
      if (await this.#advance(true)) continue;
      if (!this.tabs.some((tab) => tab.press(".unsent button", this.random))) return;
      await nextTask();
    }
  }
}

// Only the turns of this page have a key in their metadata, by which other tabs group the answers to a question.
const isOwn = (turn) => turn.textContent.includes("prompt");

// Returns the lines that are not in both lists with the same index.
function differences(before, after) {
  return [
    ...before.flatMap((line, index) => (line === after[index] ? [] : [`a tab has ${index} ${line}`])),
    ...after.flatMap((line, index) => (line === before[index] ? [] : [`a new tab has ${index} ${line}`])),
  ];
}

function weighted(random, choices) {
  let rest = random.next() * choices.reduce((sum, [weight]) => sum + weight, 0);
  return choices.find(([weight]) => (rest -= weight) < 0)[1];
}

// Resolves in a later task: all microtasks of the frames have run.
const channel = new MessageChannel();
function nextTask() {
  return new Promise((resolve) => {
    channel.port1.onmessage = resolve;
    channel.port2.postMessage(null);
  });
}

window.tabOf = (page) => Tab.of(page);
window.runSimulation = (seed, options) => new Simulation(seed, options).run();
