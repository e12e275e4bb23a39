-- Shared by the scripts below it: a channel's head, a hash.
--   e   epoch
--   o   offset of the newest event
--   r   run of the server process that wrote it last
--   p   the older epochs that this one continues, newest first: 'epoch:offset epoch:offset ...'
--   b   bytes of all events that were ever in the log
--   ft  when the oldest event in the log was published (ms), as far as known: never too late
--   fb  bytes of all events before it: b - fb is what the log holds, as far as known: never too few
--   t   when the lives of head and log are due to be renewed by a publish (ms)
-- Invariants
-- 1. A channel whose head is gone begins a new epoch, with an empty log: entries of an older epoch
--    would carry offsets that mean something else now.
-- 2. Offsets are 1, 2, 3 ... without a hole; an epoch that continues another goes on counting.
-- 3. A head that another run wrote begins a new epoch that continues the old one up to the offset
--    found: what this server has not got (a replica was promoted, a backup restored) is not part of
--    it, and a cursor that has seen more is not continued silently.
local function head_of(key, log, run, fresh_epoch, ttl_ms)
  local found = redis.call('HMGET', key, 'e', 'o', 'r', 'p', 'b', 'ft', 'fb', 't')
  local head = {
    epoch = found[1], offset = tonumber(found[2]), older = found[4] or '',
    bytes = tonumber(found[5] or 0), first_ms = tonumber(found[6]), first_bytes = tonumber(found[7]),
    due_ms = tonumber(found[8] or 0)
  }
  if not head.epoch then
    redis.call('DEL', log)
    redis.call('HSET', key, 'e', fresh_epoch, 'o', 0, 'r', run)
    redis.call('PEXPIRE', key, ttl_ms)
    head.epoch, head.offset = fresh_epoch, 0
  elseif found[3] ~= run then
    local older = head.epoch .. ':' .. string.format('%d', head.offset) .. ' ' .. head.older
    head.epoch, head.older = fresh_epoch, string.sub(older, 1, 200)
    redis.call('HSET', key, 'e', head.epoch, 'r', run, 'p', head.older)
  end
  return head
end

-- Whether a position is one of this history.
local function is_known(head, epoch, offset)
  if epoch == head.epoch then
    return offset <= head.offset
  end
  for older, last in string.gmatch(head.older, '(%w+):(%d+) ') do
    if older == epoch then
      return offset <= tonumber(last)
    end
  end
  return false
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Drops the oldest events until the log holds at most max_bytes and none is older than age_ms; the
-- newest stays whatever it is. The entries' ids are '<offset>-<ms>', their field b counts as fb.
local function trim(key, log, head, now, max_bytes, age_ms)
  local from = '-'
  while true do
    local entries = redis.call('XRANGE', log, from, '+', 'COUNT', 16)
    for _, entry in ipairs(entries) do
      local id, before = entry[1], tonumber(entry[2][6])
      local offset, ms = string.match(id, '^(%d+)-(%d+)$')
      if tonumber(offset) >= head.offset
        or (head.bytes - before <= max_bytes and now - tonumber(ms) <= age_ms) then
        redis.call('XTRIM', log, 'MINID', id)
        redis.call('HSET', key, 'ft', ms, 'fb', before)
        return
      end
      from = '(' .. id
    end
    if #entries == 0 then
      return
    end
  end
end
