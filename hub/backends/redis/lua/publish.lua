-- Events into channels, one after the other: deduplicate, check and change the generation, number,
-- log, announce. One call may carry many, so that what they share is said once.
-- ARGV  1 run  2 the command that announces  3 fresh epoch  4 head's life in ms
--       5 idempotency memory in ms  6 record's life in ms  7 number of events
--       8 to 10 what is kept of a user's channel, of a topic, of all: 'events bytes log\'s life in ms'
--       then for each event: flags, name, data, and what the flags say
--       flags: u, t or a (whose channel), then any of
--         e  ephemeral
--         k  has an idempotency key: one more key
--         x  has a life of its own: one more argument, in ms
--         s  changes a generation: two more keys, the record and the text; five more arguments:
--            begin, delta, replace or end; attempt; status; index of the delta; text
--         c  carries a trace context (no space, no dash, no line's end in it), announced behind the
--            place: one more argument
-- KEYS  for each event: head, log (which also names the pub/sub channel), and what the flags say
-- Reply {outcome, epoch, offset, stop_requested_by} for each event
-- Invariants
-- 1. Nothing of an event is written unless every check passed; a refused one harms no other.
-- 2. An event that is repeated with its idempotency key, or with its delta's index, writes nothing.
-- 3. A generation ends once, and only its newest attempt writes.
-- 4. The log never holds more than about the events and 9/8 of the bytes and of the age to keep.
-- 5. A log lives for at least its life after its newest event, a head as long after its last use;
--    both lives are renewed when an eighth of them is over.
local now

-- Checks and changes the generation. Returns the outcome that refuses it, and who wishes a stop.
local function step(data, record_key, text_key, change, attempt, status, index, text)
  local record = redis.call('HMGET', record_key, 'status', 'attempt', 'deltas', 'stop_requested_by')
  local was, newest, mine = record[1], tonumber(record[2]), tonumber(attempt)
  if not was then
    return 'gone', ''
  end
  local stop_requested_by = record[4] or ''
  if was == 'done' or was == 'stopped' or was == 'failed' then
    return 'ended', stop_requested_by
  end
  if (change == 'begin' and newest ~= mine - 1) or (change ~= 'begin' and newest ~= mine) then
    return 'stale', stop_requested_by
  end
  if was == 'queued' and (change == 'delta' or change == 'replace') then
    return 'stale', stop_requested_by
  end
  if change == 'delta' or change == 'replace' then
    if tonumber(index) < tonumber(record[3]) then
      return 'duplicate', stop_requested_by
    end
    redis.call('HSET', record_key, 'deltas', index + 1)
    if change == 'replace' then
      redis.call('SET', text_key, text)
    else
      redis.call('APPEND', text_key, text)
    end
  elseif change == 'begin' then
    if was ~= 'stopping' then
      redis.call('HSET', record_key, 'status', status)
    end
    redis.call('HSET', record_key, 'attempt', mine, 'deltas', 0)
    redis.call('SET', text_key, '')
  else
    redis.call('HSET', record_key, 'status', status, 'end', data)
  end
  redis.call('PEXPIRE', record_key, ARGV[6])
  redis.call('PEXPIRE', text_key, ARGV[6])
  return nil, stop_requested_by
end

-- Numbers and stores an event. Returns its epoch and offset.
local function append(head_key, log_key, name, data, keep, event_ms)
  now = now or now_ms()
  local head = head_of(head_key, log_key, ARGV[1], ARGV[3], ARGV[4])
  local before = head.bytes
  head.offset = head.offset + 1
  head.bytes = before + #name + #data
  local place = string.format('%d', head.offset)
  local id = string.format('%d-%d', head.offset, now)
  if not event_ms then
    redis.call('XADD', log_key, 'MAXLEN', '~', keep.events, id, 'n', name, 'd', data, 'b', before)
  else
    redis.call('XADD', log_key, 'MAXLEN', '~', keep.events, id, 'n', name, 'd', data, 'b', before,
      'x', string.format('%d', now + event_ms))
  end
  if now >= head.due_ms or not head.first_ms then
    local first_ms, first_bytes = head.first_ms or now, head.first_bytes or before
    redis.call('HSET', head_key, 'o', place, 'b', head.bytes, 'ft', first_ms, 'fb', first_bytes,
      't', now + math.floor(math.min(keep.ms, ARGV[4]) / 8))
    redis.call('PEXPIRE', log_key, math.ceil(keep.ms * 9 / 8))
    redis.call('PEXPIRE', head_key, math.ceil(ARGV[4] * 9 / 8))
  else
    redis.call('HSET', head_key, 'o', place, 'b', head.bytes)
  end
  if head.first_ms and (head.bytes - head.first_bytes > keep.bytes * 9 / 8
      or now - head.first_ms > keep.ms * 9 / 8) then
    trim(head_key, log_key, head, now, keep.bytes, keep.ms)
  end
  return head.epoch, place
end

local keeps = {}
local function keep_of(kind)
  if not keeps[kind] then
    local text = ARGV[({u = 8, t = 9, a = 10})[kind]]
    local events, bytes, ms = string.match(text, '^(%d+) (%d+) (%d+)$')
    keeps[kind] = {events = events, bytes = tonumber(bytes), ms = tonumber(ms)}
  end
  return keeps[kind]
end

local key, arg = 0, 10
local function next_key()
  key = key + 1
  return KEYS[key]
end
local function next_arg()
  arg = arg + 1
  return ARGV[arg]
end

local function publish()
  local head_key, log_key = next_key(), next_key()
  local flags, name, data, stop_requested_by = next_arg(), next_arg(), next_arg(), ''
  local keep = keep_of(string.sub(flags, 1, 1))
  local ephemeral, once, event_ms, change
  local trace = ''
  if #flags > 1 then
    ephemeral = string.find(flags, 'e', 2, true)
    once = string.find(flags, 'k', 2, true) and next_key()
    event_ms = string.find(flags, 'x', 2, true) and next_arg()
    if string.find(flags, 's', 2, true) then
      change = {next_key(), next_key(), next_arg(), next_arg(), next_arg(), next_arg(), next_arg()}
    end
    if string.find(flags, 'c', 2, true) then
      trace = ' ' .. next_arg()
    end
  end
  if once then
    local before = redis.call('GET', once)
    if before then
      local epoch, offset = string.match(before, '^(%w*) (%d+)$')
      return {'duplicate', epoch, tonumber(offset), ''}
    end
  end
  if change then
    local refused
    refused, stop_requested_by = step(data, unpack(change))
    if refused then
      return {refused, '', 0, stop_requested_by}
    end
  end
  local epoch, place = '', '0'
  if not ephemeral then
    epoch, place = append(head_key, log_key, name, data, keep, event_ms)
  end
  if once then
    redis.call('SET', once, epoch .. ' ' .. place, 'PX', ARGV[5])
  end
  redis.call(ARGV[2], log_key, epoch .. '-' .. place .. trace .. '\n' .. name .. '\n' .. data)
  return {'written', epoch, tonumber(place), stop_requested_by}
end

local replies = {}
for n = 1, tonumber(ARGV[7]) do
  replies[n] = publish()
end
return replies
