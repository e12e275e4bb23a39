// Open streams over one HTTP/2 connection. Print a line when all streams are open, and a line for each event
// when all streams have received it.
// Usage: node h2_streams.mjs URL STREAMS EVENTS
import http2 from "node:http2";

const [url, streams, events] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const session = http2.connect(url, { rejectUnauthorized: false });
const seen = new Map();
let open = 0;
session.on("error", (error) => { console.log(`error ${error.message}`); process.exit(1); });
for (let n = 0; n < streams; n++) {
  const stream = session.request({ ":path": `/sse/connect/u${n}`, accept: "text/event-stream" });
  let text = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk) => {
    text += chunk;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const event = text.slice(0, end);
      if (event.includes("event: hub.open")) {
        if (++open === streams) console.log("open");
        continue;
      }
      const number = /"n":(\d+)/.exec(event)?.[1];
      if (number === undefined) continue;
      const count = (seen.get(number) ?? 0) + 1;
      seen.set(number, count);
      if (count === streams) {
        console.log(`all ${number}`);
        if (Number(number) === events) process.exit(0);
      }
    }
  });
  stream.end();
}
