// node run.mjs PROGRAM SCENARIO+SCENARIO URL TOKEN COUNT

import { parseScenarios } from "./scenario.mjs";

const [program, scenarios, url, token, count] = process.argv.slice(2);
const { run } = await import(`./${program}.mjs`);
const print = (line) => console.log(line);
for (const scenario of parseScenarios({ scenarios, url, token, count: Number(count) }, print)) await run(scenario);
process.exit(0); // without waiting for idle keep-alive sockets
