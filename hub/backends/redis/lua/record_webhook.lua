-- Counts a failed attempt of an endpoint, and pauses one that keeps failing.
-- KEYS  1 state, a hash: failures, since (ms of the first one), paused_until (ms), pauses, error
-- ARGV  1 run id  2 error  3 failures and 4 ms that must have passed for a pause
--       5 first and 6 longest pause in ms  7 ttl in ms
-- Reply {failures, ms since the first one, ms of the pause that are left}
local now = now_ms()
local failures = redis.call('HINCRBY', KEYS[1], 'failures', 1)
redis.call('HSETNX', KEYS[1], 'since', string.format('%d', now))
local state = redis.call('HMGET', KEYS[1], 'since', 'paused_until', 'pauses')
local since, paused_until, pauses = tonumber(state[1]), tonumber(state[2] or 0), tonumber(state[3] or 0)
if failures >= tonumber(ARGV[3]) and now - since >= tonumber(ARGV[4]) and paused_until <= now then
  paused_until = now + math.min(tonumber(ARGV[6]), tonumber(ARGV[5]) * 2 ^ math.min(pauses, 30))
  redis.call('HSET', KEYS[1], 'paused_until', string.format('%d', paused_until), 'pauses', pauses + 1)
end
redis.call('HSET', KEYS[1], 'error', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[7])
return {failures, math.max(0, now - since), math.min(math.max(0, paused_until - now), tonumber(ARGV[6]))}
