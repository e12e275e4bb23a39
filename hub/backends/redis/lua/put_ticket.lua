-- Stores a new ticket.
-- KEYS  1 ticket    ARGV  1 run id  2 data (JSON)  3 in how many ms its token expires  4 ttl in ms
local time = redis.call('TIME')
local expires_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + ARGV[3]
redis.call('HSET', KEYS[1], 'd', ARGV[2], 'e', string.format('%d', expires_ms))
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return ''
