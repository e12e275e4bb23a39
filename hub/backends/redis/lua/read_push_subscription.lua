-- Reads a push subscription if it is the user's.
-- KEYS  1 subscription    ARGV  1 run id  2 user
-- Reply the data (JSON), or ''
local fields = redis.call('HMGET', KEYS[1], 'u', 'd')
return fields[1] == ARGV[2] and fields[2] or ''
