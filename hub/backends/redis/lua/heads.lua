-- Reads the heads of channels (channel_head.lua), and keeps those alive that are in use.
-- KEYS  the heads
-- ARGV  1 run id  2 ttl of a head in ms
-- Reply fields h and o of each head, one after the other; both are '' for a channel without a head
local reply, ttl_ms = {}, tonumber(ARGV[2])
for n, key in ipairs(KEYS) do
  local head = redis.call('HMGET', key, 'h', 'o')
  reply[2 * n - 1], reply[2 * n] = head[1] or '', head[2] or ''
  if head[1] and redis.call('PTTL', key) < ttl_ms / 2 then
    redis.call('PEXPIRE', key, ttl_ms)
  end
end
return reply
