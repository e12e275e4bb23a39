-- Shared by several scripts: the messages that users have sent to an answer that runs. They stand in
-- these fields of its record's hash, so they outlive the attempts and expire with the record.
--   steerable    '1' if whoever produces the answer takes messages
--   steered      '<number of the messages> <bytes of all of them>'
--   received     counts what users have sent to whoever produces the answer
--   steering     each of them: LF, digest of its idempotency key or '-', space, digest of the message,
--                space, JSON {n, message, by}
-- Invariants
-- 1. n counts from 0 without a gap. A message is stored and published in one step.
-- 2. A message that is repeated with its idempotency key changes nothing.

-- Stores a message for an answer and publishes it.
-- sent: {key = digest of the idempotency key or '', digest = digest of the message, message = JSON,
--        by = JSON of the user}; bounds: {messages = max number, bytes = max bytes of all}
-- log: see append.lua, with `command` (PUBLISH or SPUBLISH) and `retention`
-- Returns its number, and 1 if this call has stored it, else 0; or nil and why it is refused: 'gone',
-- 'ended', 'reused' (the key has another message), 'relay' (nobody takes messages) or 'full'.
local function steer(record_key, head_key, log_key, sent, bounds, log)
  local record = redis.call('HMGET', record_key, 'status', 'steerable', 'steered', 'steering')
  local status, lines = record[1], record[4] or ''
  if not status then
    return nil, 'gone'
  end
  local start = sent.key ~= '' and string.find(lines, '\n' .. sent.key .. ' ', 1, true)
  if start then
    local digest, n = string.match(lines, '^(%w+) {"n":(%d+),', start + #sent.key + 2)
    if digest ~= sent.digest then
      return nil, 'reused'
    end
    return tonumber(n), 0
  end
  if status == 'stopping' or has_ended(status) then
    return nil, 'ended'
  elseif not record[2] then
    return nil, 'relay'
  end
  local count, bytes = string.match(record[3] or '0 0', '^(%d+) (%d+)$')
  count, bytes = tonumber(count), tonumber(bytes) + #sent.message
  if count >= bounds.messages or bytes > bounds.bytes then
    return nil, 'full'
  end
  local fields = '"n":' .. string.format('%d', count) .. ',"message":' .. sent.message .. ',"by":' .. sent.by .. '}'
  local key = sent.key ~= '' and sent.key or '-'
  lines = lines .. '\n' .. key .. ' ' .. sent.digest .. ' {' .. fields
  redis.call('HSET', record_key, 'steered', (count + 1) .. ' ' .. string.format('%d', bytes), 'steering', lines)
  redis.call('HINCRBY', record_key, 'received', 1)
  local data = '{"generation":"' .. string.match(record_key, '[^:]+$') .. '",' .. fields
  local epoch, offset = append(log, head_key, log_key, 'generation.steered', data, log.retention)
  notify(log.command, log_key, epoch, offset, '', 'generation.steered', data)
  return count, 1
end
