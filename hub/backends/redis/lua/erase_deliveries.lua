-- Deletes all deliveries of a channel, or its dead letters (deliveries.lua).
-- KEYS  1 `due`
-- ARGV  1 run id  2 channel  3 beginning of its lanes  4 dead, or all
-- Reply their number
local keys, count = delivery_keys(KEYS[1]), 0
each_of_channel(keys, ARGV[2], ARGV[3], function(id, member)
  if member then
    drop_dead(keys, member)
    count = count + 1
  elseif ARGV[4] == 'all' and cancel_delivery(KEYS[1], id) then
    count = count + 1
  end
end)
return count
