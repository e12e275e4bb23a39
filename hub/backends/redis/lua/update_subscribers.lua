-- Adds a user to those who have a topic in their inboxes, or removes one.
-- KEYS  1 subscribers of the topic, a sorted set: the users by when their settings end (ms)
--       2 the same users, all with score 0, so that they have an order
-- ARGV  1 run id  2 user  3 ttl in ms, or '' to remove the user
-- Invariant: both have the same members. Users whose time is over are removed, some with each call.
local now = now_ms()
local expired = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now), 'LIMIT', 0, 100)
if ARGV[3] == '' then
  expired[#expired + 1] = ARGV[2]
end
for _, user in ipairs(expired) do
  redis.call('ZREM', KEYS[1], user)
  redis.call('ZREM', KEYS[2], user)
end
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[1], string.format('%d', now + ARGV[3]), ARGV[2])
  redis.call('ZADD', KEYS[2], 0, ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
