-- Remembers the result of a claim, unless another call has changed it.
-- KEYS  1 claim        ARGV  1 run id  2 value before, or ''  3 value  4 ttl in ms
-- Reply what is remembered now
local now = redis.call('GET', KEYS[1]) or ''
if now ~= ARGV[2] then
  return now
end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return ARGV[3]
