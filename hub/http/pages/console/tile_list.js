// The tiles of the first screen: their plain names, the metrics behind them, and the alerts that
// colour them. Each alert of config/alerts.yml belongs to one tile. Pure.

import { formatBytes, formatMilliseconds, formatNumber, formatPercent, formatRate, formatShort, formatSpan } from "./format.js";

const ofLimit = ({ memory, limit }) => (limit ? `${formatPercent(memory / limit)} of ${formatBytes(limit)}` : "no limit is set");
const workersNote = ({ silent }) => (silent ? `${formatNumber(silent)} no longer report` : "all report");

/** format(value) and note(facts) return texts; facts: the newest values of all measures, and more.
 *  isShown(facts): whether the tile is there; minTop: the least height of the axis. */
export const TILES = [
  {
    id: "connections", name: "Connections", measure: "connections", metric: "hub_connections", format: formatShort,
    note: ({ users, nodes }) => `${formatShort(users)} users on ${formatNumber(nodes)} ${nodes === 1 ? "node" : "nodes"}`,
    alerts: ["HubNodeDown", "HubNodeFull", "HubSlowClients", "HubResets"], minTop: 10,
  },
  {
    id: "events", name: "Events per second", measure: "delivered", metric: "hub_events_delivered_total", format: formatRate,
    note: () => "delivered to connections", alerts: ["HubRequestsFail", "HubGapCheckStale"], minTop: 5,
  },
  {
    id: "delay", name: "Delivery, 99th percentile", measure: "delay", metric: "hub_delivery_delay_seconds", format: formatMilliseconds,
    note: () => "from a publish to the sockets", alerts: ["HubDeliverySlow", "HubEventLoopLag"], minTop: 0.01,
  },
  {
    id: "memory", name: "Broker memory", measure: "memory", metric: "hub_redis_memory_bytes", format: formatBytes,
    note: ofLimit, alerts: ["HubRedisMemory", "HubRedisRefusesWrites", "HubRedisConnectionBreaks"], minTop: 1e6,
  },
  {
    id: "running", name: "Answers running", measure: "running", metric: "hub_generations_running", format: formatShort,
    note: () => "on all workers", alerts: [], minTop: 5,
  },
  {
    id: "queued", name: "Answers queued", measure: "waiting", metric: "hub_generations_waiting", format: formatShort,
    note: () => "no worker has begun them", alerts: ["HubGenerationsQueued"], minTop: 5,
  },
  {
    id: "oldest", name: "Oldest queued", measure: "oldest", metric: "hub_generations_oldest_waiting_seconds", format: formatSpan,
    note: () => "age of the next answer", alerts: ["HubGenerationsStuck"], minTop: 5,
  },
  {
    id: "failed", name: "Answers failed", measure: "failed", metric: "hub_generations_ended_last_hour, of the processes that run now: one that restarts counts from 0", format: formatShort,
    note: ({ ended }) => `in the last hour, of ${formatShort(ended)} that ended`, alerts: ["HubGenerationsFail"], minTop: 5,
  },
  {
    id: "workers", name: "Workers alive", measure: "workers", metric: "up, and hub_generations_running of each worker", format: formatNumber,
    note: workersNote, alerts: ["HubWorkerDown"], minTop: 2,
  },
  {
    id: "outbox", name: "Outbox, oldest row", measure: "outbox", metric: "hub_outbox_oldest_seconds", format: formatSpan,
    note: ({ backlog, refused }) => `${formatShort(backlog)} rows wait, ${formatShort(refused)} were refused`,
    alerts: ["HubOutboxWaits", "HubOutboxRefuses"], minTop: 5, isShown: ({ hasOutbox }) => hasOutbox,
  },
];
