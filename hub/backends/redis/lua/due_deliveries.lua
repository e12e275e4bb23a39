-- Counts, up to a limit, the lanes whose first delivery is due (deliveries.lua).
-- KEYS  the `due` keys of some partitions
-- ARGV  1 run id  2 limit
-- Reply the number of each
local now, reply = now_ms(), {}
for n, key in ipairs(KEYS) do
  check_clock(delivery_keys(key), ARGV[1], now)
  reply[n] = #redis.call('ZRANGEBYSCORE', key, '-inf', whole(now), 'LIMIT', 0, ARGV[2])
end
return reply
