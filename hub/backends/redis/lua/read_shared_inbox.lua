-- Lists the items of a topic or of `all`, without their data.
-- KEYS  1 items
-- ARGV  1 run id
-- Reply {id, category, '1' if it is required, otherwise '', id, ...}, the oldest first
local now, reply, inboxes = now_ms(), {}, load_inboxes('0 0 0')
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
  if inboxes.item_expiry(entry) > now then
    local _, _, category, required = inboxes.item_options(entry)
    reply[#reply + 1] = entry[1]
    reply[#reply + 1] = category
    reply[#reply + 1] = required
  end
end
return reply
