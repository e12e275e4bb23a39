-- Stores a push subscription for a user.
-- KEYS  1 subscription, a hash: u user, d data (JSON)
-- ARGV  1 run id  2 user  3 data (JSON)  4 ttl in ms
-- Reply the user who had it before, or ''
local before = redis.call('HGET', KEYS[1], 'u')
redis.call('HSET', KEYS[1], 'u', ARGV[2], 'd', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return before or ''
