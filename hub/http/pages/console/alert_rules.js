// The rules of config/alerts.yml. This file is made by tests/pages/test_alert_rules.py.

export const ALERT_RULES = [
  {
    "name": "HubNodeDown",
    "operator": "==",
    "threshold": 0.0,
    "windowSeconds": 0,
    "forSeconds": 60,
    "severity": "page",
    "summary": "A hub node does not respond.",
    "action": "Its clients have reconnected to other nodes. Read its log and restart it.",
    "expr": "up{job=\"hub-node\"} == 0"
  },
  {
    "name": "HubWorkerDown",
    "operator": "==",
    "threshold": 0.0,
    "windowSeconds": 0,
    "forSeconds": 60,
    "severity": "page",
    "summary": "A hub worker does not respond.",
    "action": "Other workers take over its answers. Read its log and restart it.",
    "expr": "up{job=\"hub-worker\"} == 0"
  },
  {
    "name": "HubRedisConnectionBreaks",
    "operator": ">",
    "threshold": 0.05,
    "windowSeconds": 300,
    "forSeconds": 300,
    "severity": "page",
    "summary": "The connections to Redis break repeatedly.",
    "action": "Run hub doctor: it reports problems with Redis, such as memory policy, output buffers and latency.",
    "expr": "sum by (instance) (rate(hub_redis_link_breaks_total[5m])) > 0.05"
  },
  {
    "name": "HubRedisRefusesWrites",
    "operator": ">",
    "threshold": 0.0,
    "windowSeconds": 300,
    "forSeconds": 60,
    "severity": "page",
    "summary": "Redis answers, but stores nothing new: publishes are refused.",
    "action": "Reason out_of_memory: raise maxmemory, or store less. Reason refuses_writes: check the disk of Redis and its replicas. hub doctor shows both.",
    "expr": "sum by (instance, reason) (rate(hub_redis_refusals_total[5m])) > 0"
  },
  {
    "name": "HubRedisMemory",
    "operator": ">",
    "threshold": 0.9,
    "windowSeconds": 0,
    "forSeconds": 300,
    "severity": "page",
    "summary": "Redis uses more than 90 % of its memory limit.",
    "action": "Raise maxmemory, or store less: log.user, log.topic, generations.ttl_seconds. When the memory is full, publishes are refused.",
    "expr": "max(hub_redis_memory_bytes / (hub_redis_max_memory_bytes > 0)) > 0.9"
  },
  {
    "name": "HubDeliverySlow",
    "operator": ">",
    "threshold": 0.25,
    "windowSeconds": 300,
    "forSeconds": 600,
    "severity": "warning",
    "summary": "The 99th percentile of the time from publish to socket exceeds 250 ms.",
    "action": "If hub_redis_round_trip_seconds is high, check Redis and the network. If hub_loop_lag_seconds is high, the node is overloaded: add a node.",
    "expr": "histogram_quantile(0.99, sum by (le, instance) (rate(hub_delivery_delay_seconds_bucket[5m]))) > 0.25"
  },
  {
    "name": "HubEventLoopLag",
    "operator": ">",
    "threshold": 0.1,
    "windowSeconds": 300,
    "forSeconds": 600,
    "severity": "warning",
    "summary": "The event loop of a node lags by more than 100 ms.",
    "action": "Add a node or a process (hub serve --workers). docs/guides/scaling.md lists the capacity of one process.",
    "expr": "histogram_quantile(0.99, sum by (le, instance) (rate(hub_loop_lag_seconds_bucket[5m]))) > 0.1"
  },
  {
    "name": "HubRequestsFail",
    "operator": ">",
    "threshold": 0.05,
    "windowSeconds": 300,
    "forSeconds": 300,
    "severity": "page",
    "summary": "More than 5 % of the HTTP requests fail with a status of 5xx.",
    "action": "Read the logs of the nodes, and run hub doctor. Fewer than one request in ten seconds raise no alert.",
    "expr": "sum(rate(hub_http_requests_total{status=~\"5..\", route!=\"/readyz\"}[5m])) / (sum(rate(hub_http_requests_total{route!=\"/readyz\"}[5m])) > 0.1) > 0.05"
  },
  {
    "name": "HubNodeFull",
    "operator": ">",
    "threshold": 0.0,
    "windowSeconds": 300,
    "forSeconds": 300,
    "severity": "page",
    "summary": "A node is full and refuses new clients.",
    "action": "Add a node, or raise stream.max_connections if memory and file descriptors allow it.",
    "expr": "sum by (instance) (rate(hub_connections_closed_total{reason=\"full\"}[5m])) > 0"
  },
  {
    "name": "HubSlowClients",
    "operator": ">",
    "threshold": 0.05,
    "windowSeconds": 600,
    "forSeconds": 900,
    "severity": "warning",
    "summary": "More than 5 % of the connections end because the client reads too slowly.",
    "action": "Publish less or smaller events, or raise stream.outbox_max_bytes.",
    "expr": "sum by (instance) (rate(hub_connections_closed_total{reason=\"slow\"}[10m])) / sum by (instance) (rate(hub_connections_opened_total[10m])) > 0.05"
  },
  {
    "name": "HubGapCheckStale",
    "operator": ">",
    "threshold": 30.0,
    "windowSeconds": 0,
    "forSeconds": 60,
    "severity": "warning",
    "summary": "A node could not compare its channels with Redis for 30 seconds: a client may lack its newest event.",
    "action": "Check Redis and the network between them: hub doctor, hub_redis_round_trip_seconds, hub_redis_link_breaks_total.",
    "expr": "hub_gap_check_age_seconds > 30"
  },
  {
    "name": "HubResets",
    "operator": ">",
    "threshold": 1.0,
    "windowSeconds": 600,
    "forSeconds": 600,
    "severity": "warning",
    "summary": "Cursors cannot be continued: clients must fetch their state again.",
    "action": "Reason trimmed: increase log.user or log.topic. Reason epoch: Redis lost data.",
    "expr": "sum by (reason) (rate(hub_resets_total[10m])) > 1"
  },
  {
    "name": "HubGenerationsFail",
    "operator": ">",
    "threshold": 0.1,
    "windowSeconds": 600,
    "forSeconds": 600,
    "severity": "page",
    "summary": "More than 10 % of the generations of an upstream fail.",
    "action": "See the label code; docs/reference/errors.md describes the codes.",
    "expr": "sum by (upstream, code) (rate(hub_generations_ended_total{status=\"failed\"}[10m])) / ignoring (code) group_left () (sum by (upstream) (rate(hub_generations_ended_total[10m])) > 0.01) > 0.1"
  },
  {
    "name": "HubGenerationsQueued",
    "operator": ">",
    "threshold": 5.0,
    "windowSeconds": 600,
    "forSeconds": 600,
    "severity": "warning",
    "summary": "The 95th percentile of the time that generations wait in the queue exceeds 5 s.",
    "action": "Add workers, or raise worker.concurrency.",
    "expr": "histogram_quantile(0.95, sum by (le) (rate(hub_generation_queued_seconds_bucket[10m]))) > 5"
  },
  {
    "name": "HubGenerationsStuck",
    "operator": ">",
    "threshold": 60.0,
    "windowSeconds": 0,
    "forSeconds": 60,
    "severity": "page",
    "summary": "The next answer of the queue has waited for more than a minute.",
    "action": "Check that workers run, and that they reach Redis. Add workers, or raise worker.concurrency.",
    "expr": "max(hub_generations_oldest_waiting_seconds) > 60"
  },
  {
    "name": "HubOutboxWaits",
    "operator": ">",
    "threshold": 60.0,
    "windowSeconds": 0,
    "forSeconds": 120,
    "severity": "page",
    "summary": "A row of the PostgreSQL outbox waits for more than a minute.",
    "action": "Run hub doctor and hub outbox status, and look for outbox.disconnected and outbox.waits_for_broker in the logs of the workers.",
    "expr": "max(hub_outbox_oldest_seconds) > 60"
  },
  {
    "name": "HubOutboxRefuses",
    "operator": ">",
    "threshold": 0.0,
    "windowSeconds": 900,
    "forSeconds": 0,
    "severity": "warning",
    "summary": "Rows of the PostgreSQL outbox were refused and set aside.",
    "action": "hub outbox refused has the reasons.",
    "expr": "increase(hub_outbox_rows_total{outcome=\"refused\"}[15m]) > 0"
  }
];
