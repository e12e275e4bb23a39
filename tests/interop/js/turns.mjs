// Conversations of two prompts with a tool, held by every SDK. Prints each answer.

import * as ai from "./turns_ai.mjs";
import * as anthropic from "./turns_anthropic.mjs";
import * as langchain from "./turns_langchain.mjs";
import * as openai from "./turns_openai.mjs";

const PROMPTS = ["How is the weather in Tromsø?", "And in Köln and São Paulo?"];

const AT_ONCE = 12; // the hub queues 20 requests of a user, and refuses more

export async function run(scenario) {
  const waiting = [ai, anthropic, openai, langchain].flatMap((sdk) => [...sdk.conversations(scenario)]);
  const holdNext = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) await hold(scenario, next);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, holdNext));
}

async function hold(scenario, { client, ask }) {
  const report = (turn) => scenario.report("turn", null, JSON.stringify({ client, ...turn }));
  try {
    for (const prompt of PROMPTS) report({ text: await ask(prompt) });
  } catch (error) {
    report({ error: String(error?.stack ?? JSON.stringify(error)) });
  }
}
