-- Adds a dead letter to the end of its lane again (deliveries.lua).
-- KEYS  1 `due`
-- ARGV  1 run id  2 limits  3 id
-- Reply 1 if there was one, else 0
local keys, limits, id, now = delivery_keys(KEYS[1]), parse_limits(ARGV[2]), ARGV[3], now_ms()
local item = redis.call('HMGET', keys.item .. id, 'lane', 'bytes', 'dead')
if not item[3] then
  return 0
end
check_clock(keys, ARGV[1], now)
redis.call('ZREM', keys.dead, item[2] .. ':' .. id)
redis.call('HDEL', keys.item .. id, 'dead')
redis.call('HSET', keys.item .. id, 'added', whole(now), 'due', whole(now), 'delay', 0, 'failures', 0)
append_to_lane(keys, item[1], id, item[2], limits, whole(now))
return 1
