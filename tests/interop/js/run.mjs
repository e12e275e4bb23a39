// node run.mjs PROGRAM SCENARIO+SCENARIO URL TOKEN COUNT

import { stories } from "./story.mjs";

const [program, scenarios, url, token, count] = process.argv.slice(2);
const { run } = await import(`./${program}.mjs`);
const say = (line) => console.log(line);
for (const story of stories({ scenarios, url, token, count: Number(count) }, say)) await run(story);
process.exit(0); // and not when the last kept-alive socket is idle
