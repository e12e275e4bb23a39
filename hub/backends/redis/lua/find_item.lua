-- Finds the item of an event in the inbox of its channel.
-- KEYS  1 state  2 items
-- ARGV  1 run id  2 position of the event: epoch, a space and the offset
-- Reply {id, what the user has done with it}, or an empty table
local now, inboxes = now_ms(), load_inboxes('0 0 0')
for _, entry in ipairs(redis.call('XREVRANGE', KEYS[2], '+', '-')) do
  if entry[2][6] == ARGV[2] then
    if inboxes.item_expiry(entry) <= now then
      return {}
    end
    return {entry[1], redis.call('HGET', KEYS[1], entry[1]) or ''}
  end
end
return {}
