-- Events into channels, one after the other: deduplicate, check and change the generation, number,
-- log, announce. One call may carry many, so that what they share is said once.
-- ARGV  1 run  2 the command that announces  3 fresh epoch  4 head's life in ms
--       5 idempotency memory in ms  6 record's life in ms; then 13 for each event:
--       1 pub/sub channel  2 event name  3 data  4 events to keep  5 bytes to keep
--       6 log's life in ms  7 event's life in ms, or ''  8 '1' when ephemeral
--       9 change of the generation ('' none, begin, delta, replace, end)  10 attempt  11 status
--       12 index of the delta  13 text
-- KEYS  5 for each event: 1 head  2 log  3 idempotency key's memory, or the head again
--       4 generation's record  5 generation's text, or the head again
-- Reply {outcome, epoch, offset, stop_by} for each event
-- Invariants
-- 1. Nothing of an event is written unless every check passed; a refused one harms no other.
-- 2. An event that is repeated with its idempotency key, or with its delta's index, writes nothing.
-- 3. A generation ends once, and only its newest attempt writes.
-- 4. The log never holds more than about the events and 9/8 of the bytes and of the age to keep.
-- 5. A log lives for at least its life after its newest event, a head as long after its last use;
--    both lives are renewed when an eighth of them is over.
local now

-- Checks and changes the generation. Returns the outcome that refuses it, and who wishes a stop.
local function step(record_key, text_key, change, attempt, status, index, text, data)
  local record = redis.call('HMGET', record_key, 'status', 'attempt', 'deltas', 'stop_by')
  local was, newest, mine = record[1], tonumber(record[2]), tonumber(attempt)
  if not was then
    return 'gone', ''
  end
  local stop_by = record[4] or ''
  if was == 'done' or was == 'stopped' or was == 'failed' then
    return 'ended', stop_by
  end
  if (change == 'begin' and newest ~= mine - 1) or (change ~= 'begin' and newest ~= mine) then
    return 'stale', stop_by
  end
  if change == 'delta' or change == 'replace' then
    if tonumber(index) < tonumber(record[3]) then
      return 'duplicate', stop_by
    end
    redis.call('HSET', record_key, 'deltas', index + 1)
    if change == 'replace' then
      redis.call('SET', text_key, text)
    else
      redis.call('APPEND', text_key, text)
    end
  elseif change == 'begin' then
    redis.call('HSET', record_key, 'status', status, 'attempt', mine, 'deltas', 0)
    redis.call('SET', text_key, '')
  else
    redis.call('HSET', record_key, 'status', status, 'end', data)
  end
  redis.call('PEXPIRE', record_key, ARGV[6])
  redis.call('PEXPIRE', text_key, ARGV[6])
  return nil, stop_by
end

-- Numbers and stores an event. Returns its epoch and offset.
local function append(head_key, log_key, name, data, max_events, max_bytes, log_ms, event_ms)
  now = now or now_ms()
  local head = head_of(head_key, log_key, ARGV[1], ARGV[3], ARGV[4])
  local before = head.bytes
  head.offset = head.offset + 1
  head.bytes = before + #name + #data
  local place = string.format('%d', head.offset)
  local id = string.format('%d-%d', head.offset, now)
  if event_ms == '' then
    redis.call('XADD', log_key, 'MAXLEN', '~', max_events, id, 'n', name, 'd', data, 'b', before)
  else
    redis.call('XADD', log_key, 'MAXLEN', '~', max_events, id, 'n', name, 'd', data, 'b', before,
      'x', string.format('%d', now + event_ms))
  end
  local life = math.min(log_ms, ARGV[4])
  if now - head.renewed_ms > life / 8 or not head.first_ms then
    local first_ms, first_bytes = head.first_ms or now, head.first_bytes or before
    redis.call('HSET', head_key, 'o', place, 'b', head.bytes, 'ft', first_ms, 'fb', first_bytes,
      't', now)
    redis.call('PEXPIRE', log_key, math.ceil(log_ms * 9 / 8))
    redis.call('PEXPIRE', head_key, math.ceil(ARGV[4] * 9 / 8))
  else
    redis.call('HSET', head_key, 'o', place, 'b', head.bytes)
  end
  if head.first_ms and (head.bytes - head.first_bytes > max_bytes * 9 / 8
      or now - head.first_ms > log_ms * 9 / 8) then
    trim(head_key, log_key, head, now, tonumber(max_bytes), tonumber(log_ms))
  end
  return head.epoch, place
end

local function publish(k, a)
  local name, data, once, stop_by = ARGV[a + 2], ARGV[a + 3], KEYS[k + 3], ''
  if once ~= KEYS[k + 1] then
    local before = redis.call('GET', once)
    if before then
      local epoch, offset = string.match(before, '^(%w*) (%d+)$')
      return {'duplicate', epoch, tonumber(offset), ''}
    end
  end
  if ARGV[a + 9] ~= '' then
    local refused
    refused, stop_by = step(KEYS[k + 4], KEYS[k + 5], ARGV[a + 9], ARGV[a + 10], ARGV[a + 11],
      ARGV[a + 12], ARGV[a + 13], data)
    if refused then
      return {refused, '', 0, stop_by}
    end
  end
  local epoch, place = '', '0'
  if ARGV[a + 8] ~= '1' then
    epoch, place = append(KEYS[k + 1], KEYS[k + 2], name, data, ARGV[a + 4], ARGV[a + 5],
      ARGV[a + 6], ARGV[a + 7])
  end
  if once ~= KEYS[k + 1] then
    redis.call('SET', once, epoch .. ' ' .. place, 'PX', ARGV[5])
  end
  redis.call(ARGV[2], ARGV[a + 1], epoch .. '-' .. place .. '\n' .. name .. '\n' .. data)
  return {'written', epoch, tonumber(place), stop_by}
end

local replies = {}
for n = 0, #KEYS / 5 - 1 do
  replies[n + 1] = publish(5 * n, 6 + 13 * n)
end
return replies
