-- One event into one channel: deduplicate, check and change the generation, number, log, announce.
-- KEYS  1 head  2 log  3 idempotency key's memory  4 generation's record  5 generation's text
--       (3 to 5 are read only when the arguments say that they are used)
-- ARGV  1 pub/sub channel  2 fresh epoch  3 event name  4 data
--       5 events to keep  6 log's life in ms  7 head's life in ms
--       8 event's life in ms, or ''  9 '1' when ephemeral  10 idempotency memory in ms, or ''
--       11 change of the generation ('' none, begin, delta, replace, end)  12 attempt
--       13 status  14 index of the delta  15 text  16 record's life in ms
-- Reply {outcome, epoch, offset, stop_by}
-- Invariants
-- 1. Nothing is written unless every check passed.
-- 2. A call that is repeated with its idempotency key, or with its delta's index, writes nothing.
-- 3. A generation ends once, and only its newest attempt writes.
local stop_by = ''

if ARGV[10] ~= '' then
  local before = redis.call('GET', KEYS[3])
  if before then
    local epoch, offset = string.match(before, '^(%w*) (%d+)$')
    return {'duplicate', epoch, tonumber(offset), ''}
  end
end

local change = ARGV[11]
if change ~= '' then
  local record = redis.call('HMGET', KEYS[4], 'status', 'attempt', 'deltas', 'stop_by')
  local status, attempt, mine = record[1], tonumber(record[2]), tonumber(ARGV[12])
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
    if tonumber(ARGV[14]) < tonumber(record[3]) then
      return {'duplicate', '', 0, stop_by}
    end
    redis.call('HSET', KEYS[4], 'deltas', ARGV[14] + 1)
    if change == 'replace' then
      redis.call('SET', KEYS[5], ARGV[15])
    else
      redis.call('APPEND', KEYS[5], ARGV[15])
    end
  elseif change == 'begin' then
    redis.call('HSET', KEYS[4], 'status', ARGV[13], 'attempt', mine, 'deltas', 0)
    redis.call('SET', KEYS[5], '')
  else
    redis.call('HSET', KEYS[4], 'status', ARGV[13], 'end', ARGV[4])
  end
  redis.call('PEXPIRE', KEYS[4], ARGV[16])
  redis.call('PEXPIRE', KEYS[5], ARGV[16])
end

local epoch, offset = '', 0
if ARGV[9] ~= '1' then
  epoch, offset = head_of(KEYS[1], KEYS[2], ARGV[2], ARGV[7])
  offset = offset + 1
  redis.call('HSET', KEYS[1], 'o', offset)
  local id = string.format('%d-0', offset)
  if ARGV[8] == '' then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], id, 'n', ARGV[3], 'd', ARGV[4])
  else
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], id, 'n', ARGV[3], 'd', ARGV[4],
      'x', string.format('%d', now_ms() + tonumber(ARGV[8])))
  end
  redis.call('PEXPIRE', KEYS[2], ARGV[6])
  redis.call('PEXPIRE', KEYS[1], ARGV[7])
end

if ARGV[10] ~= '' then
  redis.call('SET', KEYS[3], epoch .. ' ' .. string.format('%d', offset), 'PX', ARGV[10])
end
redis.call('PUBLISH', ARGV[1],
  epoch .. '-' .. string.format('%d', offset) .. '\n' .. ARGV[3] .. '\n' .. ARGV[4])
return {'written', epoch, offset, stop_by}
