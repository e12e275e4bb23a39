-- Renews the entries of a node, and looks for nodes whose entries have expired (update_user_presence.lua).
-- KEYS  connected:nodes of some partitions
-- ARGV  1 run id  2 node  3 ttl of the entries in ms  4 how long keys are kept in ms
--       then for each partition: 1 if the node has entries there, otherwise 0
-- Reply for each partition {1 if the entries of the node are lost or 0, the nodes whose entries have expired}
local now, reply = now_ms(), {}
for n, key in ipairs(KEYS) do
  local lost = 0
  if ARGV[4 + n] == '1' then
    local expiry = tonumber(redis.call('HGET', key, ARGV[2]) or nil)
    if expiry and expiry > now then
      local base = string.sub(key, 1, -6)
      redis.call('HSET', key, ARGV[2], string.format('%d', now + tonumber(ARGV[3])))
      for _, each in ipairs({key, base .. 'users:' .. ARGV[2], base .. 'counts'}) do
        redis.call('PEXPIRE', each, ARGV[4])
      end
    else
      lost = 1
    end
  end
  local expired, nodes = {}, redis.call('HGETALL', key)
  for field = 1, #nodes, 2 do
    if tonumber(nodes[field + 1]) <= now then
      expired[#expired + 1] = nodes[field]
    end
  end
  reply[n] = {lost, expired}
end
return reply
