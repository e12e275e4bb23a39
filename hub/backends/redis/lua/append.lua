-- Shared by several scripts: appends events to the log of a channel, and notifies its subscribers.
-- A log is a table: {run_id = run id, new_epoch = new epoch, head_ttl_ms = ttl of a head in ms}.
-- Invariants
-- 1. A log holds at most about max_events events and 9/8 of max_bytes and of its ttl.
-- 2. A log lives at least its ttl after its newest event, and a head after its last use. Both ttls
--    are refreshed when an eighth of them has passed.

-- Returns the retention of a channel from its text: 'events bytes ttl_ms'.
local function parse_retention(text)
  local events, bytes, ms = string.match(text, '^(%d+) (%d+) (%d+)$')
  return {events = events, bytes = tonumber(bytes), ms = tonumber(ms)}
end

-- Assigns the next offset and appends an event to the log. Returns its epoch and offset.
local function append(log, head_key, log_key, name, data, retention, event_ttl_ms)
  log.now = log.now or now_ms()
  local now, head_ttl_ms = log.now, log.head_ttl_ms
  local head = read_head(head_key, log_key, log.run_id, log.new_epoch, head_ttl_ms, true)
  local before = head.bytes
  head.offset = head.offset + 1
  head.bytes = before + #name + #data
  local offset = string.format('%d', head.offset)
  local id = string.format('%d-%d', head.offset, now)
  if not event_ttl_ms then
    redis.call('XADD', log_key, 'MAXLEN', '~', retention.events, id, 'n', name, 'd', data, 'b', before)
  else
    redis.call('XADD', log_key, 'MAXLEN', '~', retention.events, id, 'n', name, 'd', data, 'b', before,
      'x', string.format('%d', now + event_ttl_ms))
  end
  if now >= head.refresh_ms or not head.first_ms then
    local first_ms, first_bytes = head.first_ms or now, head.first_bytes or before
    redis.call('HSET', head_key, 'o', offset, 'b', head.bytes, 'ft', first_ms, 'fb', first_bytes,
      't', now + math.floor(math.min(retention.ms, head_ttl_ms) / 8))
    redis.call('PEXPIRE', log_key, math.ceil(retention.ms * 9 / 8))
    redis.call('PEXPIRE', head_key, math.ceil(head_ttl_ms * 9 / 8))
  else
    redis.call('HSET', head_key, 'o', offset, 'b', head.bytes)
  end
  if head.first_ms and (head.bytes - head.first_bytes > retention.bytes * 9 / 8
      or now - head.first_ms > retention.ms * 9 / 8) then
    trim(head_key, log_key, head, now, retention.bytes, retention.ms)
  end
  return head.epoch, offset
end

-- Notifies the subscribers of an event. command: PUBLISH or SPUBLISH. trace: '', or what follows the
-- position.
local function notify(command, log_key, epoch, offset, trace, name, data)
  redis.call(command, log_key, epoch .. '-' .. offset .. trace .. '\n' .. name .. '\n' .. data)
end
