-- Deletes all deliveries of a channel, or its dead letters (deliveries.lua).
-- KEYS  1 `due`
-- ARGV  1 run id  2 channel  3 beginning of its lanes  4 dead, or all
-- Reply their number
local keys, count = delivery_keys(KEYS[1]), 0
for _, member in ipairs(redis.call('ZRANGE', keys.dead, 0, -1)) do
  if redis.call('HGET', keys.item .. string.match(member, ':(.*)$'), 'channel') == ARGV[2] then
    drop_dead(keys, member)
    count = count + 1
  end
end
if ARGV[4] == 'all' then
  for _, lane in ipairs(redis.call('ZRANGE', keys.due, 0, -1)) do
    if string.sub(lane, 1, #ARGV[3]) == ARGV[3] then
      for _, member in ipairs(redis.call('ZRANGE', keys.lane .. lane, 0, -1)) do
        if cancel_delivery(KEYS[1], string.match(member, ':(.*)$')) then
          count = count + 1
        end
      end
    end
  end
end
return count
