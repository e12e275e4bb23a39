-- Lists the items of a topic or of `all`, without their data.
-- KEYS  1 items
-- ARGV  1 run id
-- Reply {id, category, '1' if it is required, otherwise '', id, ...}, the oldest first
local now, reply = now_ms(), {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
  local fields = entry[2]
  if tonumber(fields[2]) > now then
    reply[#reply + 1] = entry[1]
    reply[#reply + 1] = fields[6]
    reply[#reply + 1] = extra_field(entry, 'r')
  end
end
return reply
