-- One event into one channel: deduplicate, check and change the generation, number, log, announce.
-- KEYS  1 head  2 log  3 idempotency key's memory  4 generation's record  5 generation's text
--       (3 to 5 are read only when the arguments say that they are used)
-- ARGV  1 run  2 pub/sub channel  3 the command that announces  4 fresh epoch  5 event name  6 data
--       7 events to keep  8 bytes to keep  9 log's life in ms  10 head's life in ms
--       11 event's life in ms, or ''  12 '1' when ephemeral  13 idempotency memory in ms, or ''
--       14 change of the generation ('' none, begin, delta, replace, end)  15 attempt
--       16 status  17 index of the delta  18 text  19 record's life in ms
-- Reply {outcome, epoch, offset, stop_by}
-- Invariants
-- 1. Nothing is written unless every check passed.
-- 2. A call that is repeated with its idempotency key, or with its delta's index, writes nothing.
-- 3. A generation ends once, and only its newest attempt writes.
-- 4. The log never holds more than about the events and 9/8 of the bytes and of the age to keep.
local stop_by = ''

if ARGV[13] ~= '' then
  local before = redis.call('GET', KEYS[3])
  if before then
    local epoch, offset = string.match(before, '^(%w*) (%d+)$')
    return {'duplicate', epoch, tonumber(offset), ''}
  end
end

local change = ARGV[14]
if change ~= '' then
  local record = redis.call('HMGET', KEYS[4], 'status', 'attempt', 'deltas', 'stop_by')
  local status, attempt, mine = record[1], tonumber(record[2]), tonumber(ARGV[15])
  if not status then
    return {'gone', '', 0, ''}
  end
  stop_by = record[4] or ''
  if status == 'done' or status == 'stopped' or status == 'failed' then
    return {'ended', '', 0, stop_by}
  end
  if (change == 'begin' and attempt ~= mine - 1) or (change ~= 'begin' and attempt ~= mine) then
    return {'stale', '', 0, stop_by}
  end
  if change == 'delta' or change == 'replace' then
    if tonumber(ARGV[17]) < tonumber(record[3]) then
      return {'duplicate', '', 0, stop_by}
    end
    redis.call('HSET', KEYS[4], 'deltas', ARGV[17] + 1)
    if change == 'replace' then
      redis.call('SET', KEYS[5], ARGV[18])
    else
      redis.call('APPEND', KEYS[5], ARGV[18])
    end
  elseif change == 'begin' then
    redis.call('HSET', KEYS[4], 'status', ARGV[16], 'attempt', mine, 'deltas', 0)
    redis.call('SET', KEYS[5], '')
  else
    redis.call('HSET', KEYS[4], 'status', ARGV[16], 'end', ARGV[6])
  end
  redis.call('PEXPIRE', KEYS[4], ARGV[19])
  redis.call('PEXPIRE', KEYS[5], ARGV[19])
end

local epoch, place = '', '0'
if ARGV[12] ~= '1' then
  local head = head_of(KEYS[1], KEYS[2], ARGV[1], ARGV[4], ARGV[10])
  local now, before = now_ms(), head.bytes
  head.offset = head.offset + 1
  head.bytes = before + #ARGV[5] + #ARGV[6]
  epoch, place = head.epoch, string.format('%d', head.offset)
  local id = place .. string.format('-%d', now)
  if ARGV[11] == '' then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[7], id,
      'n', ARGV[5], 'd', ARGV[6], 'b', before)
  else
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[7], id,
      'n', ARGV[5], 'd', ARGV[6], 'b', before, 'x', string.format('%d', now + ARGV[11]))
  end
  if head.first_ms then
    redis.call('HSET', KEYS[1], 'o', place, 'b', head.bytes)
    if head.bytes - head.first_bytes > ARGV[8] * 9 / 8 or now - head.first_ms > ARGV[9] * 9 / 8 then
      trim(KEYS[1], KEYS[2], head, now, tonumber(ARGV[8]), tonumber(ARGV[9]))
    end
  else
    redis.call('HSET', KEYS[1], 'o', place, 'b', head.bytes, 'ft', now, 'fb', before)
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[9])
  redis.call('PEXPIRE', KEYS[1], ARGV[10])
end

if ARGV[13] ~= '' then
  redis.call('SET', KEYS[3], epoch .. ' ' .. place, 'PX', ARGV[13])
end
redis.call(ARGV[3], ARGV[2], epoch .. '-' .. place .. '\n' .. ARGV[5] .. '\n' .. ARGV[6])
return {'written', epoch, tonumber(place), stop_by}
