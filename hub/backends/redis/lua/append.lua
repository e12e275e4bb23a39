-- Shared by several scripts: appends events to the log of a channel, and notifies its subscribers.
-- A log is a table: {run_id = run id, new_epoch = new epoch, head_ttl_ms = ttl of a head in ms}. It keeps
-- the head of the last event, because often the next event of a call is one of the same channel.
-- Invariants
-- 1. A log holds at most about max_events events (trimmed at every 64th) and 9/8 of max_bytes and of
--    its ttl.
-- 2. A log lives at least its ttl after its newest event, and a head after its last use. Both ttls
--    are refreshed when an eighth of them has passed.

local EVENTS_BETWEEN_TRIMS = 64

-- Returns the retention of a channel from its text: 'events bytes ttl_ms'. Few events need it, so
-- append takes the text.
local function parse_retention(text)
  local events, bytes, ms = string.match(text, '^(%d+) (%d+) (%d+)$')
  return {events = tonumber(events), bytes = tonumber(bytes), ms = tonumber(ms)}
end

-- Refreshes the ttls of head and log, trims the log, and stores when this must happen again.
-- before: the total bytes before the event that was just appended. retention: its text.
local function maintain(log, head_key, log_key, head, before, retention)
  retention = parse_retention(retention)
  local now, head_ttl_ms = log.now, tonumber(log.head_ttl_ms)
  local first = redis.call('HMGET', head_key, 'ft', 'fb')
  local first_ms, first_bytes = tonumber(first[1] or now), tonumber(first[2] or before)
  local max_bytes, max_ms = retention.bytes * 9 / 8, retention.ms * 9 / 8
  if head.bytes - first_bytes > max_bytes or now - first_ms > max_ms then
    local ms, bytes = trim(head_key, log_key, head, now, retention.bytes, retention.ms)
    first_ms, first_bytes = ms or first_ms, bytes or first_bytes
  end
  local check_ms = math.min(now + math.min(retention.ms, head_ttl_ms) / 8, first_ms + max_ms)
  redis.call('HSET', head_key, 'h', string.format('%s %s %013d %d', head.epoch, current_history(log.run_id),
    check_ms, first_bytes + max_bytes), 'ft', first_ms, 'fb', first_bytes)
  redis.call('PEXPIRE', log_key, math.ceil(max_ms))
  redis.call('PEXPIRE', head_key, math.ceil(head_ttl_ms * 9 / 8))
end

-- Returns the head of a channel, which is created if there is none. Reads the clock for the events of the log.
local function open_head(log, head_key, log_key, reads_inbox)
  if not log.now then
    log.now = now_ms()
    log.now_text = string.format('%013d', log.now)
  end
  if log.head_key ~= head_key then
    log.head = read_head(head_key, log_key, log.run_id, log.new_epoch, log.head_ttl_ms, true, reads_inbox)
    log.head_key = head_key
  end
  return log.head
end

-- Assigns the next offset and appends an event to the log. Returns its epoch and offset, as texts, and the
-- offset of the last event of the entry. retention: the text of the retention of the channel.
-- item: what is kept of the event in the inbox of the channel (prepare_item in keep_item.lua), or nil. events:
-- the number of events of the item, which share the entry (log_entries.lua); then the name is '' if the
-- event itself is ephemeral.
local function append(log, head_key, log_key, name, data, retention, event_ttl_ms, item, events)
  local head = open_head(log, head_key, log_key)
  local before, first = head.bytes, head.offset + 1
  head.offset, head.bytes = first, before + #name + #data
  if item and events > 0 then
    head.offset, head.bytes = name == '' and head.offset + events - 1 or head.offset + events, head.bytes + #item.text
  end
  local offset = string.format('%d', head.offset)
  local id = offset .. '-' .. log.now_text
  if item and events == 1 and not event_ttl_ms then
    redis.call('XADD', log_key, id, 'n', name, 'd', data, 'b', before, item.kind, item.text)
  elseif event_ttl_ms or item and events > 0 then
    local more = event_ttl_ms and {'x', string.format('%d', log.now + event_ttl_ms)} or {}
    for _, value in ipairs(item and events > 0 and {item.kind, item.text} or {}) do
      more[#more + 1] = value
    end
    for _, value in ipairs(item and events > 1 and {'e', item.removal} or {}) do
      more[#more + 1] = value
    end
    redis.call('XADD', log_key, id, 'n', name, 'd', data, 'b', before, unpack(more))
  else
    redis.call('XADD', log_key, id, 'n', name, 'd', data, 'b', before)
  end
  if head.offset % EVENTS_BETWEEN_TRIMS <= head.offset - first then -- a multiple is among the offsets
    -- By offset and not by length, because an entry with an item has more than one event.
    local first_kept = head.offset - parse_retention(retention).events + 1
    if first_kept > 1 then
      redis.call('XTRIM', log_key, 'MINID', '~', string.format('%d', first_kept))
    end
  end
  local totals = offset .. string.format(' %d', head.bytes)
  if item then
    head.inbox = item.state
    redis.call('HSET', head_key, 'o', totals, 'i', item.state)
  else
    redis.call('HSET', head_key, 'o', totals)
  end
  if log.now_text >= head.check_ms or head.bytes > tonumber(head.check_bytes) then
    maintain(log, head_key, log_key, head, tonumber(before), retention)
    log.head_key = nil
  end
  return head.epoch, first == head.offset and offset or string.format('%d', first), offset
end

-- Returns the epochs that ended just before this offset, the first one of a new epoch: a reader that has
-- everything of one of them misses nothing before the event. They have commas between them.
local function continued_epochs(head, offset)
  local epochs = {}
  for epoch in string.gmatch(head.older, '(%w+):' .. string.format('%d', offset - 1) .. ' ') do
    epochs[#epochs + 1] = epoch
  end
  return table.concat(epochs, ',')
end

-- Returns the notification of an event. trace: '', or what follows the position. following: the
-- notification of the next event of the same step, or nil; then the first line ends with the length of
-- the data, which the other notification follows.
local function notification(epoch, offset, trace, name, data, following)
  if following then
    return epoch .. '-' .. offset .. trace .. ' +' .. #data .. '\n' .. name .. '\n' .. data .. '\n' .. following
  end
  return epoch .. '-' .. offset .. trace .. '\n' .. name .. '\n' .. data
end

-- Notifies the subscribers of an event. command: PUBLISH or SPUBLISH.
local function notify(command, log_key, ...)
  redis.call(command, log_key, notification(...))
end
