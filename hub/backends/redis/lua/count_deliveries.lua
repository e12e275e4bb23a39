-- Counts what is stored of a queue (deliveries.lua).
-- KEYS  the `due` keys of some partitions
-- ARGV  1 run id
-- Reply {lanes, waiting, dead letters, bytes, dropped}: the sums
local sums = {0, 0, 0, 0, 0}
for _, due_key in ipairs(KEYS) do
  local keys = delivery_keys(due_key)
  local counts = redis.call('HMGET', keys.counts, 'waiting', 'bytes', 'dropped')
  if counts[1] or counts[2] or counts[3] then
    local values = {redis.call('ZCARD', keys.due), counts[1], redis.call('ZCARD', keys.dead), counts[2], counts[3]}
    for n = 1, 5 do
      sums[n] = sums[n] + tonumber(values[n] or 0)
    end
  end
end
return sums
