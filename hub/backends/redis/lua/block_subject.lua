-- Blocks a user or a token, and removes the blocks that are over.
-- KEYS  1 denylist, a sorted set: subject by the end of its block (Unix seconds of this server)
-- ARGV  1 run id  2 subject  3 seconds from now; the later of two ends counts
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
redis.call('ZADD', KEYS[1], 'GT', string.format('%.6f', now + ARGV[3]), ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.6f', now))
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if last[2] then
  redis.call('PEXPIREAT', KEYS[1], string.format('%d', math.ceil(last[2]) * 1000 + 1000))
end
return ''
