-- Sends a message to an answer that runs.
-- KEYS  1 record  2 head of the channel  3 its log
-- ARGV  1 run id  2 PUBLISH or SPUBLISH  3 new epoch  4 ttl of a head in ms
--       5 retention of the channel: 'events bytes ttl_ms'  6 digest of the idempotency key, or ''
--       7 digest of the message  8 message (JSON)  9 who sends it (JSON)  10 max messages of an answer
--       11 max bytes of them
-- Reply {n, 1 if this call has stored it}, or {why it is refused} (steering.lua)
local log = {
  run_id = ARGV[1], command = ARGV[2], new_epoch = ARGV[3], head_ttl_ms = ARGV[4],
  retention = ARGV[5]
}
local sent = {key = ARGV[6], digest = ARGV[7], message = ARGV[8], by = ARGV[9]}
local bounds = {messages = tonumber(ARGV[10]), bytes = tonumber(ARGV[11])}
local n, more = steer(KEYS[1], KEYS[2], KEYS[3], sent, bounds, log)
if not n then
  return {more}
end
return {n, more}
