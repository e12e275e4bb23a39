-- Lists the ids of all deliveries of a channel (deliveries.lua).
-- KEYS  1 `due`
-- ARGV  1 run id  2 channel  3 beginning of its lanes
-- Reply the ids: those that wait, then the dead letters
local ids = {}
each_of_channel(delivery_keys(KEYS[1]), ARGV[2], ARGV[3], function(id)
  ids[#ids + 1] = id
end)
return ids
