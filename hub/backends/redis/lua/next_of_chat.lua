-- Returns the answer of a chat that may begin now because every one before it has ended.
-- KEYS  1 open answers of the chat  2 a record of the same partition      ARGV  1 run id
-- Reply its id, or '' when the oldest open answer did not wait, has begun or is being stopped
local prefix = record_prefix(KEYS[2])
local oldest = open_before(KEYS[1], prefix, '', 1)[1]
if oldest then
  local record = redis.call('HMGET', prefix .. oldest, 'status', 'waits')
  if record[1] == 'queued' and record[2] then
    return oldest
  end
end
return ''
