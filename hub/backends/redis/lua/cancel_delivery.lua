-- Deletes a delivery that waits, or a dead letter (deliveries.lua).
-- KEYS  1 `due`
-- ARGV  1 run id  2 id  3 waiting or dead
-- Reply 1 if there was one, else 0
local keys, id = delivery_keys(KEYS[1]), ARGV[2]
if ARGV[3] == 'waiting' then
  return cancel_delivery(KEYS[1], id) and 1 or 0
end
local item = redis.call('HMGET', keys.item .. id, 'bytes', 'dead')
if not item[2] then
  return 0
end
drop_dead(keys, item[1] .. ':' .. id)
return 1
