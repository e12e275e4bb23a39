-- Shared by several scripts: the answers of a chat that have not ended, a sorted set in the order of
-- their requests (1, 2, 3 ...). All of them belong to one channel, so their records have its hash tag.

local function has_ended(status)
  return not status or status == 'done' or status == 'stopped' or status == 'failed'
end

-- Returns what the key of every record in the partition of this record begins with.
local function record_prefix(record_key)
  return (string.gsub(record_key, '[^:]+$', ''))
end

-- Returns the ids in the set before `id` (all, if it is not there) whose answers have not ended, at
-- most `max`. Removes the ended ones before them.
local function open_before(chat_key, prefix, id, max)
  local open = {}
  for _, other in ipairs(redis.call('ZRANGE', chat_key, 0, -1)) do
    if other == id or #open >= max then
      break
    elseif has_ended(redis.call('HGET', prefix .. other, 'status')) then
      redis.call('ZREM', chat_key, other)
    else
      open[#open + 1] = other
    end
  end
  return open
end
