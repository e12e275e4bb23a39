-- Stores the state of a node, with the time.
-- KEYS  1 states, a hash: '<Unix seconds of this server> <state>' by node
-- ARGV  1 run id  2 node  3 state  4 ttl in seconds after the last call of any node
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
redis.call('HSET', KEYS[1], ARGV[2], string.format('%.6f', now) .. ' ' .. ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return ''
