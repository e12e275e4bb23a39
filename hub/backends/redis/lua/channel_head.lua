-- Shared by several scripts: the head of a channel, a hash.
--   e   epoch
--   o   offset of the newest event
--   r   history in which it was written last (see current_history)
--   p   the older epochs that this one continues, newest first: 'epoch:offset epoch:offset ...'
--   b   total bytes of all events that were ever in the log
--   ft  lower bound of the time at which the oldest event in the log was published (ms)
--   fb  lower bound of the bytes of all events before it: the log holds at most b - fb bytes
--   t   when a publish must next refresh the ttl of head and log (ms)
-- A channel that has never had an event has no head. Its position is offset 0 of the blank epoch of
-- its partition, which all such channels share, so that reading them creates no keys. The key
-- '<hash tag>:blank' is a hash:
--   e   blank epoch
--   r   history in which it began
--   p   this epoch and the older ones whose positions are accepted, newest first, each with the time
--       at which it began: 'epoch@ms epoch@ms ...'
-- Invariants
-- 1. A channel without a head begins a new epoch with an empty log, because the offsets of the
--    entries of an older epoch mean something else. The new epoch continues the blank epochs.
-- 2. Offsets are 1, 2, 3 ... without a gap. An epoch that continues another one goes on counting.
-- 3. A head that was written in another history begins a new epoch. It continues the old epoch up to
--    the offset that was found. Events that this server does not have (after the promotion of a
--    replica or the restoration of a backup) are not part of it, so a cursor that has seen more is
--    not continued silently.
-- 4. A blank epoch is accepted for at most the ttl of a head. A head lives longer than that after its
--    last event, so a blank position never stands for a channel whose head has expired since.

-- Returns what identifies the history of the server's data: its replication id, which is a new one
-- after each start and each promotion. The run id of the process would not be enough: a primary that
-- was demoted, lost its last writes and was promoted again is the same process. The id is read in the
-- same atomic step as the write, because connections may outlive both changes. A server that does not
-- report a replication id is identified by the run id that the client has read.
local history
local function current_history(run_id)
  if not history then
    local info = redis.pcall('INFO', 'replication')
    local id = type(info) == 'string' and string.match(info, 'master_replid:(%x+)')
    history = id and string.sub(id, 1, 16) or run_id
  end
  return history
end

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Lets a key live for at least ttl_ms more.
local function extend_ttl(key, ttl_ms)
  redis.call('PEXPIRE', key, ttl_ms, 'NX')
  redis.call('PEXPIRE', key, ttl_ms, 'GT')
end

-- Returns the blank epoch of the partition, and all accepted ones as epochs that a head continues.
local function read_blank(head_key, run_id, new_epoch, ttl_ms)
  local key = string.match(head_key, '^[^}]*}') .. ':blank'
  local fields, now, ttl = redis.call('HMGET', key, 'e', 'r', 'p'), now_ms(), tonumber(ttl_ms)
  local epoch, accepted, older, started_at = fields[1], '', '', 0
  for blank, ms in string.gmatch(fields[3] or '', '(%w+)@(%d+) ') do
    ms = tonumber(ms)
    if now - ms < ttl then
      started_at = math.max(started_at, ms)
      accepted = accepted .. blank .. '@' .. string.format('%d', ms) .. ' '
      older = older .. blank .. ':0 '
    end
  end
  if not epoch or fields[2] ~= run_id or now - started_at >= ttl / 8 then
    epoch = string.reverse(new_epoch) -- a head that is created in this call gets new_epoch
    accepted = string.sub(epoch .. '@' .. string.format('%d', now) .. ' ' .. accepted, 1, 320)
    older = string.sub(epoch .. ':0 ' .. older, 1, 200)
    redis.call('HSET', key, 'e', epoch, 'r', run_id, 'p', accepted)
    redis.call('PEXPIRE', key, ttl_ms)
  end
  return epoch, older
end

-- Returns the head of a channel. A channel without one gets it only if `creates` is true.
local function read_head(key, log, run_id, new_epoch, ttl_ms, creates)
  local fields = redis.call('HMGET', key, 'e', 'o', 'r', 'p', 'b', 'ft', 'fb', 't')
  local head = {
    epoch = fields[1], offset = tonumber(fields[2]), older = fields[4] or '',
    bytes = tonumber(fields[5] or 0), first_ms = tonumber(fields[6]), first_bytes = tonumber(fields[7]),
    refresh_ms = tonumber(fields[8] or 0)
  }
  run_id = current_history(run_id)
  if not head.epoch then
    head.epoch, head.older = read_blank(key, run_id, new_epoch, ttl_ms)
    head.offset = 0
    if creates then
      redis.call('DEL', log)
      redis.call('HSET', key, 'e', new_epoch, 'o', 0, 'r', run_id, 'p', head.older)
      redis.call('PEXPIRE', key, ttl_ms)
      head.epoch = new_epoch
    end
  elseif fields[3] ~= run_id then
    local older = head.epoch .. ':' .. string.format('%d', head.offset) .. ' ' .. head.older
    head.epoch, head.older = new_epoch, string.sub(older, 1, 200)
    redis.call('HSET', key, 'e', head.epoch, 'r', run_id, 'p', head.older)
  end
  return head
end

-- Returns whether a position belongs to this epoch or to one that it continues.
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

-- Drops the oldest events until the log holds at most max_bytes and no event is older than
-- max_age_ms. The newest event always stays. The id of an entry is '<offset>-<ms>', and its field b
-- is the number of bytes before it, like fb.
local function trim(key, log, head, now, max_bytes, max_age_ms)
  local from = '-'
  while true do
    local entries = redis.call('XRANGE', log, from, '+', 'COUNT', 16)
    for _, entry in ipairs(entries) do
      local id, before = entry[1], tonumber(entry[2][6])
      local offset, ms = string.match(id, '^(%d+)-(%d+)$')
      if tonumber(offset) >= head.offset
        or (head.bytes - before <= max_bytes and now - tonumber(ms) <= max_age_ms) then
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
