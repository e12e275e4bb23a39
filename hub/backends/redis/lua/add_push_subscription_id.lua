-- Adds a push subscription to those of a user, and takes the oldest ones out beyond the maximum.
-- KEYS  1 ids of the user's subscriptions, a sorted set by the time of the put (ms of this server)
-- ARGV  1 run id  2 id  3 ttl in ms  4 maximum
-- Reply the ids that were taken out
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local newest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if newest[2] then
  now = math.max(now, tonumber(newest[2]) + 1)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[3]))
redis.call('ZADD', KEYS[1], string.format('%d', now), ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local surplus = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[4])
if surplus <= 0 then
  return {}
end
local removed = redis.call('ZRANGE', KEYS[1], 0, surplus - 1)
redis.call('ZREM', KEYS[1], unpack(removed))
return removed
