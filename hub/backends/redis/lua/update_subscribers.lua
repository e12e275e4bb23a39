-- Adds a user to those who have a topic in their inboxes, or removes one.
-- KEYS  1 subscribers of the topic, a sorted set: the users by when their settings end (ms)
-- ARGV  1 run id  2 user  3 ttl in ms, or '' to remove the user
local now = now_ms()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now))
if ARGV[3] == '' then
  redis.call('ZREM', KEYS[1], ARGV[2])
else
  redis.call('ZADD', KEYS[1], string.format('%d', now + ARGV[3]), ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
