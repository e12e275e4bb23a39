-- Leases the first deliveries of lanes, where they are due (deliveries.lua).
-- KEYS  1 `due`
-- ARGV  1 run id  2 limit  3 length of the lease in ms
-- Reply {lane, id, channel, body, takes, failures, age in ms, position} for each
local keys, now, reply = delivery_keys(KEYS[1]), now_ms(), {}
local lease_end = whole(now + tonumber(ARGV[3]))
for _, lane in ipairs(redis.call('ZRANGEBYSCORE', keys.due, '-inf', whole(now), 'LIMIT', 0, ARGV[2])) do
  schedule_lane(keys, lane, now) -- removes what has expired; the first one may be due later then
  local member = redis.call('ZRANGE', keys.lane .. lane, 0, 0)[1]
  if member then
    local id = string.match(member, ':(.*)$')
    local takes = redis.call('HINCRBY', keys.item .. id, 'takes', 1)
    local item = redis.call('HMGET', keys.item .. id, 'channel', 'body', 'failures', 'added', 'position')
    redis.call('ZADD', keys.due, lease_end, lane)
    reply[#reply + 1] = {lane, id, item[1], item[2], takes, tonumber(item[3]),
      math.max(0, now - tonumber(item[4])), item[5]}
  end
end
return reply
